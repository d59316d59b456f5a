"""The file by which an agent tells its gateways what to serve, and where the replicas are."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from infra.files import write_atomic
from release.errors import SlipwayError
from release.routes import Routes

NAME = "routes.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Routes and the addresses of replicas, under one number."""

    routes: Routes
    replicas: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Content digest to addresses, each as `Address.parse` reads it."""

    @property
    def addresses(self) -> frozenset[str]:
        """Every address that a gateway which follows it may ask."""
        return frozenset(one for each in self.replicas.values() for one in each)

    def as_json(self) -> dict[str, Any]:
        """Give plain JSON data."""
        return {**self.routes.as_json(), "replicas": dict(self.replicas)}

    def save(self, folder: Path, *, durable: bool = True) -> None:
        """Replace the file; `durable` says whether it must survive a power loss."""
        content = json.dumps(self.as_json(), ensure_ascii=False, indent=1).encode()
        write_atomic(folder / NAME, content, durable=durable)

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Read the file; None where there is none, or none that can be read."""
        try:
            plain = json.loads((folder / NAME).read_bytes())
            replicas = {digest: _each(found) for digest, found in plain["replicas"].items()}
            return cls(routes=Routes.from_json(plain), replicas=replicas)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SlipwayError):
            return None


def _each(found: str | list[str]) -> tuple[str, ...]:
    """Read a variant's addresses; a snapshot of before had one, and no list."""
    return (found,) if isinstance(found, str) else tuple(map(str, found))


@dataclass(slots=True)
class Watch:
    """Looks whether the file has changed, and keeps the last good content."""

    folder: Path
    current: Snapshot | None = None
    broken: int = 0
    """How often a file was there that could not be read, or was older than the last."""

    _seen: tuple[int, int] = (0, 0)

    def look(self) -> bool:
        """Read the file if it has changed; say whether there is something new."""
        try:
            facts = (self.folder / NAME).stat()
        except OSError:
            return False
        mark = (facts.st_mtime_ns, facts.st_ino)
        if mark == self._seen:
            return False
        found = Snapshot.load(self.folder)
        self._seen = mark
        if found is None or (self.current and found.routes.number <= self.current.routes.number):
            self.broken += 1
            return False
        self.current = found
        return True
