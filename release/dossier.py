"""All that is known of one release, as far as its report tells it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from release.evidence import Tally
from release.gates import Verdict, judge
from release.releases import Approval, Event, Phase, Release
from release.reports import Profile, Report
from release.training import Lineage
from release.variants import Task, Variant

Verdicts = Mapping[str, Verdict]
"""Digest of a report to what the gates said of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """A release with everything that was measured, seen and said."""

    release: Release
    reports: tuple[Report, ...] = ()
    events: tuple[Event, ...] = ()
    """The oldest first."""

    last: int = 0
    """Number of the last event that it tells of."""

    since: Event | None = None
    """How its variant was put back after the release had ended well; None where it was not."""

    approvals: tuple[Approval, ...] = ()
    evidence: Mapping[str, Mapping[int, Tally]] = field(default_factory=dict)
    """Content digest of an arm to step to its counts; the step after the last is the bake."""

    links: Mapping[str, str] = field(default_factory=dict)
    """Where the same facts stand elsewhere: name to address."""

    @property
    def verdicts(self) -> Verdicts:
        """What the frozen policy's gates say of each report."""
        return {one.digest: judge(one, self.release.policy.gates) for one in self.reports}

    @property
    def chosen(self) -> Report | None:
        """Report of the variant that was to be rolled out, if one passed."""
        wanted = self.release.chosen.report if self.release.chosen else ""
        return next((one for one in self.reports if one.digest == wanted), None)

    @property
    def shown(self) -> Report | None:
        """The chosen report, else the one that came closest to a pass."""
        verdicts = self.verdicts
        nearest = min(
            self.reports, key=lambda one: verdicts[one.digest].decision.badness, default=None
        )
        return self.chosen or nearest

    @property
    def task(self) -> Task:
        """What its model is for, as far as it was measured."""
        return self.reports[0].task if self.reports else Task.TEXT_CLASSIFICATION

    @property
    def champion(self) -> Profile | None:
        """The champion, as it was measured beside the variants."""
        return next((one.champion for one in self.reports if one.champion), None)

    def built(self, variant: Variant) -> Mapping[str, Any]:
        """Give what was noted when a variant was built; empty where nothing was."""
        for event in self.events:
            if event.kind == "built" and event.data["variant"]["digest"] == variant.digest:
                return event.data
        return {}

    @property
    def lineage(self) -> Lineage | None:
        """Where the candidate comes from, as the ledger knew when the release opened."""
        opened = next((one.data for one in self.events if one.kind == "opened"), {})
        return Lineage.from_json(opened["lineage"]) if "lineage" in opened else None

    def shares(self) -> list[tuple[float, float]]:
        """Give the rollout as it went: moments and the percent of traffic from then on.

        Empty where the candidate never had traffic.
        """
        moved = [(one.at, share) for one in self.events if (share := _share(one)) is not None]
        return moved if any(share for _, share in moved) else []

    def why_not(self, report: Report) -> str:
        """Say in one sentence why a measured variant was not chosen; empty for the chosen one."""
        chosen, verdict = self.chosen, self.verdicts[report.digest]
        if chosen is not None and report.digest == chosen.digest:
            return ""
        if not verdict.passed:
            return f"{verdict.decision}: {verdict.reasons}"
        if chosen is None:
            return "passed, but nothing was chosen"
        mine, theirs = throughput(report), throughput(chosen)
        if mine is None or theirs is None:
            return f"passed, but its throughput beside {chosen.variant.recipe} is not known"
        return (
            f"passed, but costs more: {mine:.0f} texts/s, {theirs:.0f} with {chosen.variant.recipe}"
        )


def choose(reports: Sequence[Report], verdicts: Verdicts) -> Report | None:
    """Pick the passing variant that answers most texts a second on the same machine."""
    passing = [one for one in reports if verdicts[one.digest].passed]
    return max(passing, key=lambda one: throughput(one) or 0.0, default=None)


def throughput(report: Report) -> float | None:
    """Texts a second with many in flight; None where it was not measured."""
    measured = report.metrics.get("throughput_per_s")
    return measured.value if measured else None


_ENDS = frozenset({Phase.RESTORED, Phase.ROLLED_BACK, Phase.REJECTED})


def _share(event: Event) -> float | None:
    """Percent of the traffic that the candidate has after an event; None if it tells of none."""
    if event.kind == "promoted":
        return 100.0
    if event.data.get("phase") in _ENDS:
        return 0.0
    share = event.data.get("share")
    return float(share) if event.kind in ("warming", "step") and share is not None else None
