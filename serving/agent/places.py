"""Where an agent's records and sockets lie."""

import os
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from release.errors import Unsafe

LONGEST_SOCKET = 107
"""Bytes in the path of a Unix socket."""

_LONGEST_NAME = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Folders of one agent, made if need be."""

    run: Path
    records: Path
    sockets: Path

    @property
    def port(self) -> Path:
        """Remembers the gateways' port."""
        return self.run / "port"

    @property
    def grpc_port(self) -> Path:
        """Remembers the port of their gRPC."""
        return self.run / "grpc-port"

    @classmethod
    def under(cls, run: Path) -> "Places":
        """Lay them out under a folder; sockets go elsewhere where that is too deep for them."""
        sockets = run / "sockets"
        if len(bytes(sockets)) + _LONGEST_NAME > LONGEST_SOCKET:
            short = sha256(bytes(run)).hexdigest()[:12]
            sockets = Path(tempfile.gettempdir()) / f"slipway-{short}"
        for folder in (run, run / "agent"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if sockets.is_symlink():
            raise Unsafe(f"{sockets} is a link, and its sockets would lie where that leads.")
        sockets.mkdir(exist_ok=True, mode=0o700)
        facts = sockets.lstat()
        if facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
            raise Unsafe(f"{sockets} can be written by others, who could take over its sockets.")
        return cls(run=run, records=run / "agent", sockets=sockets)
