"""A recorder that keeps what it is told in memory."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from infra.calls.lines import Share
from release.routes import Route
from release.variants import Variant
from serving.gateway.calling import Call
from serving.gateway.refusing import Failure
from serving.replica.messages import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What became of a call."""

    outcome: str
    counted: tuple[Share, ...]
    rule: str


@dataclass(slots=True)
class Notes:
    """Writes nothing down; there is always room."""

    records: list[Note] = field(default_factory=list)
    settles: Callable[[], Awaitable[None] | None] = lambda: None
    """What must end before a client is answered."""

    async def admit(self, _endpoint: str, _until: float) -> None:
        """Take any call."""

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
        """Keep what became of a call."""
        kind = outcome.kind if isinstance(outcome, Failure) else "ok"
        self.records.append(Note(outcome=kind, counted=counted, rule=rule))
        return self.settles()
