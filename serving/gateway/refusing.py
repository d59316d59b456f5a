"""Why a client gets no answer, and the status that says so. Pure."""

import math
from dataclasses import dataclass

from release.errors import SlipwayError
from serving.replica.messages import CLIENTS_FAULT, Kind


class Refusal(SlipwayError):
    """Why a client gets no answer, with the HTTP status that says so."""

    def __init__(self, status: int, message: str, hint: str = "", *, retry: float = 0) -> None:
        super().__init__(message, hint)
        self.status = status
        self.retry = retry
        """Seconds after which to try again; 0 says nothing."""

        self.recorded = False
        """Whether the call that is refused has its line already, or can have none."""

        self.about = ""
        """Endpoint that was asked, where the address does not name it."""


class _Recorded:
    """Marks refusals of calls that have been answered by an arm: they have their one line."""

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, _kind: object, error: object, _traceback: object) -> None:
        """Mark what goes by."""
        if isinstance(error, Refusal):
            error.recorded = True


RECORDED = _Recorded()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How an arm failed to answer."""

    kind: str
    message: str
    wait: float = 0.0
    """Seconds after which it may go better, as far as is known."""

    predicted: bool = False
    """Whether nothing failed: there was room, but by an estimate no time."""

    @property
    def blames(self) -> bool:
        """Whether it speaks against the arm, whichever it is.

        An estimate does not: it is made against a canary's shorter time, and of few batches where
        it has just started. What is slow shows in the answers that come.
        """
        return not self.clients_fault and not self.predicted

    @property
    def clients_fault(self) -> bool:
        """Whether no arm would have answered."""
        return self.kind in CLIENTS_FAULT


_STATUS = {
    Kind.TOO_LONG: 400,
    Kind.INVALID: 400,
    Kind.OVERLOADED: 429,
    Kind.NOT_READY: 503,
    Kind.EXPIRED: 504,
    Kind.INTERNAL: 500,
    "gone": 503,
    "timeout": 504,
}


def status_of(kind: str) -> int:
    """Give the status that a kind of failure means to a client; who left is told nothing."""
    return 499 if kind == "abandoned" else _STATUS.get(kind, 500)


def refusal_of(failure: Failure) -> Refusal:
    """Give the refusal that a failure means to a client."""
    status = status_of(failure.kind)
    # A client that comes back sooner than that only makes it later.
    retry = max(1, math.ceil(failure.wait)) if status in (429, 503) else 0
    return Refusal(status, failure.message, retry=retry)
