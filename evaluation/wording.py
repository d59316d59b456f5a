"""Figures as people read them, the same on every page."""

from collections.abc import Mapping
from datetime import UTC, datetime

from release.gates import Decision
from release.reports import METRICS, Measured, Measurement, Report, measured_for
from release.variants import Task

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

PARITY: Mapping[Task, Mapping[str, tuple[str, str]]] = {
    Task.TEXT_CLASSIFICATION: {
        "argmax_agreement": ("same label as its parent", "{:.1%}"),
        "max_logit_error": ("largest logit error", "{:.4f}"),
    },
    Task.TOKEN_CLASSIFICATION: {
        "argmax_agreement": ("tokens labelled as by its parent", "{:.1%}"),
        "max_logit_error": ("largest logit error", "{:.4f}"),
    },
    Task.FEATURE_EXTRACTION: {
        "min_cosine": ("least cosine to its parent", "{:.4f}"),
        "max_vector_error": ("largest error of a number", "{:.4f}"),
    },
}
"""Task to what is told of a variant's parity: what people call it and how it is written."""


def names_for(task: Task) -> dict[str, str]:
    """Give the metrics of a task and what people call them, in order."""
    return {metric: NAMES[metric] for metric in measured_for(task)}


def parity(task: Task, name: str, found: Mapping[str, float]) -> str:
    """Write one figure of a variant's parity; what is absent is said to be."""
    _, form = PARITY[task][name]
    return form.format(found[name]).replace("%", " %") if name in found else "unknown"


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


ENTITY_METRICS = ("entity_precision", "entity_recall", "entity_f1")


def label_rows(report: Report) -> list[tuple[str, Measured]]:
    """Give what is known of each label of entities, and of all of them; else nothing."""
    rows = {"all": report.metrics, **report.slices}
    return [
        (name.removeprefix("label="), found)
        for name, found in rows.items()
        if report.task == Task.TOKEN_CLASSIFICATION and (name == "all" or name.startswith("label="))
    ]


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
