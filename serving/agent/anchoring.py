"""Carries checkpoints of this host's journals to where their folder's owner cannot reach."""

import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from infra.calls.checkpoints import Checkpoint, append_line, genuine, is_of, newest, public_key
from infra.calls.trail import Trail
from infra.ledger import Ledger
from infra.settings import Settings
from release.errors import Conflict, Unavailable
from serving.anchored import FILE

if TYPE_CHECKING:
    from serving.agent.sending import Sender

ANCHOR_SECONDS = 2.0
FILE_SECONDS = 60.0
"""How often a gateway's checkpoint is sent, or appended to a file, which only grows."""


class Anchoring:
    """Anchors the gateways of one agent.

    Args:
        settings: where journals lie, and the file of anchors or where they are sent, if anywhere.
        agent: name of the agent.
    """

    def __init__(self, settings: Settings, agent: str) -> None:
        self._settings = settings
        self._agent = agent
        self._trails: dict[str, Trail] = {}
        """Gateway to the walk along its journal, from its newest in the ledger on."""

        self._outside: dict[str, tuple[float, Checkpoint]] = {}
        """Gateway to its newest in the file or on the way to the URL, and when it came there."""

        self._looked_at = 0.0
        self._sender = _sender(settings)

    @property
    def waiting(self) -> int:
        """How many anchors were not taken yet where they are sent."""
        return 0 if self._sender is None else self._sender.waiting

    def keep(self, ledger: Ledger | None) -> None:
        """Anchor what is new, if it is time to; outside of the ledger also where that is away.

        Raises:
            Conflict: a journal was further once, or does not go on from its anchor; the others are
                anchored all the same.
            Unavailable: an anchor cannot be kept, or is not taken where anchors are sent.
        """
        now = time.monotonic()
        if now - self._looked_at < ANCHOR_SECONDS:
            return
        self._looked_at = now
        self._all(ledger, now)
        if self._sender is not None and self._sender.trouble:
            raise Unavailable(self._sender.trouble, "see SLIPWAY_ANCHORS")

    def close(self, ledger: Ledger | None) -> None:
        """Anchor what gateways signed as they ended; what is not taken now, the next agent sends.

        Raises:
            Conflict: a journal was further once, or does not go on from its anchor; the others are
                anchored all the same.
            Unavailable: an anchor cannot be kept.
        """
        try:
            self._all(ledger, float("inf"))
        finally:
            if self._sender is not None:
                self._sender.close()

    def _all(self, ledger: Ledger | None, now: float) -> None:
        failed: Exception | None = None
        for place in sorted(self._settings.journal.glob("*/")):
            if not is_of(self._agent, place.name) or (found := newest(place)) is None:
                continue
            if found.gateway != place.name:
                continue  # no word on this journal; slipway calls verify tells it
            for keep in (partial(self._keep, ledger, found), partial(self._file, found, now)):
                try:
                    keep()
                except Exception as error:  # whatever one has, the others are anchored
                    if not isinstance(failed, Conflict):
                        failed = error
        if failed is not None:
            raise failed

    def _keep(self, ledger: Ledger | None, found: Checkpoint) -> None:
        if ledger is None:
            return
        trail = self._trails.get(found.gateway)
        if trail is None:
            trail = self._set_out(ledger, found)
        if found == trail.anchor:
            return
        try:
            there = trail.reaches(found)
        except Conflict:
            self._anchor(ledger, found, None)
            raise
        if there:
            self._anchor(ledger, found, trail)

    def _anchor(self, ledger: Ledger, found: Checkpoint, trail: Trail | None) -> None:
        """Anchor a checkpoint; without a trail that led to it beside the one before, if it may."""
        # A ledger whose answer is lost may have it all the same: then it is asked what it has.
        self._trails.pop(found.gateway, None)
        ledger.anchor(found, after=trail.anchor if trail is not None else None)
        if trail is None:
            trail = Trail(self._settings.journal / found.gateway, found)
        trail.anchor = found
        self._trails[found.gateway] = trail

    def _set_out(self, ledger: Ledger, found: Checkpoint) -> Trail:
        """Begin to walk at the newest that the ledger has, which may well be this one.

        Raises:
            Conflict: another home has signed that.
        """
        known = ledger.newest_anchor(found.gateway)
        if known is None:
            ledger.anchor(found)
        elif not genuine(known, public_key(self._settings.calls_secrets)):
            with suppress(Conflict):
                self._anchor(ledger, found, None)
            raise Conflict(
                f"What the ledger has as the newest anchor of {found.gateway}, another home has "
                "signed.",
                "hosts that share a ledger need names of their own: see hostname",
            )
        trail = Trail(self._settings.journal / found.gateway, known or found)
        self._trails[found.gateway] = trail
        return trail

    def _file(self, found: Checkpoint, now: float) -> None:
        path, sender = self._settings.anchors_file, self._sender
        if path is None and sender is None:
            return
        at, known = self._outside.get(found.gateway, (float("-inf"), None))
        if found == known or now - at < FILE_SECONDS:
            return
        try:
            if sender is not None:
                sender.send(found)
            elif path is not None:
                append_line(path, found)
        except OSError as error:
            said = f"The anchors cannot be added to: {error.strerror}."
            raise Unavailable(said, "see SLIPWAY_ANCHORS") from error
        self._outside[found.gateway] = (now, found)


def _sender(settings: Settings) -> "Sender | None":
    if not settings.anchors_url:
        (settings.run / FILE).unlink(missing_ok=True)
        return None
    # Imported here: an agent that sends nothing is spared it.
    from serving.agent.sending import Outbox, Sender

    secret = settings.anchors_authorization.get_secret_value()
    return Sender(settings.anchors_url, secret, Outbox(settings.outbox), settings.run)
