"""Where ports meet adapters: everything that tasks and commands reach, built from settings.

A worker process has no context of ours, so each process builds its own house from its own
environment, once. Whatever is slow to import is imported when it is first asked for.
"""

import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING
from uuid import uuid4

from infra.ledger import Ledger
from infra.processes import step_back
from infra.settings import Settings
from release.wording import tame

if TYPE_CHECKING:
    from infra.identity import Identities
    from infra.registry import Registry
    from serving.variants.store import Store


def _say(said: str) -> None:
    sys.stderr.write(f"slipway: {tame(said)}\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """The adapters of one process."""

    settings: Settings
    ledger: Ledger
    clock: Callable[[], float] = time.time
    """Seconds since the epoch."""

    owner: str = field(
        default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
    )
    """Name under which this process claims a model's row."""

    say: Callable[[str], None] = _say
    """Is told what there is to know beside an answer."""

    @property
    def token(self) -> str:
        """Token of whoever acts: from the environment, else the one saved under the home."""
        saved = self.settings.root / "token"
        given = self.settings.token.get_secret_value()
        return given or (saved.read_text().strip() if saved.is_file() else "")

    @property
    def store(self) -> "Store":
        """Variants on disk."""
        from serving.variants.store import Store

        return Store(self.settings.store)

    @property
    def registry(self) -> "Registry":
        """Registered models."""
        from infra.registry import Registry

        return Registry(self.settings.registry, self.settings.artifacts)

    @property
    def identities(self) -> "Identities":
        """Proven people and machines."""
        from infra.identity import Identities

        return Identities(self.ledger)


@cache
def house() -> House:
    """Give the house of this process, built from its environment."""
    step_back()
    settings = Settings()
    settings.root.mkdir(parents=True, exist_ok=True)
    return House(settings=settings, ledger=Ledger.open(settings.ledger))
