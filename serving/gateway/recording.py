"""What of a call is recorded: its line, and its payload as its namespace wants it."""

import time
from collections.abc import Awaitable, Callable, Iterable

from infra.calls.lines import CallLine, Share
from infra.calls.vault import Vault
from release.callers import OPEN, Caller, Capture, Recording, WhenFull
from release.errors import SlipwayError
from release.redaction import redacted, unquoted
from release.routes import Route, Rule
from release.variants import Variant
from serving.gateway.calling import Call
from serving.gateway.refusing import Failure, Refusal, status_of
from serving.gateway.sealing import NOTHING, Asked, Sealed, Sealing
from serving.gateway.unproven import Unproven
from serving.gateway.writing import Writing
from serving.keeping import Keeper
from serving.replica.messages import Answer

Policy = Callable[[str], tuple[str, Recording]]
"""Gives of an endpoint the namespace that owns it, and what that wants recorded."""

MOST_ERROR = 500
"""Characters of why a call was not answered."""

LOOKED_AT = 2_000
"""Characters of it that personal data is looked for in."""

MAY_BE_CUT = 256
"""Of these the last may be half of something that is not recognised any more."""


def everywhere(recording: Recording) -> Policy:
    """Record every endpoint alike, for the namespace `default`."""
    return lambda _endpoint: ("default", recording)


