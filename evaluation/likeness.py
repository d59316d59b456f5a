"""How like pairs are, as labelled and as the cosines of their vectors say, as a plot."""

from matplotlib.figure import Figure

from evaluation.charts import drawn, pair_of
from release.reports import Report


def likeness(report: Report) -> str:
    """Draw each pair's cosine over its labelled similarity, a panel a subject."""
    pair = [one for one in pair_of(report) if one[1].pairs]
    if not pair:
        return ""

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(pair), squeeze=False, sharey=True)
        for axes, (name, subject, colour) in zip(panels.flat, pair, strict=True):
            labelled, cosines = zip(*subject.pairs, strict=True)
            axes.scatter(labelled, cosines, s=12, color=colour, alpha=0.45, linewidths=0)
            axes.set_title(name, loc="left")
            axes.set(xlim=(-0.03, 1.03), xlabel="similarity as labelled")
            axes.grid(visible=True)
        panels[0][0].set_ylabel("cosine of the vectors")

    return drawn(draw, 4.2 * len(pair), 3.4)
