"""How the sending of anchors stands, as the agent tells it to gateways for their metrics."""

from pathlib import Path

import msgspec

from infra.files import write_atomic

FILE = "anchors.json"
"""Name of the file in the folder that gateways follow; absent where no anchors are sent."""


NOT_ANCHORED = "could not anchor the call record"
"""What is amiss where they are not taken, or cannot be made."""


class Anchored(msgspec.Struct, frozen=True, kw_only=True):
    """How far anchors were taken."""

    waiting: int
    """Anchors that were not taken yet."""

    trouble: str
    """Why the last was not; empty where it was."""

    def save(self, run: Path) -> None:
        """Tell it.

        Raises:
            OSError: it cannot be written.
        """
        write_atomic(run / FILE, msgspec.json.encode(self), durable=False)

    @classmethod
    def load(cls, run: Path) -> "Anchored | None":
        """Hear it; None where nothing was told."""
        try:
            return msgspec.json.decode((run / FILE).read_bytes(), type=cls)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return None
