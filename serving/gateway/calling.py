"""What a client asks and is answered, whatever protocol it speaks, and who keeps a line of it."""

from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Protocol

from infra.calls.lines import Share
from release.callers import OPEN, Caller
from release.routes import Route
from release.variants import Variant
from serving.gateway.refusing import Failure
from serving.replica.messages import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a client asks."""

    id: str
    key: str
    """What decides the arm: the caller's key, else the request id."""

    by: str = ""
    """What the key is: `user`, `call` or `header`."""

    texts: list[str]
    ids: list[list[int]] = field(default_factory=list)
    """Token ids of each item, instead of texts."""

    deadline_ms: float | None = None
    """The client's own limit, if it is shorter than the endpoint's."""

    version: int | None = None
    """Version that the client has pinned."""

    caller: Caller = OPEN
    protocol: str = ""
    """`predict`, `v2`, `grpc`, `openai`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What it is answered."""

    answer: Answer
    arm: Variant
    generation: int
    rescued: bool = False


class Recorder(Protocol):
    """Keeps a line of each call."""

    async def admit(self, endpoint: str, until: float) -> None:
        """Refuse a call that could not be recorded, before anything is computed for it.

        Args:
            endpoint: which it is for.
            until: monotonic moment by which there must be room, where it may wait for that.

        Raises:
            Refusal: with status 503.
        """

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
        """Write what became of a call, before its client is answered.

        Args:
            call: what was asked.
            route: by which it was.
            arm: who answered, or was asked last.
            outcome: its answer, or why there is none.
            counted: what it adds to arms.
            why: the canary failed, where the champion answered for it.
            started: monotonic moment at which the call came.
            until: monotonic moment by which it must be answered.
            rule: by which the arm was chosen; see `release.routes.Rule`.

        Returns:
            What must end before the client is answered; None where nothing must. It comes about
            too where nobody waits for it any more.

        Raises:
            Refusal: with status 503: it could not be recorded, and may not be answered.
        """
