"""The report's plots as SVG, drawn by matplotlib without its global state.

Text stays text, so that a page may hold any script and be searched; the same figures give the same
bytes. What was not measured gives an empty drawing.
"""

import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.wording import NAMES, moment
from release.dossier import Dossier
from release.reports import METRICS, Bin, Measured, Measurement, Profile, Report

CHALLENGER, CHAMPION, GRID = "#1d4ed8", "#9a6b2f", "#dfe3ea"
INK, PALE = "#1c2430", "#6b7482"
# Any: matplotlib's own type is a list of every name that it knows.
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "slipway",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": PALE,
    "axes.titlesize": 9,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": PALE,
    "ytick.color": INK,
    "grid.color": GRID,
    "legend.frameon": False,
}
_POINTS = "offset points"
_ANONYMOUS = {"Date": None, "Creator": None}
_FONT = re.compile(r"font-family: [^;\"]*")


def drawn(draw: Callable[[Figure], None], width: float, height: float) -> str:
    """Draw on a figure of this size in inches, and give it as an SVG element."""
    out = io.StringIO()
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # The browser has the letters that matplotlib's own font lacks, such as Chinese ones.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        shape = Figure(figsize=(width, height))
        # Whatever stands around the axes, however long, widens the picture instead of them.
        shape.subplots_adjust(0, 0, 1, 1, wspace=0.12, hspace=0.6)
        draw(shape)
        shape.savefig(out, format="svg", metadata=_ANONYMOUS, transparent=True, bbox_inches="tight")
    found = out.getvalue()
    found = found[found.index("<svg") :]
    # The font list that matplotlib writes names its own; the page's takes its place.
    return _FONT.sub("font-family: var(--sans)", found)


Named = tuple[str, Profile, str]
"""A subject's name, what was measured of it, and its colour."""


def _subjects(dossier: Dossier) -> list[Named]:
    shown = dossier.shown
    named: list[Named] = [
        (one.variant.recipe, one, CHALLENGER if one is shown else "#93a8d8")
        for one in dossier.reports
    ]
    champion = dossier.champion
    if champion is not None:
        named.append((f"champion ({champion.variant.ref})", champion, CHAMPION))
    return named


def variants(dossier: Dossier) -> str:
    """Draw every variant and the champion side by side, a panel a metric."""
    named = _subjects(dossier)
    metrics = [one for one in NAMES if any(one in subject.metrics for _, subject, _ in named)]

    def draw(figure: Figure) -> None:
        columns = 4
        rows = -(-len(metrics) // columns)
        panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axes, metric in zip(panels.flat, metrics, strict=False):
            _panel(axes, metric, named)
        for axes in list(panels.flat)[len(metrics) :]:
            axes.axis("off")

    return drawn(draw, 8.6, (len(metrics) + 3) // 4 * (0.5 + 0.24 * len(named)))


def _panel(axes: Axes, metric: str, named: Sequence[Named]) -> None:
    for row, (_, subject, colour) in enumerate(named):
        measured = subject.metrics.get(metric)
        if measured is not None:
            _dot(axes, measured, row, colour)
    facts = METRICS[metric]
    towards = "→" if facts.better == "higher" else "←"
    axes.set_title(
        f"{NAMES[metric]}{f' ({facts.unit})' if facts.unit else ''}  {towards}", loc="left"
    )
    _rows(axes, [name for name, _, _ in named])
    axes.margins(x=0.15)
    if facts.unit:
        # Times and sizes are compared from nothing up: a hair's breadth must look like one.
        axes.set_xlim(left=0)


def _dot(axes: Axes, measured: Measurement, row: float, colour: str) -> None:
    if measured.low is not None and measured.high is not None:
        axes.plot([measured.low, measured.high], [row, row], color=colour, lw=2, alpha=0.55)
    axes.plot([measured.value], [row], "o", color=colour, ms=5, clip_on=False)


def _rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="x")
    axes.tick_params(length=0)


def slices(report: Report) -> str:
    """Draw the challenger beside the champion on every slice, with intervals."""
    metric = report.headline
    names = [name for name, measured in report.slices.items() if metric in measured]
    if not names:
        return ""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        pair = pair_of(report)
        for offset, (_, subject, colour) in zip(_offsets(len(pair)), pair, strict=True):
            for row, name in enumerate(names):
                measured = subject.slices.get(name, {}).get(metric)
                if measured is not None:
                    _dot(axes, measured, row + offset, colour)
        _rows(axes, names)
        axes.set_xlabel(NAMES[metric])
        _legend(axes, pair, columns=2)

    return drawn(draw, 7.5, 0.3 + 0.3 * len(names))


def pair_of(report: Report) -> list[Named]:
    """Give the challenger and, where there is one, the champion."""
    pair: list[Named] = [(f"challenger ({report.variant.ref})", report, CHALLENGER)]
    if report.champion is not None:
        pair.append((f"champion ({report.champion.variant.ref})", report.champion, CHAMPION))
    return pair


def _offsets(count: int) -> list[float]:
    return [0.0] if count == 1 else [-0.14, 0.14]


def _legend(axes: Axes, named: Sequence[Named], columns: int = 1) -> None:
    for name, _, colour in named:
        axes.plot([], [], "o-", color=colour, label=name)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns)


