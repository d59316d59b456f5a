"""Connections to replicas: made in the background, made again when they break."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from serving.replica.messages import Answer, Kind, Status
from serving.replica.wire import Connection, ReplicaGone, ReplicaProblem

RETRY_SECONDS = 0.1
MOST_WAITING = 512
"""Requests that may wait for a replica to come back."""

MOST_REMEMBERED = 256
"""Variants whose labels are kept after their replicas are gone: answers may be on their way."""


@dataclass(slots=True)
class _Link:
    address: str
    up: asyncio.Event = field(default_factory=asyncio.Event)
    connection: Connection | None = None
    status: Status | None = None
    keeper: asyncio.Task[None] | None = None
    waiting: int = 0


class Pool:
    """One connection a replica, by the digest of the variant that it serves."""

    def __init__(self) -> None:
        self._links: dict[str, _Link] = {}
        self._labels: dict[str, list[str]] = {}

    def follow(self, replicas: Mapping[str, str]) -> None:
        """Keep connections to exactly these: content digest to address."""
        for digest, address in replicas.items():
            known = self._links.get(digest)
            if known is None or known.address != address:
                if known is not None:
                    self._drop(digest)
                link = self._links[digest] = _Link(address)
                link.keeper = asyncio.create_task(self._keep(digest, link))
        for digest in self._links.keys() - replicas.keys():
            self._drop(digest)

    def status(self, digest: str) -> Status | None:
        """What a replica said of itself when it was connected; None where it is not ready."""
        link = self._links.get(digest)
        return link.status if link and link.up.is_set() else None

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
        """Ask the replica of a variant.

        Args:
            digest: content digest of the variant.
            texts: at least one, or none where there are ids.
            seconds: time left.
            wait: whether to wait for a replica that is starting; the champion's is waited for.

            ids: token ids of each item instead of texts.

        Raises:
            ReplicaProblem: the replica says why not.
            ReplicaGone: there is none, or it died before it answered.
            TimeoutError: the time is over.
        """
        async with asyncio.timeout(seconds):
            deadline = asyncio.get_running_loop().time() + seconds
            connection = await self._connection(digest, wait=wait)
            left = deadline - asyncio.get_running_loop().time()
            return await connection.infer(texts, left * 1e3, ids)

    async def _connection(self, digest: str, *, wait: bool) -> Connection:
        link = self._links.get(digest)
        if link is None or (not link.up.is_set() and not wait):
            raise ReplicaGone("No replica of this variant is ready.")
        if not link.up.is_set():
            if link.waiting >= MOST_WAITING:
                said = f"{link.waiting} requests wait for a replica already."
                raise ReplicaProblem(Kind.OVERLOADED, said)
            link.waiting += 1
            try:
                await link.up.wait()
            finally:
                link.waiting -= 1
        if link.connection is None:
            raise ReplicaGone("The replica of this variant is gone.")
        return link.connection

    async def _keep(self, digest: str, link: _Link) -> None:
        """Connect, see whether it is who it should be and ready, notice when it breaks, repeat."""
        while True:
            with suppress(ReplicaGone, ReplicaProblem):
                if link.connection is None:
                    link.connection = await Connection.connect(link.address)
                link.status = await link.connection.status()
            here = link.connection
            if here is None or here.closed:
                link.connection = None
                link.up.clear()
            elif link.status is not None and link.status.ready and link.status.digest == digest:
                self._remember(link.status)
                link.up.set()
                await here.gone.wait()
                continue
            await asyncio.sleep(RETRY_SECONDS)

    def _drop(self, digest: str) -> None:
        link = self._links.pop(digest)
        if link.keeper is not None:
            link.keeper.cancel()
        if link.connection is not None:
            link.connection.close_when_idle()

    def close(self) -> None:
        """Let go of every replica."""
        for digest in list(self._links):
            self._drop(digest)