class CallRecorder:
    """Makes lines of calls, and has them kept.

    Args:
        keeper: of the journal.
        vault: seals payloads.
        policy: what is recorded.
    """

    def __init__(self, keeper: Keeper, vault: Vault, policy: Policy) -> None:
        self.unproven = Unproven(keeper)
        """Counts calls that proved nobody."""

        self._keeper = keeper
        self._policy = policy
        self._sealing = Sealing(vault)
        self._writing = Writing(keeper)

    @property
    def trouble(self) -> str:
        """Why no call can be recorded now; empty where some can."""
        return self._keeper.trouble

    def hindrance(self, endpoint: str) -> str:
        """Say why calls of an endpoint cannot be recorded now; empty where they can."""
        if self._keeper.trouble:
            return self._keeper.trouble
        namespace, recording = self._policy(endpoint)
        return "" if recording.capture is Capture.NONE else self._sealing.refuses(namespace)

    def unsealed(self) -> dict[str, str]:
        """Give what is amiss with the sealing of payloads, each with why."""
        found = {}
        for one in self._sealing.troubles.all():
            ends = "it seals payloads of namespace {} by a key that is at hand until the day ends"
            what = "it refuses calls of namespace {}" if self._sealing.refuses(one.what) else ends
            found[what.format(one.what)] = one.why
        return found

    async def look(self, endpoints: Iterable[str]) -> None:
        """Look whether what calls of some endpoints say can be sealed, where it is kept."""
        policies = map(self._policy, endpoints)
        kept = {name for name, recording in policies if recording.capture is not Capture.NONE}
        await self._sealing.look(kept)

    async def admit(self, endpoint: str, until: float) -> None:
        """Refuse a call that could not be recorded, before anything is computed for it.

        Raises:
            Refusal: with status 503.
        """
        if not self._keeper.trouble:
            return
        if self._policy(endpoint)[1].when_full is WhenFull.BLOCK:
            await self._writing.room(until)
        if said := self._keeper.trouble:
            raise self._writing.refusal(said)

    def note(
        self,
        call: Call,
        route: Route,
        arm: Variant,
        outcome: Answer | Failure,
        *,
        counted: tuple[Share, ...],
        why: str,
        started: float,
        until: float,
        rule: str = "",
    ) -> Awaitable[None] | None:
        """Write what became of a call; see `Recorder`."""
        namespace, recording = self._policy(route.endpoint)
        took = time.monotonic() - started
        at = time.time() - took
        answer = outcome if isinstance(outcome, Answer) else None
        failure = None if isinstance(outcome, Answer) else outcome

        def write(kept: Sealed) -> Awaitable[None] | None:
            line = CallLine(
                arm=_part(call, route, arm, rule),
                at_us=int(at * 1e6),
                caller=call.caller.id,
                capture=kept.capture,
                commitment=kept.commitment,
                compute_us=int(answer.compute_ms * 1e3) if answer else 0,
                counted=counted,
                digest=arm.digest,
                endpoint=route.endpoint,
                error=_said(failure.message if failure else why),
                generation=route.generation,
                id=call.id,
                items=len(call.texts) or len(call.ids),
                key=kept.key,
                model=arm.model,
                namespace=namespace,
                outcome="ok" if failure is None else failure.kind,
                protocol=call.protocol,
                queue_us=int(answer.queue_ms * 1e3) if answer else 0,
                rule=rule,
                sequence=self._keeper.writer.sequence + 1,
                shadow=rule == Rule.SHADOW,
                status=200 if failure is None else status_of(failure.kind),
                tenant=call.caller.tenant,
                tokenize_us=int(answer.tokenize_ms * 1e3) if answer else 0,
                tokens=answer.tokens if answer else 0,
                total_us=int(took * 1e6),
                user=call.caller.user,
                variant=arm.recipe,
                version=arm.version,
            )
            return self._keeper.keep(line, kept.sealed, strict=recording.strict)

        if recording.capture is Capture.NONE:
            return self._writing.write(lambda: write(NOTHING), recording, until)
        asked = Asked(
            namespace=namespace,
            recording=recording,
            call=call,
            answer=answer,
            at=at,
            waited_for=rule != Rule.SHADOW,
        )
        try:
            kept = self._sealing.at_once(asked)
        except SlipwayError as error:
            raise self._writing.refusal(str(error)) from error
        if kept is None:
            return self._writing.beside(self._in_turns(asked, write, until))
        return self._writing.write(lambda: write(kept), recording, until)

    async def close(self) -> None:
        """Write down what waits still; the keeper must still run."""
        self._sealing.end()
        await self._writing.close()
        self.unproven.tell()

    async def refused(
        self,
        error: Refusal,
        *,
        endpoint: str,
        known: bool,
        id: str,  # noqa: A002 - the line's own field is called so
        protocol: str,
        caller: Caller | None = OPEN,
        started: float,
    ) -> None:
        """Write down a call that was refused before any arm was asked.

        One that proved nobody is counted instead, and one that nobody knows the endpoint of has no
        line in the open mode: whoever only tries addresses fills no disk. What cannot be written is
        counted; the client is refused anyway.

        Args:
            error: why.
            endpoint: as it was asked for.
            known: whether there is such an endpoint.
            id: of the request.
            protocol: that was spoken.
            caller: who called; None where nobody was proven.
            started: monotonic moment at which it came.
        """
        if error.recorded:
            return
        if caller is None:
            self.unproven.count(endpoint if known else "")
            return
        if not (known or caller.id):
            return
        named = endpoint if known else ""
        namespace, recording = self._policy(named) if known else (caller.namespace, Recording())
        took = time.monotonic() - started

        def write() -> Awaitable[None] | None:
            line = CallLine(
                arm="",
                at_us=int((time.time() - took) * 1e6),
                caller=caller.id,
                endpoint=named,
                error=_said(error.message),
                id=id,
                namespace=namespace,
                outcome="refused",
                protocol=protocol,
                sequence=self._keeper.writer.sequence + 1,
                status=error.status,
                tenant=caller.tenant,
                total_us=int(took * 1e6),
                user=caller.user,
            )
            return self._keeper.keep(line, strict=recording.strict)

        try:
            if (settled := self._writing.write(write, recording, 0.0)) is not None:
                await settled
        except Refusal:
            return

    async def _in_turns(
        self, asked: Asked, write: Callable[[Sealed], Awaitable[None] | None], until: float
    ) -> None:
        try:
            kept = await self._sealing.in_turns(asked, until)
        except SlipwayError as error:
            raise self._writing.refusal(str(error)) from error
        held = self._writing.write(lambda: write(kept), asked.recording, until)
        if held is not None:
            await held


def _part(call: Call, route: Route, arm: Variant, rule: str) -> str:
    """Name the part that an arm plays in a call."""
    if rule == Rule.SHADOW:
        return "shadow"
    if call.version is not None:
        return "pinned"
    return "canary" if arm == route.canary and arm != route.stable else "champion"


def _said(why: str) -> str:
    """Give why a call was not answered as it can be kept for ever: without a client's words.

    Nobody can erase them there. What an author forgot to quote is redacted at the least.
    """
    if not why:
        return why
    why = unquoted(why)
    found = redacted(why[:LOOKED_AT])
    return (found if len(why) <= LOOKED_AT else found[:-MAY_BE_CUT])[:MOST_ERROR]
