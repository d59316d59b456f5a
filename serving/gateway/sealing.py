"""What is kept of a call's payload, sealed: at once, or in turns with all else where it takes long.

Looking for personal data takes time by the length of what was asked, and a body may be long. The
event loop looks at one text at a time, then rests for as long as that took. A thread would be no
better: it would hold the interpreter for as long, and keep the loop waiting at every turn.
"""

import asyncio
import sys
import time
from collections.abc import Collection
from hashlib import sha256

import msgspec

from infra.calls.vault import Vault
from infra.troubles import Troubles, said
from release.callers import Capture, Recording, WhenFull
from release.errors import SlipwayError, Unavailable
from release.redaction import redacted
from serving.gateway.calling import Call
from serving.gateway.lots import drawn
from serving.gateway.payloads import capture_of, payload_of
from serving.keeping import PROBE_SECONDS
from serving.replica.messages import Answer

GIVING_WAY_SECONDS = 0.02
"""How often what no client waits for looks whether it is its turn."""

AT_ONCE = 10_000
"""Characters of a call that are looked through at once: 5 ms of the worst there are."""

_encode = msgspec.json.Encoder().encode


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a payload. A struct, since a frozen dataclass costs each call more."""

    capture: str = "none"
    commitment: str = ""
    key: str = ""
    sealed: bytes = b""


NOTHING = Sealed()


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A call whose payload is to be kept."""

    namespace: str
    recording: Recording
    call: Call
    answer: Answer | None
    at: float
    """Seconds since the epoch."""

    waited_for: bool = True
    """Whether a client waits for it."""


class Sealing:
    """Seals the payloads of one gateway.

    Args:
        vault: has the keys.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self.troubles = Troubles()
        """Why payloads of a namespace cannot be sealed, by namespace."""

        self._turn, self._beginning = asyncio.Lock(), asyncio.Lock()
        self._waited_for = 0
        """Calls in turns that clients wait for."""

        self._ending = False

    def at_once(self, asked: Asked) -> Sealed | None:
        """Seal a payload; None where that takes turns.

        Raises:
            SlipwayError: it cannot be sealed.
        """
        call = asked.call
        if not drawn(asked.recording.sample):
            return NOTHING
        if not self._vault.begun(asked.namespace, asked.at):
            return None
        capture = capture_of(asked.recording.capture, call, asked.answer)
        if capture is not Capture.REDACTED:
            return self._sealed(asked, capture, call.texts)
        if sum(map(len, call.texts)) > AT_ONCE:
            return None
        return self._sealed(asked, capture, [redacted(one) for one in call.texts])

    async def in_turns(self, asked: Asked, until: float) -> Sealed:
        """Seal a payload that takes turns, or that is the first of its namespace's day.

        The day's key is made beside the loop, which waits for no disk, and where a namespace lets
        its calls wait, it is tried until there is one. What is not redacted in time is hashed.

        Args:
            asked: the call.
            until: monotonic moment.

        Raises:
            SlipwayError: it cannot be sealed.
        """
        await self._begin(asked, until)
        capture = capture_of(asked.recording.capture, asked.call, asked.answer)
        if capture is not Capture.REDACTED:
            return self._sealed(asked, capture, asked.call.texts)
        self._waited_for += asked.waited_for
        try:
            texts = await self._looked_through(asked, until)
        finally:
            self._waited_for -= asked.waited_for
        if texts is None:
            return self._sealed(asked, Capture.HASH, asked.call.texts)
        return self._sealed(asked, Capture.REDACTED, texts)

    async def _looked_through(self, asked: Asked, until: float) -> list[str] | None:
        """Redact what was asked; None where there is no time for all of it."""
        texts = []
        for one in asked.call.texts:
            while self._gives_way(asked) and time.monotonic() < until:
                await asyncio.sleep(GIVING_WAY_SECONDS)
            async with self._turn:
                if (started := time.monotonic()) >= until or self._ending:
                    return None
                texts.append(redacted(one))
                await asyncio.sleep(time.monotonic() - started)
        return texts

    def _gives_way(self, asked: Asked) -> bool:
        return self._waited_for > 0 and not asked.waited_for and not self._ending

    def refuses(self, namespace: str) -> str:
        """Say why payloads of a namespace cannot be sealed now; empty where they can."""
        trouble = self.troubles.of(namespace)
        # With a key at hand it goes on, for as long as the day lasts.
        if trouble is None or self._vault.begun(namespace, time.time()):
            return ""
        return trouble.why

    async def look(self, namespaces: Collection[str]) -> None:
        """Look beside the loop whether payloads of some namespaces can be sealed, and all of them.

        One that could not be sealed before is tried again, which makes the day's key.
        """
        for one in {trouble.what for trouble in self.troubles.all()} - set(namespaces):
            self.troubles.note(one, "")
        for one in namespaces:
            again = self.troubles.of(one) is not None
            look = self._vault.begin if again else self._vault.check
            async with self._beginning:
                try:
                    await asyncio.to_thread(look, one, time.time())
                except (SlipwayError, OSError) as error:
                    self._note(one, said(error))
                else:
                    self._note(one, "")

    def _note(self, namespace: str, why: str) -> None:
        if self.troubles.note(namespace, why):
            sys.stderr.write(f"gateway: payloads of {namespace} cannot be sealed: {why}\n")

    def end(self) -> None:
        """Redact nothing more in turns: this process ends."""
        self._ending = True

    async def _begin(self, asked: Asked, until: float) -> None:
        while not self._vault.begun(asked.namespace, asked.at):
            async with self._beginning:
                if self._vault.begun(asked.namespace, asked.at):
                    return
                try:
                    await asyncio.to_thread(self._vault.begin, asked.namespace, asked.at)
                except SlipwayError as error:
                    self._note(asked.namespace, str(error))
                    waits = asked.recording.when_full is WhenFull.BLOCK and not self._ending
                    kind = isinstance(error, Unavailable)
                    if not (kind and waits) or time.monotonic() >= until:
                        raise
                else:
                    return
            await asyncio.sleep(PROBE_SECONDS)

    def _sealed(self, asked: Asked, capture: Capture, texts: list[str]) -> Sealed:
        plain = _encode(payload_of(capture, asked.call, asked.answer, texts))
        commitment = sha256(plain).hexdigest()
        key, sealed = self._vault.seal(asked.namespace, asked.at, plain, commitment)
        return Sealed(capture=capture.value, commitment=commitment, key=key, sealed=sealed)
