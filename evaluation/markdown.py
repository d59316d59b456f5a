"""A release's report as Markdown: the same facts as the page, for Prefect and the registry."""

from collections.abc import Iterator

from evaluation.wording import (
    ENTITY_METRICS,
    MARKS,
    NAMES,
    figure,
    label_rows,
    moment,
    names_for,
)
from release.dossier import Dossier
from release.reports import METRICS, Report


def render(dossier: Dossier) -> str:
    """Write the page; what is not known yet is left out."""
    release = dossier.release
    stable = release.stable.ref if release.stable else "none: this is the first release"
    chosen = dossier.chosen
    outcome = f"**{chosen.variant.ref}** was chosen" if chosen else "**no variant passed**"
    asked = moment(release.opened_at)
    lines = [
        f"# {release.candidate.ref}: {release.phase}",
        "",
        _plain(release.reason),
        "",
        *_since(dossier),
        f"Release `{release.id}`, asked for by {release.requester} on {asked}.",
        f"Champion then: {stable}. {outcome if dossier.reports else ''}".rstrip(),
        "",
    ]
    if dossier.lineage:
        lines += [f"Trained by {dossier.lineage.training}: {dossier.lineage.sentence}.", ""]
    if dossier.links:
        lines += [*(f"- {name}: {address}" for name, address in dossier.links.items()), ""]
    if dossier.reports:
        lines += [*_table(dossier), "", *_why(dossier)]
    if shown := dossier.shown:
        lines += [*_labels(shown), *_slices(shown)]
    return "\n".join([*lines, *_story(dossier)])


def _since(dossier: Dossier) -> list[str]:
    if (event := dossier.since) is None:
        return []
    return [f"**Since then, {moment(event.at)}:** {_plain(event.sentence)}", ""]


def _plain(text: str) -> str:
    """Keep a sentence on one line of a table."""
    return text.replace("|", "\\|").replace("\n", " ")


def _table(dossier: Dossier) -> Iterator[str]:
    reports, verdicts = dossier.reports, dossier.verdicts
    champion = dossier.champion
    names = [one.variant.recipe for one in reports] + (["champion"] if champion else [])
    yield f"| metric | {' | '.join(names)} |"
    yield f"|---|{'---|' * len(names)}"
    said = [verdicts[one.digest].decision for one in reports]
    marks = [f"{MARKS[one]} {one}" for one in said] + ([""] if champion else [])
    yield f"| verdict | {' | '.join(marks)} |"
    for metric, name in names_for(dossier.task).items():
        cells = [figure(metric, one.metrics.get(metric)) for one in reports]
        cells += [figure(metric, champion.metrics.get(metric))] if champion else []
        yield f"| {name} | {' | '.join(cells)} |"
        if any(metric in one.differences for one in reports):
            cells = [figure(metric, one.differences.get(metric), signed=True) for one in reports]
            yield f"| … minus champion | {' | '.join(cells)} | |"


def _why(dossier: Dossier) -> Iterator[str]:
    for one in dossier.reports:
        why = dossier.why_not(one)
        yield f"## {one.variant.ref}: {'not chosen' if why else 'chosen'}"
        yield ""
        if why:
            yield from (f"Not chosen: {_plain(why)}.", "")
        for finding in dossier.verdicts[one.digest].findings:
            yield f"- {MARKS[finding.decision]} `{finding.gate}`: {finding.reason}"
        yield ""


def _labels(one: Report) -> Iterator[str]:
    """Tell precision, recall and F1 of each label of entities."""
    rows = label_rows(one)
    if not rows:
        return
    yield f"## Labels of {one.variant.ref}"
    yield ""
    yield "| label | precision | recall | F1 |"
    yield "|---|---|---|---|"
    for label, measured in rows:
        cells = [figure(metric, measured.get(metric)) for metric in ENTITY_METRICS]
        yield f"| {_plain(label)} | {' | '.join(cells)} |"
    yield ""


def _slices(one: Report) -> Iterator[str]:
    yield f"## Slices of {one.variant.ref}"
    yield ""
    metric = one.headline
    yield f"| slice | {METRICS[metric].counted} | {NAMES[metric]} | champion | difference |"
    yield "|---|---|---|---|---|"
    beside = one.champion.slices if one.champion else {}
    for name, metrics in one.slices.items():
        if metric not in metrics:
            continue
        cells = (
            figure(metric, metrics[metric]),
            figure(metric, beside.get(name, {}).get(metric)),
            figure(metric, one.slice_differences.get(name, {}).get(metric), signed=True),
        )
        yield f"| {_plain(name)} | {metrics[metric].n} | {' | '.join(cells)} |"
    yield ""


def _story(dossier: Dossier) -> Iterator[str]:
    yield "## What happened"
    yield ""
    for event in dossier.events:
        yield f"- {moment(event.at)} **{event.kind}** ({event.actor}): {_plain(event.sentence)}"
