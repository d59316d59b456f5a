"""Where an agent's records and sockets lie."""

from dataclasses import dataclass
from pathlib import Path

from infra.sockets import sockets_under


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
        """Lay them out under a folder.

        Raises:
            Unsafe: others could take over its sockets.
        """
        sockets = sockets_under(run)
        (run / "agent").mkdir(parents=True, exist_ok=True, mode=0o700)
        return cls(run=run, records=run / "agent", sockets=sockets)
