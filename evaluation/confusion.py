"""Which label is taken for which, as a plot."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.charts import INK, drawn, pair_of
from release.reports import Report

MOST_LABELS = 20
"""Labels that a confusion matrix shows: those with the most errors."""


def confusion(report: Report) -> str:
    """Draw which label was taken for which, as parts of each true label."""
    pair = [one for one in pair_of(report) if one[1].confusion]
    if not pair:
        return ""
    kept = _most_confused(report)
    labels = [report.labels[number] for number in kept]
    matrices = [_kept(subject.confusion, kept) for _, subject, _ in pair]
    others = any(row[-1] for matrix in matrices for row in matrix)

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(pair), squeeze=False)
        for axes, (name, _, _), matrix in zip(panels.flat, pair, matrices, strict=True):
            _matrix(axes, matrix if others else [row[:-1] for row in matrix], labels)
            axes.set_title(name, loc="left")
        panels[0][0].set_ylabel("true label")

    side = 0.36 * max(5, len(labels))
    return drawn(draw, (side + 1.2) * len(pair), side)


def _most_confused(report: Report) -> list[int]:
    errors = [sum(row) - row[number] for number, row in enumerate(report.confusion)]
    worst = sorted(range(len(errors)), key=lambda number: -errors[number])[:MOST_LABELS]
    return sorted(worst)


def _kept(confusion: Sequence[Sequence[int]], kept: Sequence[int]) -> list[list[int]]:
    """Give the rows and columns of some labels, and a last column for every other answer."""
    rows = [(confusion[row], [confusion[row][column] for column in kept]) for row in kept]
    return [[*shown, sum(whole) - sum(shown)] for whole, shown in rows]


def _matrix(axes: Axes, counts: Sequence[Sequence[int]], labels: Sequence[str]) -> None:
    parts = [[one / max(1, sum(row)) for one in row] for row in counts]
    axes.pcolormesh(parts, cmap="Blues", vmin=0, vmax=1, edgecolor="white", linewidth=1)
    for y, row in enumerate(counts):
        for x, count in enumerate(row):
            shade = "white" if parts[y][x] > 0.45 else INK
            if count:
                axes.text(x + 0.5, y + 0.5, str(count), ha="center", va="center", color=shade)
    middles = [number + 0.5 for number in range(len(labels))]
    answers = [*labels, *(["other"] if len(counts[0]) > len(labels) else [])]
    axes.set_xticks(
        [number + 0.5 for number in range(len(answers))],
        answers,
        rotation=45,
        ha="right",
        rotation_mode="anchor",
    )
    axes.set_yticks(middles, labels)
    axes.tick_params(length=0)
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
