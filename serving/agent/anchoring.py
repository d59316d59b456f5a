"""Carries checkpoints of this host's journals to where their folder's owner cannot reach."""

import re
import time

import msgspec

from infra.calls.checkpoints import Checkpoint, newest
from infra.ledger import Ledger
from infra.settings import Settings
from release.errors import Unavailable

ANCHOR_SECONDS = 2.0
FILE_SECONDS = 60.0
"""How often a gateway's checkpoint is appended to the file of anchors, which only grows."""


class Anchoring:
    """Anchors the gateways of one agent.

    Args:
        settings: where journals lie, and the file of anchors if there is one.
        agent: name of the agent.
    """

    def __init__(self, settings: Settings, agent: str) -> None:
        self._settings = settings
        self._ours = re.compile(rf"{re.escape(agent)}_g\d+")
        self._anchored: dict[str, Checkpoint] = {}
        self._filed: dict[str, float] = {}
        self._looked_at = 0.0

    def keep(self, ledger: Ledger) -> None:
        """Anchor what is new, if it is time to.

        Raises:
            Conflict: a journal was further once; the others are anchored all the same.
            Unavailable: an anchor cannot be kept.
        """
        now = time.monotonic()
        if now - self._looked_at < ANCHOR_SECONDS:
            return
        self._looked_at = now
        failed: Exception | None = None
        for place in sorted(self._settings.journal.glob("*/")):
            if self._ours.fullmatch(place.name) is None or (found := newest(place)) is None:
                continue
            if found == self._anchored.get(place.name):
                continue
            try:
                ledger.anchor(found)
                self._file(found, now)
                self._anchored[place.name] = found
            except Exception as error:  # whatever one journal has, the others are anchored
                failed = error
        if failed is not None:
            raise failed

    def _file(self, found: Checkpoint, now: float) -> None:
        path = self._settings.anchors_file
        if path is None or now - self._filed.get(found.gateway, float("-inf")) < FILE_SECONDS:
            return
        try:
            with path.open("ab") as file:
                file.write(msgspec.json.encode(found) + b"\n")
        except OSError as error:
            said = f"The anchors at {path} cannot be added to: {error.strerror}."
            raise Unavailable(said, "see SLIPWAY_ANCHORS") from error
        self._filed[found.gateway] = now
