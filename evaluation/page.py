"""A release's report as one self-contained HTML page: no script, no outside request."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from evaluation import charts
from evaluation.confusion import confusion
from evaluation.likeness import likeness
from evaluation.wording import (
    NAMES,
    PARITY,
    figure,
    label_rows,
    moment,
    names_for,
    number,
    parity,
)
from release.dossier import Dossier
from release.evidence import Tally
from release.gates import Decision
from release.releases import Phase
from release.reports import METRICS, Report
from release.wording import lasting

CARDS = ("latency_p99_ms", "throughput_per_s", "size_mb", "memory_mb")
"""Metrics that stand at the head of the page, behind the one that says how good it is."""


def html(dossier: Dossier) -> str:
    """Write the page.

    Args:
        dossier: of a release that may stand anywhere; what is not known yet is left out.
    """
    shown = dossier.shown
    page = (
        _environment()
        .get_template("report.html")
        .render(
            release=dossier.release,
            dossier=dossier,
            verdicts=dossier.verdicts,
            shown=shown,
            tone=_TONES.get(dossier.release.phase, "open"),
            cards=list(_cards(shown)) if shown else [],
            charts=_charts(dossier, shown) if shown else {},
            names=names_for(dossier.task),
            parities=PARITY[dossier.task],
            by_label=label_rows(shown) if shown else [],
            rollout=Markup(charts.rollout(dossier)),  # noqa: S704 - drawn by ourselves
            watched=list(_watched(dossier)),
        )
    )
    return _PERCENT.sub("\N{NO-BREAK SPACE}%", page)


_PERCENT = re.compile(r"(?<=\d) %")
"""A number and its sign, which stand on one line."""


_SIGNS = {Decision.PASS: "✓", Decision.INCONCLUSIVE: "?", Decision.FAIL: "✗"}

_TONES = {
    Phase.PROMOTED: "good",
    Phase.REJECTED: "bad",
    Phase.RESTORED: "bad",
    Phase.ROLLED_BACK: "bad",
}


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("evaluation", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"figure": figure, "moment": moment, "lasting": lasting, "mark": _SIGNS.get}
    made.globals |= {"METRICS": METRICS, "number": number, "parity": parity}
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One figure at the head of the page, and how it moved against the champion."""

    name: str
    value: str
    change: str
    tone: str
    """`good` or `bad` where the whole interval lies on one side of no change, else empty."""


def _cards(shown: Report) -> Iterator[Card]:
    for metric in (shown.headline, *CARDS):
        measured = shown.metrics.get(metric)
        if measured is None:
            continue
        yield Card(
            name=NAMES[metric],
            value=number(metric, measured.value),
            change=_change(shown, metric),
            tone=_tone(shown, metric),
        )


def _change(shown: Report, metric: str) -> str:
    difference = shown.differences.get(metric)
    if difference is None or shown.champion is None:
        return "no champion beside it"
    before = shown.champion.metrics.get(metric)
    was = f", was {number(metric, before.value)}" if before else ""
    return f"{number(metric, difference.value, signed=True)}{was}"


def _tone(shown: Report, metric: str) -> str:
    difference = shown.differences.get(metric)
    if difference is None or difference.low is None or difference.high is None:
        return ""
    sign = 1 if METRICS[metric].better == "higher" else -1
    worst, best = sorted((sign * difference.low, sign * difference.high))
    if worst > 0:
        return "good"
    return "bad" if best < 0 else ""


def _charts(dossier: Dossier, shown: Report) -> dict[str, Markup]:
    drawn = {
        "variants": charts.variants(dossier),
        "slices": charts.slices(shown),
        "confusion": confusion(shown),
        "calibration": charts.calibration(shown),
        "likeness": likeness(shown),
        "lengths": charts.lengths(shown),
    }
    return {name: Markup(svg) for name, svg in drawn.items() if svg}  # noqa: S704 - our own


def _watched(dossier: Dossier) -> Iterator[dict[str, Any]]:
    """Give what live traffic said at each step: the canary's counts beside the champion's."""
    release = dossier.release
    if release.chosen is None:
        return
    steps = release.policy.plan.steps
    canary = dossier.evidence.get(release.chosen.variant.digest, {})
    stable = dossier.evidence.get(release.stable.digest, {}) if release.stable else {}
    for step in sorted({*canary, *stable}):
        named = steps[step].name if step < len(steps) else "bake"
        yield {
            "step": named,
            "canary": canary.get(step, Tally()),
            "stable": stable.get(step, Tally()),
        }
