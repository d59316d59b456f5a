"""The replicas of every variant: who is asked, who else where that one fails, who is waited for."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from serving.gateway.balance import Estimate, least, size_of
from serving.gateway.link import Link
from serving.gateway.sound import unsound
from serving.replica.messages import Answer, Kind, Load, Status
from serving.replica.wire import Connection, ReplicaGone, ReplicaProblem

MOST_WAITING = 512
"""Requests that may wait for a replica to come back."""

MOST_BREAKS = 3
"""Replicas that may break under one request: it may be what breaks them."""

MOST_REMEMBERED = 256
"""Variants whose labels are kept after their replicas are gone: answers may be on their way."""

_ELSEWHERE = frozenset({Kind.OVERLOADED, Kind.NOT_READY})
"""Why a replica does not answer what another one might."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How one replica stands with this gateway."""

    number: int
    """Which of its variant's, from 1."""

    ready: bool
    load: Load
    outstanding: int
    """Tokens, by our guess, that it owes this gateway an answer about."""

    trouble: str = ""
    """Why it was ejected last."""


@dataclass(slots=True)
class _Group:
    """The replicas of one variant."""

    links: dict[str, Link] = field(default_factory=dict)
    """By address."""

    estimate: Estimate = field(default_factory=Estimate)
    turn: int = 0
    waiting: int = 0
    dropped: bool = False
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a replica can be asked again, or none will be."""

    def ready(self) -> list[Link]:
        return [one for one in self.links.values() if one.ready]

    def choose(self, tried: Sequence[Connection]) -> Link | None:
        """Give the ready replica that owes least, of those not tried yet."""
        fresh = [one for one in self.ready() if one.connection not in tried]
        if not fresh:
            return None
        self.turn += 1
        return fresh[least([one.outstanding for one in fresh], self.turn)]


@dataclass(slots=True)
class _Way:
    """One request on its way through the replicas of a variant."""

    texts: list[str]
    ids: list[list[int]]
    deadline: float
    """On the loop's clock."""

    size: int
    tried: list[Connection] = field(default_factory=list)
    broke: list[ReplicaGone] = field(default_factory=list)
    refused: list[ReplicaProblem] = field(default_factory=list)

    @property
    def items(self) -> int:
        return len(self.ids or self.texts)

    def failed(self) -> Exception | None:
        """Say how it ends where nobody is left to be asked now; None: it may wait."""
        if full := [one for one in self.refused if one.kind == Kind.OVERLOADED]:
            return min(full, key=lambda one: one.wait_seconds)
        return self.broke[-1] if len(self.broke) >= MOST_BREAKS else None


