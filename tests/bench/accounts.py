"""Where the time of one release went, worked out from its events and the gateways' journal.

From `opened` to its end a release is split without gaps or overlaps:

building        each variant that was not in the store: the seconds that its `built` event names
measuring       from the last `built` to the last `measured`: replicas started, texts answered
person          from `approval-wanted` to the last `approved` before `warming`
soak            of each step, from its event until its soak had passed and the journal held enough:
                as many requests as the policy wants, and evidence that passes its guards
bake            from `promoted` until the policy's time had passed, where there was a champion
orchestration   the rest: until the flow run began and imported, between the stages, loading a
                replica, until gateways confirmed, and between the moment at which the journal said
                enough and the tick that acted on it
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from evaluation.live import judge_live
from infra.calls.chain import CALL
from infra.calls.lines import CallLine, Entry
from release.evidence import Tally
from release.gates import Decision
from release.releases import Event, Release
from serving.journal import tally_of
from tasks.wiring import House


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Seconds of one release, by what they went into."""

    wall: float
    start: float
    """From `opened` until the first variant began to be built or was found."""

    building: float
    measuring: float
    person: float
    soak: float
    bake: float

    @property
    def orchestration(self) -> float:
        """Seconds that went into none of these."""
        done = self.building + self.measuring + self.person + self.soak + self.bake
        return self.wall - done

    @property
    def share(self) -> float:
        """Part of the release that was orchestration, 0..1."""
        return self.orchestration / self.wall


_entry = msgspec.json.Decoder(Entry).decode
_call = msgspec.json.Decoder(CallLine).decode


def account(release: Release, events: Sequence[Event], records: Sequence[CallLine]) -> Account:
    """Split a closed release's time.

    Args:
        release: promoted or restored.
        events: its own, in order.
        records: every request to its endpoint while it was open, in the order of their ends.

    Raises:
        ValueError: it is open, or lacks an event that every such release has.
    """
    if release.closed_at is None:
        raise ValueError(f"{release.id} is still open: {release.phase}")
    built = [one for one in events if one.kind == "built"]
    first = min((one.at - _seconds(one) for one in built), default=None)
    if first is None:
        raise ValueError(f"{release.id} has no event `built`")
    warming = _last(events, "warming", release.closed_at)
    return Account(
        wall=release.closed_at - release.opened_at,
        start=first - release.opened_at,
        building=sum(map(_seconds, built)),
        measuring=_last(events, "measured", warming) - _last(events, "built", warming),
        person=max(
            0.0, _last(events, "approved", warming) - _last(events, "approval-wanted", warming)
        ),
        soak=sum(_soaks(release, events, records)),
        bake=_bake(release, events, release.closed_at),
    )


def _seconds(built: Event) -> float:
    return 0.0 if built.data["cached"] else float(built.data["seconds"])


def _last(events: Iterable[Event], kind: str, otherwise: float) -> float:
    return max((one.at for one in events if one.kind == kind), default=otherwise)


def _soaks(
    release: Release, events: Sequence[Event], records: Sequence[CallLine]
) -> Iterable[float]:
    """Give, for each step that was left, how long it could not have been left."""
    marks = [one for one in events if one.kind in ("step", "promoted", "restored", "rolled-back")]
    ends = [record.at_us / 1e6 for record in records]
    for number, mark in enumerate(marks[:-1]):
        if mark.kind != "step":
            continue
        left = marks[number + 1].at
        begun, until = bisect_right(ends, mark.at), bisect_right(ends, left)
        early = records[bisect_right(ends, marks[0].at) : begun]
        enough = _enough(release, number, early, records[begun:until])
        soaked = mark.at + release.policy.plan.steps[number].soak_seconds
        # What was decided without enough (a canary put back early) was decided by bad evidence.
        yield min(left, max(soaked, left if enough is None else enough)) - mark.at


def _enough(
    release: Release, step: int, before: Sequence[CallLine], during: Sequence[CallLine]
) -> float | None:
    """Give the moment at which a step's evidence passed, None if it never did."""
    canary = release.chosen.variant.digest if release.chosen else ""
    stable = release.stable.digest if release.stable else ""
    plan, live = release.policy.plan, release.policy.live
    tallies = _add({}, before)
    earlier = tallies.get(canary, Tally()).requests
    for record in during:
        _add(tallies, [record])
        seen = tallies.get(canary, Tally())
        if seen.requests - earlier < plan.steps[step].least_requests:
            continue
        share = plan.next_share(step)
        findings = judge_live(tallies.get(stable, Tally()), seen, live, next_share=share)
        if all(one.decision is Decision.PASS for one in findings):
            return record.at_us / 1e6
    return None


def _add(tallies: dict[str, Tally], records: Iterable[CallLine]) -> dict[str, Tally]:
    for record in records:
        for one in record.counted:
            tallies[one.digest] = tallies.get(one.digest, Tally()) + tally_of(one)
    return tallies


def _bake(release: Release, events: Sequence[Event], closed: float) -> float:
    promoted = [one.at for one in events if one.kind == "promoted"]
    if not promoted or release.stable is None:
        return 0.0
    return min(closed - promoted[0], release.policy.plan.bake_seconds)


def requests(journal: Path, release: Release) -> list[CallLine]:
    """Read every request to a release's endpoint while it was open, in the order of their ends."""
    closed = release.closed_at or float("inf")
    found = [
        record
        for path in sorted(journal.glob("*/*.jsonl"))
        for line in path.read_bytes().splitlines()
        if line.startswith(CALL)
        for record in [
            msgspec.json.decode(msgspec.json.decode(line, type=Entry).call, type=CallLine)
        ]
        if record.endpoint == release.candidate.model
        and release.opened_at <= record.at_us / 1e6 <= closed
    ]
    return sorted(found, key=lambda record: record.at_us)


def of(house: House, releases: Iterable[Release]) -> Mapping[str, Account]:
    """Account for releases, each by its candidate's reference."""
    return {
        one.candidate.ref: account(
            one,
            [event for _, event in house.ledger.events(one.id)],
            requests(house.settings.journal, one),
        )
        for one in releases
    }
