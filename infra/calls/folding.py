"""What of a call goes into a call store."""

from typing import Protocol

from infra.calls.lines import CallLine, Payload
from infra.calls.segments import Found
from infra.calls.terms import said_in

Folded = tuple[Found, Payload | None]
"""A call, and its payload where that may be searched."""


def searched(found: Found, payload: Payload | None) -> str:
    """What of a call is searched as text: what was asked and answered, and what went wrong.

    Of one that is erased it is nothing: until lately what went wrong told what was asked.
    """
    if found.erased:
        return ""
    parts = [found.line.error]
    if payload is not None:
        parts = [
            *(one for one in payload.input if isinstance(one, str)),
            *said_in(bytes(payload.output)),
            *parts,
        ]
    return "\n".join(part for part in parts if part)


class Opens(Protocol):
    """What opens payloads."""

    def open(self, line: CallLine, sealed: str) -> Payload | None:
        """Give a call's payload; None where there is none any more."""
        ...
