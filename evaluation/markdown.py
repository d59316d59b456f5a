"""A release's report as Markdown, for Prefect's page and the ledger."""

from collections.abc import Mapping, Sequence

from release.gates import Decision, Verdict
from release.releases import Release
from release.reports import METRICS, Measurement, Report

_MARK = {Decision.PASS: "✅", Decision.INCONCLUSIVE: "❔", Decision.FAIL: "❌"}


def render(
    release: Release,
    reports: Sequence[Report],
    verdicts: Mapping[str, Verdict],
    chosen: Report | None,
) -> str:
    """Write the page.

    Args:
        release: what the reports are about.
        reports: one a variant, all on the same suite.
        verdicts: report digest to what the gates said.
        chosen: report of the variant that will be rolled out, if one passed.
    """
    stable = release.stable.ref if release.stable else "none: this is the first release"
    outcome = f"**{chosen.variant.ref}** was chosen" if chosen else "**no variant passed**"
    lines = [
        f"# {release.candidate.ref}",
        "",
        f"Release `{release.id}`, asked for by {release.requester}. Champion: {stable}.",
        f"Outcome: {outcome}.",
        "",
        *_table(reports, verdicts),
        "",
    ]
    for one in reports:
        lines += [f"## Gates of {one.variant.ref}", ""]
        lines += [
            f"- {_MARK[finding.decision]} `{finding.gate}`: {finding.reason}"
            for finding in verdicts[one.digest].findings
        ]
        lines.append("")
    shown = chosen or (reports[0] if reports else None)
    return "\n".join(lines + (_slices(shown) if shown else []))


def _table(reports: Sequence[Report], verdicts: Mapping[str, Verdict]) -> list[str]:
    names = [one.variant.recipe for one in reports]
    lines = [
        f"| metric | {' | '.join(names)} |",
        f"|---|{'---|' * len(names)}",
    ]
    decisions = (verdicts[one.digest].decision for one in reports)
    lines.append(f"| verdict | {' | '.join(_MARK[one] + ' ' + one for one in decisions)} |")
    for metric, facts in METRICS.items():
        label = f"{metric} ({facts.unit})" if facts.unit else metric
        cells = [_cell(one.metrics.get(metric)) for one in reports]
        lines.append(f"| {label} | {' | '.join(cells)} |")
        if any(metric in one.differences for one in reports):
            cells = [_cell(one.differences.get(metric), signed=True) for one in reports]
            lines.append(f"| … minus champion | {' | '.join(cells)} |")
    return lines


def _cell(measured: Measurement | None, *, signed: bool = False) -> str:
    if measured is None:
        return "not measured"
    sign = "+" if signed else ""
    value = f"{measured.value:{sign}.4g}"
    if measured.low is None or measured.high is None:
        return value
    return f"{value} [{measured.low:{sign}.4g}, {measured.high:{sign}.4g}]"


def _slices(one: Report) -> list[str]:
    lines = [f"## Slices of {one.variant.ref}", "", "| slice | accuracy | texts |", "|---|---|---|"]
    for name, metrics in one.slices.items():
        measured = metrics["accuracy"]
        lines.append(f"| {name} | {_cell(measured)} | {measured.n} |")
    return lines