def calibration(report: Report) -> str:
    """Draw how often answers of a confidence are right; the diagonal is honest."""
    if not report.calibration:
        return ""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=GRID, lw=1)
        for _, subject, colour in pair_of(report):
            _reliability(axes, subject.calibration, colour)
        axes.set(xlim=(0, 1.03), ylim=(0, 1.03), xlabel="confidence", ylabel="part that was right")
        axes.grid(visible=True)
        _legend(axes, pair_of(report))

    return drawn(draw, 3.8, 3.4)


def _reliability(axes: Axes, bins: Sequence[Bin], colour: str) -> None:
    most = max((one.n for one in bins), default=1)
    axes.plot(
        [one.confidence for one in bins], [one.accuracy for one in bins], color=colour, alpha=0.5
    )
    axes.scatter(
        [one.confidence for one in bins],
        [one.accuracy for one in bins],
        s=[12 + 90 * one.n / most for one in bins],
        color=colour,
    )


def lengths(report: Report) -> str:
    """Draw latency by the length of the text: median and 99th percentile."""
    names = [name for name, one in report.slices.items() if _timed(name, one)]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for _, subject, colour in pair_of(report):
            for metric, line in (("latency_p50_ms", "o-"), ("latency_p99_ms", "^:")):
                _line(axes, names, subject.slices, metric, (line, colour))
        axes.set_xticks(range(len(names)), [one.partition("=")[2] for one in names])
        axes.set(xlabel="characters of a text", ylabel="ms", ylim=(0, None))
        axes.grid(axis="y")
        _legend(axes, pair_of(report))

    return drawn(draw, 4.4, 3.4) if names else ""


def _line(
    axes: Axes,
    names: Sequence[str],
    measured: Mapping[str, Measured],
    metric: str,
    style: tuple[str, str],
) -> None:
    found = [(row, measured.get(name, {}).get(metric)) for row, name in enumerate(names)]
    points = [(row, one.value) for row, one in found if one is not None]
    line, colour = style
    axes.plot([row for row, _ in points], [value for _, value in points], line, color=colour, ms=4)


def _timed(name: str, measured: Measured) -> bool:
    return name.startswith("characters=") and "latency_p50_ms" in measured


def rollout(dossier: Dossier) -> str:
    """Draw the share of the traffic over time, from the first load to the end."""
    shares = dossier.shares()
    if not shares:
        return ""
    begun = shares[0][0]
    ended = max(dossier.release.closed_at or dossier.events[-1].at, shares[-1][0])
    times = [at - begun for at, _ in shares] + [ended - begun]
    values = [share for _, share in shares] + [shares[-1][1]]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.step(times, values, where="post", color=CHALLENGER)
        axes.fill_between(times, values, step="post", color=CHALLENGER, alpha=0.12)
        for (at, share), (_, before) in zip(shares[1:], shares, strict=False):
            if share not in (0, before):
                axes.annotate(f"{share:g} %", (at - begun, share), (3, 3), textcoords=_POINTS)
        for at in (event.at for event in dossier.events if event.kind == "lease-lapsed"):
            axes.axvline(at - begun, color=CHAMPION, ls=":")
            axes.annotate("lease ran out before", (at - begun, 2), (3, 0), textcoords=_POINTS)
        axes.set(ylim=(0, 112), ylabel="% of the traffic", xlabel=f"seconds since {moment(begun)}")
        axes.grid(axis="y")

    return drawn(draw, 9.4, 1.9)
