"""Where a replica listens: the path of a Unix socket, or `tcp://host:port` beyond one host."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from release.errors import Invalid

_TCP = "tcp://"

Make = Callable[[], asyncio.BaseProtocol]
"""Makes the protocol of a new connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One of the two: a path, or a host and a port."""

    path: str = ""
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read an address.

        Raises:
            Invalid: it begins with `tcp://` and names no host and port.
        """
        if not text.startswith(_TCP):
            return cls(path=text)
        host, _, port = text.removeprefix(_TCP).rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65_536:
            raise Invalid(f"{text!r:.80} is no address.", "such as tcp://10.0.0.7:7000")
        return cls(host=host.removeprefix("[").removesuffix("]"), port=int(port))

    async def connect(self, make: Make) -> None:
        """Connect from an event loop.

        Raises:
            OSError: nobody listens there.
        """
        loop = asyncio.get_running_loop()
        if self.path:
            await loop.create_unix_connection(make, self.path)
        else:
            await loop.create_connection(make, self.host, self.port)

    async def listen(self, make: Make) -> asyncio.Server:
        """Listen in an event loop; a socket that a dead process left behind is replaced.

        Raises:
            OSError: somebody else listens there.
        """
        loop = asyncio.get_running_loop()
        if not self.path:
            return await loop.create_server(make, self.host, self.port)
        self.forget()
        return await loop.create_unix_server(make, self.path)

    def dial(self, seconds: float) -> socket.socket:
        """Connect from blocking code; connecting and each reading may take so long.

        Raises:
            OSError: nobody listens there.
        """
        if not self.path:
            return socket.create_connection((self.host, self.port), timeout=seconds)
        line = socket.socket(socket.AF_UNIX)
        try:
            line.settimeout(seconds)
            line.connect(self.path)
        except OSError:
            line.close()
            raise
        return line

    def mark(self) -> tuple[int, int]:
        """Tell the Unix socket that lies there now from any other; zeros where there is none."""
        try:
            facts = Path(self.path).lstat()
        except OSError:
            return 0, 0
        return facts.st_ino, facts.st_ctime_ns

    def forget(self, mark: tuple[int, int] | None = None) -> None:
        """Remove what is left of a Unix socket; harmless if there is nothing.

        Args:
            mark: which one alone; whoever listens there by now may be a successor.
        """
        if self.path and mark in (None, self.mark()):
            Path(self.path).unlink(missing_ok=True)
