"""Gates turn a report into a verdict: three-valued, on bounds, each with its sentence. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from release.errors import Invalid
from release.reports import METRICS, Measurement, Report, measured_for
from release.variants import Task


class Decision(StrEnum):
    """What a gate says, from best to worst."""

    PASS = "pass"  # noqa: S105
    INCONCLUSIVE = "inconclusive"
    FAIL = "fail"

    @property
    def badness(self) -> int:
        """Rank, 0 the best."""
        return list(Decision).index(self)


FEWEST = 30
"""Texts below which an interval says nothing: resampling cannot show what it never saw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One gate's decision, and the sentence that explains it."""

    gate: str
    decision: Decision
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A demand on one metric: a bound on its value, or on its difference to the champion.

    A bound is met only when the whole interval meets it, and broken only when the whole interval
    breaks it; between the two the gate is inconclusive. A metric without an interval is a point.
    """

    metric: str
    at_least: float | None = None
    """Lowest acceptable value, in the metric's unit."""

    at_most: float | None = None
    """Highest acceptable value, in the metric's unit."""

    max_regression: float | None = None
    """Largest acceptable worsening against the champion, in the metric's unit; negative demands
    an improvement. Not asked of a model's first release, which has no champion."""

    def __post_init__(self) -> None:
        gated = [name for name, facts in METRICS.items() if facts.gated]
        if self.metric not in gated:
            why = "has no interval" if self.metric in METRICS else "no suite measures"
            raise Invalid(
                f"A gate names {self.metric!r}, which {why}.", f"measured are {', '.join(gated)}"
            )
        demands = [self.at_least, self.at_most, self.max_regression]
        if sum(demand is not None for demand in demands) != 1:
            raise Invalid(
                f"The gate on {self.metric!r} must hold exactly one demand.",
                "give one of at_least, at_most, max_regression",
            )
        if min(self.at_least or 0, self.at_most or 0) < 0:
            raise Invalid(f"The gate on {self.metric!r} must not demand less than 0.")
        (demand,) = [demand for demand in demands if demand is not None]
        lowest = 0.0 if self.max_regression is None else -1.0
        if not METRICS[self.metric].unit and not lowest <= demand <= 1:
            kind = "correlation" if METRICS[self.metric].correlation else "share"
            raise Invalid(
                f"The gate on {self.metric!r} demands {demand:g}, which no model can meet.",
                f"it is a {kind}, within {lowest:g}..1",
            )

    def check_task(self, task: Task) -> None:
        """Hold the gate to what can be measured.

        Raises:
            Invalid: no suite of this task measures its metric.
        """
        known = [name for name in measured_for(task) if METRICS[name].gated]
        if self.metric not in known:
            raise Invalid(
                f"A gate names {self.metric!r}, which no suite of {task} measures.",
                f"measured are {', '.join(known)}",
            )

    @property
    def name(self) -> str:
        """Name for people, such as `accuracy at least 0.5`."""
        if self.at_least is not None:
            return f"{self.metric} at least {self.at_least:g}"
        if self.at_most is not None:
            return f"{self.metric} at most {self.at_most:g}"
        return f"{self.metric} regression at most {self.max_regression:g}"

    def judge(self, report: Report) -> Finding | None:
        """Judge a report; None where the gate does not apply, for want of a champion."""
        if self.max_regression is not None:
            return self._judge_difference(report, self.max_regression)
        measured = report.metrics.get(self.metric)
        if measured is None:
            return self._find(Decision.INCONCLUSIVE, "was not measured")
        if self.at_least is not None:
            return self._bound(measured, self.at_least, sign=1, what="")
        assert self.at_most is not None  # noqa: S101 - __post_init__ holds it
        return self._bound(measured, self.at_most, sign=-1, what="")

    def _judge_difference(self, report: Report, allowed: float) -> Finding | None:
        if report.champion is None:
            return None
        measured = report.differences.get(self.metric)
        if measured is None:
            return self._find(Decision.INCONCLUSIVE, "was not compared with the champion")
        sign = 1 if METRICS[self.metric].better == "higher" else -1
        return self._bound(measured, -sign * allowed, sign=sign, what="change ")

    def _bound(self, measured: Measurement, limit: float, *, sign: int, what: str) -> Finding:
        """Hold an interval against a limit; `sign` is 1 for a floor and -1 for a ceiling."""
        if measured.low is not None and measured.n < FEWEST:
            counted = METRICS[self.metric].counted
            said = f"{what}rests on {measured.n} {counted}, of {FEWEST} at least"
            return self._find(Decision.INCONCLUSIVE, said)
        low = measured.value if measured.low is None else measured.low
        high = measured.value if measured.high is None else measured.high
        worst, best = (low, high) if sign > 0 else (high, low)
        if sign * worst >= sign * limit:
            decision, relation = Decision.PASS, "≥" if sign > 0 else "≤"
        elif sign * best < sign * limit:
            decision, relation = Decision.FAIL, "<" if sign > 0 else ">"
        else:
            decision, relation = Decision.INCONCLUSIVE, "not proven " + ("≥" if sign > 0 else "≤")
        deciding = best if decision is Decision.FAIL else worst
        side = "lower" if (sign > 0) is (decision is not Decision.FAIL) else "upper"
        bound = "" if measured.low is None else f", {side} bound {deciding:.4g}"
        number = f"{what}{measured.value:.4g} {relation} {limit:.4g} (n={measured.n}{bound})"
        return self._find(decision, number)

    def _find(self, decision: Decision, reason: str) -> Finding:
        return Finding(gate=self.name, decision=decision, reason=f"{self.metric} {reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Every finding about one subject; the worst one decides."""

    subject: str
    findings: tuple[Finding, ...]

    @property
    def decision(self) -> Decision:
        """The worst decision found; inconclusive when nothing was judged."""
        found = [finding.decision for finding in self.findings]
        return max(found, key=lambda one: one.badness, default=Decision.INCONCLUSIVE)

    @property
    def passed(self) -> bool:
        """Whether every gate passed."""
        return self.decision is Decision.PASS

    @property
    def reasons(self) -> str:
        """Why, in one line, worst first; a verdict that is not a pass names only what spoke up."""
        worst_first = sorted(self.findings, key=lambda one: -one.decision.badness)
        telling = [one for one in worst_first if self.passed or one.decision is not Decision.PASS]
        return "; ".join(one.reason for one in telling) or "nothing was judged"


def judge(report: Report, gates: Iterable[Gate]) -> Verdict:
    """Put a report before every gate that applies to it."""
    found = [gate.judge(report) for gate in gates]
    findings = tuple(finding for finding in found if finding is not None)
    return Verdict(subject=report.variant.ref, findings=findings)
