"""Tells the gateways of one host who may call, and the ledger which keys were used."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from infra.callers.issuers import KeySets, read_issuers
from infra.callers.keys import note_used
from infra.callers.pepper import known_pepper
from infra.callers.reading import changes, contents
from infra.callers.snapshot import NAME, CallersSnapshot
from infra.ledger import Ledger
from infra.settings import Settings
from release.errors import SlipwayError
from release.releases import GatewayStatus

USED_SECONDS = 30.0
"""How often the ledger hears which keys were used."""

HOSTS_SECONDS = 2.0
"""How often it is asked which gateways other hosts have."""

GONE_SECONDS = 3_600.0
"""Gateways of a host that has said nothing for so long have no part of quotas any more."""


class CallersKeeper:
    """Keeps `callers.json` as ledger, issuers' file and issuers' keys have it.

    Where one of them cannot be read, what it said last stays true.

    Args:
        settings: where they lie.
        agent: whose gateways these are.
    """

    def __init__(self, settings: Settings, agent: str = "") -> None:
        self._settings = settings
        self._sets = KeySets(settings.run / "issuers")
        self._lies = _mark(settings.run / NAME)
        """How the file was left, so that it is written again where somebody else touched it."""

        self._known = CallersSnapshot.load(settings.run)
        self._agent = agent
        self._shares = (known.first, known.gateways) if (known := self._known) else (0, 1)
        """Place of our first gateway among all, and how many there are."""

        self._hosts_at = -HOSTS_SECONDS
        self._contents: CallersSnapshot | None = None
        self._changes = -1
        self._issuers = list(known.issuers) if known else []
        self._sets.watch(self._issuers)
        self._mark: tuple[int, ...] | None = None
        self._told: dict[str, float] = {}
        self._tell_at = time.monotonic() + USED_SECONDS

    def close(self) -> None:
        """Fetch no keys of issuers any more."""
        self._sets.close()

    def keep(self, ledger: Ledger | None) -> None:
        """Hand gateways a new snapshot, if it says anything new.

        Raises:
            SlipwayError: something cannot be read; the rest is kept all the same.
        """
        failed: SlipwayError | None = None
        try:
            self._from_ledger(ledger)
        except SlipwayError as error:
            failed = error
        try:
            self._from_file()
        except SlipwayError as error:
            failed = error
        self._publish()
        try:
            self._look_at_pepper()
        except SlipwayError as error:
            failed = error
        if failed is not None:
            raise failed

    def _from_ledger(self, ledger: Ledger | None) -> None:
        if ledger is None:
            return
        number = changes(ledger)
        if not number and self._known is not None and self._known.keys:
            # A ledger in which nothing was ever made: a new, empty one in the place of one that was
            # lost. It locks nobody out; who was revoked is not on the disk either.
            return
        if self._contents is None or number != self._changes:
            # Numbered before it is read: what changes meanwhile is read once more.
            self._contents, self._changes = contents(ledger, self._settings.recording), number
        if time.monotonic() - self._hosts_at >= HOSTS_SECONDS:
            others = _others(ledger.gateways(), self._agent, time.time() - GONE_SECONDS)
            before = sum(many for agent, many in others.items() if agent < self._agent)
            self._shares = (before, sum(others.values()) + self._settings.gateways)
            self._hosts_at = time.monotonic()

    def _from_file(self) -> None:
        path = self._settings.issuers_file
        mark = _mark(path)
        if mark == self._mark:
            return
        self._issuers = read_issuers(path)
        self._sets.watch(self._issuers)
        # Only now: what could not be read is said again and again, until somebody has mended it.
        self._mark = mark

    def _publish(self) -> None:
        known = self._known
        base = self._contents or known
        if base is None:
            return
        issuers = [msgspec.structs.replace(one, keys=self._sets.of(one)) for one in self._issuers]
        first, gateways = self._shares
        fresh = msgspec.structs.replace(
            base,
            number=_after(known),
            first=first,
            gateways=max(gateways, first + self._settings.gateways),
            issuers=issuers,
        )
        path = self._settings.run / NAME
        if known is None or not fresh.same(known) or self._lies != _mark(path):
            fresh.save(self._settings.run)
            # Only now: what could not be written is tried again in the next beat.
            self._known, self._lies = fresh, _mark(path)

    def _look_at_pepper(self) -> None:
        """Raise where there are keys, and gateways could check none of them."""
        if self._known is not None and self._known.keys and not self._settings.open:
            known_pepper(self._settings.pepper_file)

    def tell(self, ledger: Ledger, used: Mapping[str, float]) -> None:
        """Note in the ledger, now and then, which keys were used."""
        now = time.monotonic()
        if now < self._tell_at:
            return
        self._tell_at = now + USED_SECONDS
        fresh = {key: at for key, at in used.items() if at > self._told.get(key, 0.0)}
        if fresh:
            note_used(ledger, fresh)
            self._told |= fresh


def _others(said: Iterable[GatewayStatus], agent: str, since: float) -> dict[str, int]:
    """Count the gateways of each other agent that was heard of since some moment."""
    names = {one.gateway for one in said if one.at >= since}
    hosts = (one.partition("/")[0] for one in names)
    return Counter(one for one in hosts if one != agent)


def _mark(path: Path) -> tuple[int, ...]:
    """Say how a file lies there; nothing of one that does not."""
    try:
        facts = path.stat()
    except OSError:
        return ()
    return (facts.st_mtime_ns, facts.st_ino, facts.st_size)


def _after(known: CallersSnapshot | None) -> int:
    """Number a snapshot: after the one before, and after any that was lost with its file.

    Gateways follow no number that is lower than theirs. That of a lost file is known to nobody, but
    it was one of milliseconds that have passed.
    """
    return max((known.number if known else 0) + 1, int(time.time() * 1e3))
