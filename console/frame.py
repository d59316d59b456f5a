"""One frame of `slipway watch`: a release as it stands, fitted to any terminal."""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from console.wording import age, cell, clock, megabytes
from release.controller import valid_approvals
from release.evidence import Tally
from release.gates import Decision
from release.releases import Phase, Release, ReplicaStatus
from release.waits import phase_since, wait_of
from release.wording import lasting, tame
from tasks.sight import Sight

STALE_SECONDS = 10.0
"""What a gateway or replica said longer ago says nothing about now."""

WIDEST = 90
"""Columns beyond which figures would stand too far from their names."""

MOST_EVENTS = 8
"""Events that are shown where nothing limits the height."""

_COLOURS = {
    Phase.PROMOTED: "green",
    Phase.REJECTED: "red",
    Phase.RESTORED: "red",
    Phase.ROLLED_BACK: "red",
    Phase.AWAITING_APPROVAL: "yellow",
}
_DECISIONS = {Decision.PASS: "green", Decision.INCONCLUSIVE: "yellow", Decision.FAIL: "red"}
_WORDS = {
    Phase.PREPARING: "prepare",
    Phase.AWAITING_APPROVAL: "approve",
    Phase.WARMING: "warm",
    Phase.BAKING: "bake",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A sight, drawn at a moment that may be later than it."""

    sight: Sight
    now: float
    """Seconds since the epoch."""

    trouble: str = ""
    """Why there is no newer sight."""

    height: int | None = None
    """Lines that there is room for; None where nothing limits them."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw everything, and as many of the last events as there is room for."""
        above = Group(*self._above(options.max_width))
        yield above
        room = MOST_EVENTS
        if self.height is not None:
            room = self.height - len(console.render_lines(above, options, pad=False)) - 1
        yield from self._events(max(0, min(room, len(self.sight.events))))

    def _above(self, width: int) -> Iterator[RenderableType]:
        sight, release = self.sight, self.sight.release
        if self.trouble:
            old = age(self.now - sight.at)
            said = f"What follows is {old} old, and it is tried again: {self.trouble}"
            yield cell(said, "white on red")
        yield self._title()
        yield self._people()
        yield from self._standing()
        yield Text()
        yield stations(release)
        yield _share(sight, self.now, width)
        yield Text()
        yield _evidence(sight, min(width, WIDEST))
        if sight.findings:
            # The first of the worst: there is little room, and the figures of both stand above.
            worst = max(sight.findings, key=lambda one: one.decision.badness)
            yield cell(worst.reason, _DECISIONS[worst.decision])
        yield Text()
        yield self._around()
        yield Text()

    def _title(self) -> Text:
        release = self.sight.release
        style = _COLOURS.get(release.phase, "cyan")
        title = Text(release.candidate.ref, style="bold").append("  ")
        title.append(f" {release.phase} ", style=f"reverse {style}")
        been = age(self.now - phase_since(release, self.sight.events))
        said = f"  {been} ago" if release.phase.closed else f"  for {been}"
        return title.append(said).append(f"  {release.id}", style="dim")

    def _people(self) -> Text:
        release = self.sight.release
        said = f"asked by {release.requester} {age(self.now - release.opened_at)} ago"
        answers = [f"{'yes' if one.granted else 'no'} by {one.who}" for one in self.sight.approvals]
        return Text("; ".join((said, *answers)), style="dim")

    def _standing(self) -> Iterator[RenderableType]:
        """Say what it waits for and until when, or how it ended."""
        sight, release = self.sight, self.sight.release
        if release.phase.closed:
            yield cell(release.reason, _COLOURS[release.phase])
            return
        asked = "approval" if release.phase is Phase.AWAITING_APPROVAL else ""
        what = asked or release.waiting_for
        waits = f"waits for {what}" if what else "moves on"
        if wait := wait_of(release, self.now):
            left = lasting(wait.until - self.now)
            waits += f"; in {left}, at {clock(wait.until)}, {wait.then}"
        yield Text(waits, style="bold")
        if release.phase is Phase.AWAITING_APPROVAL:
            yield from self._how_to_approve()
        elif release.waiting_for != "evidence":
            yield cell(release.reason)
        if sight.wanted is not None:
            yield Text(self._progress(sight.wanted))
        if not sight.carried:
            late = lasting(self.now - release.not_before)
            yield Text(f"overdue by {late}: nobody carries it on; see slipway status", "red")

    def _progress(self, wanted: int) -> str:
        seen, plan = self.sight.canary.requests, self.sight.release.policy.plan
        step = self.sight.release.step
        last = step + 1 == len(plan.steps)
        to = "be promoted" if last else f"get {plan.steps[step + 1].name}"
        return f"evidence: {seen} of {max(wanted, 1)} canary requests with which it may {to}"

    def _how_to_approve(self) -> Iterator[RenderableType]:
        release, rule = self.sight.release, self.sight.release.policy.approval
        if self.sight.answered:
            yield Text("answered: it moves on once a flow takes it up")
            return
        given = len(valid_approvals(release, self.sight.approvals, self.now))
        who = " or ".join(rule.roles)
        yield Text(f"{given} of {rule.count} yes by {who}, not {release.requester}. To say it:")
        yield Text(approve_command(release), style="bold yellow")

    def _around(self) -> Table:
        """Show what gateways serve and how replicas are."""
        sight = self.sight
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        for number, one in enumerate(sight.gateways):
            said = cell(f"{one.gateway} at {one.generation} of {sight.desired.generation}")
            if one.tripped:
                said.append(f"; cut the canary off: {tame(one.tripped)}", style="red")
            elif one.lapsed:
                said.append("; the canary's lease ran out", style="red")
            grid.add_row("" if number else "gateways", self._heard(said, one.at))
        for number, replica in enumerate(sight.replicas):
            grid.add_row(
                "" if number else "replicas", self._heard(self._replica(replica), replica.at)
            )
        if not sight.gateways and not sight.replicas:
            grid.add_row("serving", Text("nothing is heard of gateways and replicas", "yellow"))
        return grid

    def _heard(self, said: Text, at: float) -> Text:
        silent = self.now - at
        return said if silent <= STALE_SECONDS else said.append(f"; {age(silent)} ago", "red")

    def _replica(self, one: ReplicaStatus) -> Text:
        arms = _arms(self.sight)
        said = Text(arms.get(one.digest, one.digest[:14]))
        several = sum(other.digest == one.digest for other in self.sight.replicas) > 1
        said.append(f" #{one.number}" if several else "")
        said.append(" ready" if one.ready else " not ready", "green" if one.ready else "yellow")
        said.append(f", {megabytes(one.memory_bytes)}" if one.memory_bytes else "")
        said.append(f", restarted {one.restarts} times" if one.restarts else "", "red")
        return said.append(f": {tame(one.message)}" if one.message else "", "dim")

    def _events(self, count: int) -> Iterator[Table]:
        if not count:
            return
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(style="dim", no_wrap=True, justify="right")
        grid.add_column(no_wrap=True)
        grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        for one in reversed(self.sight.events[-count:]):
            grid.add_row(age(self.now - one.at), cell(one.kind, "cyan"), cell(one.sentence))
        yield grid


def approve_command(release: Release) -> str:
    """Write the command that says yes to a release."""
    return f'slipway approve {release.id} --why "…"'


def stations(release: Release) -> Text:
    """Draw a release's way, from preparing to the end of the bake, and where it is on it."""
    names, here = _way(release)
    line = Text()
    for number, name in enumerate(names):
        if number < here:
            mark, style = "✓", "green"
        elif number == here:
            mark, style = "●", "bold cyan"
        else:
            mark, style = "○", "dim"
        # A station is one word to whoever breaks the line.
        line.append(f"{mark} {name}".replace(" ", "\N{NO-BREAK SPACE}"), style=style)
        line.append("  ")
    return line


def _way(release: Release) -> tuple[list[str], int]:
    """Name the stations, and give the number of the present one."""
    before = [Phase.PREPARING, Phase.AWAITING_APPROVAL, Phase.WARMING]
    if not release.policy.approval.count:
        before.remove(Phase.AWAITING_APPROVAL)
    steps = release.policy.plan.steps if release.stable else ()
    names = [_WORDS[one] for one in before]
    names += [step.name for step in steps]
    names += [_WORDS[Phase.BAKING]] if release.stable else ["promote"]
    match release.phase:
        case Phase.PROMOTED:
            return names, len(names)
        case Phase.BAKING:
            return names, len(names) - 1
        case Phase.CANARY:
            return names, len(before) + release.step
        case phase if phase in before:
            return names, before.index(phase)
        case _:
            return names, -1


def _share(sight: Sight, now: float, width: int) -> Text:
    """Draw the share that the released variant has now."""
    desired, mine = sight.desired, sight.release.chosen
    share = desired.canary_percent if now < desired.lease_until else 0.0
    said = f" {desired.gives(now)} of the traffic"
    if mine and desired.champion == mine.variant:
        share, said = 100.0, " 100 % of the traffic"
    room = max(1, width - len(said))
    full = min(room, round(room * share / 100) or int(share > 0))
    return Text("█" * full, "cyan").append("░" * (room - full), "dim").append(said, "default")


def _arms(sight: Sight) -> dict[str, str]:
    desired, release = sight.desired, sight.release
    chosen = release.chosen.variant if release.chosen else None
    arms = [desired.champion, desired.canary, desired.previous, release.stable, chosen]
    return {one.digest: one.ref for one in arms if one is not None}


def _evidence(sight: Sight, width: int) -> RenderableType:
    release = sight.release
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim", width=width)
    table.add_column("", no_wrap=True, style="dim")
    table.add_column("variant", ratio=1, no_wrap=True, overflow="ellipsis")
    for name in ("requests", "failures", "slow", "rescued"):
        table.add_column(name, justify="right", no_wrap=True)
    chosen = release.chosen.variant.ref if release.chosen else "not chosen yet"
    table.add_row("canary", cell(chosen), *_counts(sight.canary))
    if release.stable:
        table.add_row("champion", cell(release.stable.ref), *_counts(sight.champion))
    return table


def _counts(tally: Tally) -> tuple[RenderableType, ...]:
    bad = [Text(str(n), "red" if n else "") for n in (tally.failures, tally.slow, tally.rescued)]
    return (str(tally.requests), *bad) if tally.requests else ("none", "–", "–", "–")
