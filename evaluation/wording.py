"""Figures as people read them, the same on every page."""

from datetime import UTC, datetime

from release.gates import Decision
from release.reports import METRICS, Measurement, Report

MARKS = {Decision.PASS: "✅", Decision.INCONCLUSIVE: "❔", Decision.FAIL: "❌"}

NAMES = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "entity_f1": "entity F1",
    "entity_precision": "entity precision",
    "entity_recall": "entity recall",
    "spearman": "Spearman correlation",
    "pearson": "Pearson correlation",
    "latency_p50_ms": "latency p50",
    "latency_p99_ms": "latency p99",
    "throughput_per_s": "throughput",
    "calibration_error": "calibration error",
    "size_mb": "size on disk",
    "memory_mb": "memory",
}
"""Metric to what people call it."""


def number(metric: str, value: float, *, signed: bool = False) -> str:
    """Write a metric's value with its unit; shares are percents, their differences points."""
    sign = "+" if signed else ""
    unit = METRICS[metric].unit
    if METRICS[metric].correlation:
        return f"{value:{sign}.3f}"
    if not unit:
        return f"{100 * value:{sign}.1f} {'points' if signed else '%'}"
    digits = 1 if abs(value) < 100 else 0
    return f"{value:{sign}.{digits}f} {unit}"


def figure(metric: str, measured: Measurement | None, *, signed: bool = False) -> str:
    """Write a measurement with its interval; what is absent is said to be."""
    if measured is None:
        return "not measured"
    value = number(metric, measured.value, signed=signed)
    if measured.low is None or measured.high is None:
        return value
    return f"{value} [{_bare(metric, measured.low)}, {_bare(metric, measured.high)}]"


def _bare(metric: str, value: float) -> str:
    if METRICS[metric].correlation:
        return f"{value:.3f}"
    return f"{value:.1f}" if METRICS[metric].unit else f"{100 * value:.1f}"


def measured(report: Report) -> str:
    """Say in one sentence that a variant was measured, and how good it is."""
    name = report.headline
    found, counted = report.metrics.get(name), METRICS[name].counted
    if found is None:
        return f"{report.variant.ref} was measured, but its {NAMES[name]} is not known"
    value = f"{NAMES[name]} {found.value:.3f}"
    return f"{report.variant.ref} was measured on {found.n} {counted}: {value}"


def moment(seconds: float | None) -> str:
    """Write a moment in UTC; an en dash for one that has not come."""
    if seconds is None:
        return "–"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
