"""Keeps replica processes, several where that is asked for, for every variant that is wanted."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import count

from infra.processes import Process, Records, alive, ask_to_end, running, stop
from infra.settings import Settings
from release.releases import ReplicaStatus
from release.routes import Serving
from release.variants import Variant
from serving.agent.places import Places
from serving.agent.replica import DRAIN_SECONDS, Care, Replica, family

Addresses = dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A variant that must be served here, and how."""

    variant: Variant
    serving: Serving = field(default_factory=Serving)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dismissed:
    """A replica of an agent before us that finishes what it has."""

    process: Process
    since: float


class Replicas:
    """The replicas of one host.

    Args:
        settings: where variants, logs and records lie.
        places: where sockets lie.
    """

    def __init__(self, settings: Settings, places: Places) -> None:
        self._records = Records(places.records)
        self._care = Care(settings, places, self._records)
        self._known: dict[str, list[Replica]] = {}
        """By content digest."""

        self._left = running("serving.replica.worker", places.sockets)
        """Replicas of an agent before us that nobody has wanted yet, and gateways may still ask."""

        self._dismissed: list[_Dismissed] = []

    def keep(
        self, wanted: Mapping[str, Wanted], now: float, *, asked: Collection[str] = ()
    ) -> None:
        """Start what is missing, restart what died, stop what is no longer wanted.

        Args:
            wanted: content digest to what is asked for.
            now: on the monotonic clock.
            asked: addresses in the snapshot that gateways follow; who listens there stays, wanted
                or not, until another snapshot is out.
        """
        for digest, one in wanted.items():
            if digest not in self._known:
                self._known[digest] = self._adopted(one.variant, now)
            self._settle(self._known[digest], one, now)
        self._dismiss_strangers(now, asked)
        for digest, mine in list(self._known.items()):
            for replica in list(mine):
                if digest not in wanted or replica.unwanted_since is not None:
                    if self._let_go(replica, now, asked):
                        mine.remove(replica)
                else:
                    self._care.look_after(replica, now)
            if not mine:
                del self._known[digest]

    def _let_go(self, replica: Replica, now: float, asked: Collection[str]) -> bool:
        """End one that nobody wants, but not while gateways have it; say whether it is over."""
        if replica.address in asked and not replica.asked_to_end:
            replica.unwanted_since = now
            self._care.look_after(replica, now)
            return False
        return self._care.let_go(replica, now)

    def addresses(self) -> Addresses:
        """Content digest to addresses, of every replica that is wanted.

        Ready or not: gateways see for themselves whom they reach, and wait at the address of a
        champion that is being restarted.
        """
        found = {
            digest: tuple(one.address for one in mine if one.unwanted_since is None)
            for digest, mine in self._known.items()
        }
        return {digest: addresses for digest, addresses in found.items() if addresses}

    def statuses(self, agent: str, endpoints: Mapping[str, list[str]]) -> list[ReplicaStatus]:
        """What the replicas say of themselves, a line for each endpoint that needs one.

        Args:
            agent: name of this agent.
            endpoints: content digest to the endpoints that it serves.
        """
        now = time.time()
        return [
            ReplicaStatus(
                agent=agent,
                endpoint=endpoint,
                digest=digest,
                number=replica.number,
                ready=replica.ready,
                message="" if replica.ready else replica.message,
                pid=replica.process.pid if replica.process else 0,
                memory_bytes=replica.memory_bytes,
                restarts=replica.deaths,
                at=now,
            )
            for digest, mine in self._known.items()
            for replica in mine
            for endpoint in endpoints.get(digest, [])
            if replica.unwanted_since is None
        ]

    def stop(self) -> None:
        """Let every replica finish what is under way, and end."""
        everyone = [one for mine in self._known.values() for one in mine]
        strangers = [*self._left, *(one.process for one in self._dismissed)]
        mine = [one.process for one in everyone if one.process]
        stop([*mine, *strangers], grace=DRAIN_SECONDS)
        for replica in everyone:
            self._records.remove(replica.name)

    def _adopted(self, variant: Variant, now: float) -> list[Replica]:
        """Take over the processes that an agent before us started, if they still run."""
        found: list[Replica] = []
        for left in self._left:
            start, _, number = left.name.rpartition("-")
            if f"{start}-" == family(variant.digest) and number.isdigit() and alive(left):
                replica = self._care.make(variant, int(number), now)
                self._care.adopt(replica, left)
                found.append(replica)
        names = {one.name for one in found}
        self._left = [one for one in self._left if one.name not in names]
        return sorted(found, key=lambda one: one.number)

    def _settle(self, mine: list[Replica], wanted: Wanted, now: float) -> None:
        """Want as many replicas of a variant as are asked for, and let a worn one go.

        A replica that has grown beyond its limit is one too many from then on: another is started
        and, once that is ready, the worn one goes as if it were not wanted. One at a time, so that
        a limit that all meet at once does not double the memory.
        """
        for replica in mine:
            replica.serving = wanted.serving
        here = [one for one in mine if one.unwanted_since is None]
        if not any(one.worn for one in here):
            worn = next((one for one in here if one.grown), None)
            if worn is not None:
                worn.worn = True
        sound = sorted(
            (one for one in here if not one.worn), key=lambda one: (not one.ready, one.number)
        )
        most = wanted.serving.replicas
        sound += self._more(mine, wanted, most - len(sound), now)
        for replica in sound[most:]:
            replica.unwanted_since = now
        if all(one.ready for one in sound[:most]):
            for replica in here:
                if replica.worn:
                    replica.unwanted_since = now

    def _more(self, mine: list[Replica], wanted: Wanted, most: int, now: float) -> list[Replica]:
        """Want that many more: first those that were about to go, then new ones."""
        leaving = [one for one in mine if one.unwanted_since is not None and not one.worn]
        found = leaving[: max(0, most)]
        for replica in found:
            self._care.want(replica)
        taken = {one.number for one in mine}
        free = (number for number in count(1) if number not in taken)
        for number in (next(free) for _ in range(most - len(found))):
            replica = self._care.make(wanted.variant, number, now)
            replica.serving = wanted.serving
            mine.append(replica)
            found.append(replica)
        return found

    def _dismiss_strangers(self, now: float, asked: Collection[str]) -> None:
        """End what an agent before us started and nobody wants or asks any more."""
        for record in self._left:
            if self._care.address(record.name) not in asked:
                ask_to_end(record)
                self._records.remove(record.name)
                self._dismissed.append(_Dismissed(process=record, since=now))
        gone = {one.process for one in self._dismissed}
        self._left = [one for one in self._left if one not in gone]
        for one in self._dismissed:
            if now - one.since > DRAIN_SECONDS:
                stop([one.process], grace=0)
        self._dismissed = [one for one in self._dismissed if alive(one.process)]