class Pool:
    """Connections to replicas, by the digest of the variant that they serve."""

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}
        self._labels: dict[str, list[str]] = {}

    def follow(self, replicas: Mapping[str, tuple[str, ...]]) -> None:
        """Keep connections to exactly these: content digest to addresses."""
        for digest, addresses in replicas.items():
            group = self._groups.setdefault(digest, _Group())
            for address in group.links.keys() - set(addresses):
                group.links.pop(address).close()
            for address in addresses:
                if address not in group.links:
                    group.links[address] = self._link(digest, address, group)
        for digest in self._groups.keys() - replicas.keys():
            self._drop(digest)

    def _link(self, digest: str, address: str, group: _Group) -> Link:
        taken = {one.number for one in group.links.values()}
        number = next(one for one in count(1) if one not in taken)

        def changed(link: Link) -> None:
            if link.status is not None:
                self._remember(link.status)
            group.woken.set()

        def elsewhere(link: Link) -> bool:
            return any(one is not link for one in group.ready())

        return Link(digest, address, number, changed, elsewhere)

    def status(self, digest: str) -> Status | None:
        """What a ready replica of a variant said of itself; None where none is ready."""
        group = self._groups.get(digest)
        ready = group.ready() if group else []
        return ready[0].status if ready else None

    def standing(self) -> dict[str, list[Standing]]:
        """How every replica stands, by content digest."""
        return {
            digest: [
                Standing(
                    number=link.number,
                    ready=link.ready,
                    load=link.load,
                    outstanding=link.outstanding,
                    trouble=link.trouble,
                )
                for link in sorted(group.links.values(), key=lambda one: one.number)
            ]
            for digest, group in self._groups.items()
        }

    def labels(self, digest: str) -> list[str]:
        """A variant's labels in the order of its scores; none where no replica has told them."""
        return self._labels.get(digest, [])

    def _remember(self, status: Status) -> None:
        self._labels.pop(status.digest, None)
        self._labels[status.digest] = status.labels
        if len(self._labels) > MOST_REMEMBERED:
            del self._labels[next(iter(self._labels))]

    async def infer(
        self,
        digest: str,
        texts: list[str],
        seconds: float,
        *,
        wait: bool,
        ids: list[list[int]] | None = None,
    ) -> Answer:
        """Ask a replica of a variant; another where that one breaks, hangs, errs or is full.

        Args:
            digest: content digest of the variant.
            texts: at least one, or none where there are ids.
            seconds: time left.
            wait: whether to wait for a replica that is starting; the champion's is waited for.
            ids: token ids of each item instead of texts.

        Raises:
            ReplicaProblem: a replica says why not; where all are full, the one that will be first
                to have room.
            ReplicaGone: there is none, or too many broke before they answered.
            TimeoutError: the time is over.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        size = size_of(texts)
        way = _Way(texts=texts, ids=ids or [], deadline=deadline, size=size)
        async with asyncio.timeout(seconds):
            while True:
                group, link = await self._chosen(digest, way, wait=wait)
                if (answer := await self._asked(group, link, way)) is not None:
                    return answer

    async def _chosen(self, digest: str, way: _Way, *, wait: bool) -> tuple[_Group, Link]:
        """Give who is asked next, and wait for somebody where that is wanted."""
        while True:
            group = self._groups.get(digest)
            link = group.choose(way.tried) if group else None
            failed = way.failed()
            if group is not None and link is not None and not isinstance(failed, ReplicaGone):
                return group, link
            if failed is not None:
                raise failed
            if group is None or not wait:
                said = ReplicaGone("No replica of this variant is ready.")
                raise next(iter([*way.broke[-1:], *way.refused[-1:]]), said)
            await self._woken(group)

    async def _woken(self, group: _Group) -> None:
        if group.waiting >= MOST_WAITING:
            said = f"{group.waiting} requests wait for a replica already."
            raise ReplicaProblem(Kind.OVERLOADED, said)
        group.waiting += 1
        group.woken.clear()
        try:
            await group.woken.wait()
        finally:
            group.waiting -= 1

    async def _asked(self, group: _Group, link: Link, way: _Way) -> Answer | None:
        """Ask one replica; None where another should be asked.

        Raises:
            ReplicaProblem: it says why not, and so would the others.
        """
        connection, status = link.connection, link.status
        if connection is None or status is None:
            return None
        way.tried.append(connection)
        weight = sum(map(len, way.ids)) or group.estimate.tokens(way.items, way.size)
        left = way.deadline - asyncio.get_running_loop().time()
        link.outstanding += weight
        try:
            answer = await connection.infer(way.texts, left * 1e3, way.ids)
        except ReplicaGone as error:
            way.broke.append(error)
            return None
        except ReplicaProblem as error:
            if error.kind not in _ELSEWHERE:
                link.note(failed=error.kind == Kind.INTERNAL)
                raise
            way.refused.append(error)
            if error.kind == Kind.NOT_READY:
                link.set_aside(error.message)
            return None
        finally:
            link.outstanding -= weight
        if why := unsound(answer, status, way.items):
            link.spoil(why)
            way.broke.append(ReplicaGone(f"A replica's answer was none: {why}."))
            return None
        link.note(failed=False)
        if not way.ids:
            group.estimate.learn(way.items, way.size, answer.tokens)
        return answer

    def _drop(self, digest: str) -> None:
        group = self._groups.pop(digest)
        for link in group.links.values():
            link.close()
        group.woken.set()

    def close(self) -> None:
        """Let go of every replica."""
        for digest in list(self._groups):
            self._drop(digest)
