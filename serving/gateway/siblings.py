"""The gateways of one host share a port: whichever is asked for metrics tells those of all.

Each tells its own on a local socket beside its status, `gateway-g1.metrics`. Such a file is there
for every gateway that its agent keeps, also for one that does not come up, and goes with it.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from infra.sockets import INDEXER
from serving.gateway.exposition import indexer, labelled, merged, standing

PREFIX, SUFFIX = "gateway-", ".metrics"

ASK_SECONDS = 2.0
"""How long the others are waited for, all at once. As many series as there may be take one 0.3 s,
a host has fewer cores than gateways, and Prometheus waits for ten seconds."""

END = b"# EOF\n"
"""What a whole answer ends with."""


class Siblings:
    """The gateways of this host, of which one is this process.

    Args:
        name: of this one, such as host/g1.
        status: its local socket that tells how it is; what the others tell lies in that folder.
        render: gives what this one counts, in Prometheus' text format.
    """

    def __init__(self, name: str, status: Path, render: Callable[[], bytes]) -> None:
        self._name = name.rpartition("/")[2]
        self._place = status.with_suffix(SUFFIX)
        self._render = render
        self._server: asyncio.AbstractServer | None = None

    async def listen(self) -> None:
        """Tell from now on what this gateway counts, to whoever connects to its socket."""
        self._place.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._tell, str(self._place))

    def close(self) -> None:
        """Tell it no more, and be missed by nobody."""
        self._place.unlink(missing_ok=True)
        if self._server is not None:
            self._server.close()

    async def collect(self) -> bytes:
        """Give what all gateways of this host count, and which of them did not say it."""
        texts, up = [self._own()], {self._name: True}
        places = sorted(self._place.parent.glob(f"*{SUFFIX}"))
        others = [one for one in places if one != self._place]
        told, *found = await asyncio.gather(self._indexer(), *map(_ask, others))
        for place, text in zip(others, found, strict=True):
            if text is None:
                continue
            up[place.stem.removeprefix(PREFIX)] = bool(text)
            texts.append(text)
        return merged((standing(up), *texts, told or b""))

    async def _indexer(self) -> bytes | None:
        """Give what the indexer of this host says; None where there is none."""
        text = await _heard(self._place.with_name(INDEXER))
        return None if text is None else indexer(text, time.time())

    def _own(self) -> bytes:
        return labelled(self._render(), self._name)

    async def _tell(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError), closing(writer):
            writer.write(self._own() + END)
            await writer.drain()


async def _ask(place: Path) -> bytes | None:
    """Hear what another counts: nothing where it is dead, hung or cut off; None where it left."""
    text = await _heard(place)
    if not text:
        return text
    return text.removesuffix(END) if text.endswith(END) else b""


async def _heard(place: Path) -> bytes | None:
    """Hear what a process says on its socket: nothing where it is dead or hung; None: it left."""
    try:
        async with asyncio.timeout(ASK_SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(place))
            with closing(writer):
                return await reader.read()
    except FileNotFoundError:
        return None
    except OSError:  # TimeoutError among them
        return b""
