"""Who calls, for whom, and what of a call is kept. Pure.

A caller is proven by a key or a token; nothing about it is ever taken from what the client says of
itself. A namespace owns endpoints, models and keys, and says what of its calls is recorded.
"""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from release.errors import Invalid


class Capture(StrEnum):
    """What of a call's input and output is recorded, besides that it took place."""

    NONE = "none"
    HASH = "hash"
    """A salted hash of each: whoever has a text can prove that it was this one."""

    REDACTED = "redacted"
    """Both, with what looks like personal data or a secret replaced."""

    FULL = "full"


class WhenFull(StrEnum):
    """What a gateway does with a call that it cannot record."""

    REFUSE = "refuse"
    """Answer 503 at once; nothing is computed for nobody."""

    BLOCK = "block"
    """Let it wait for room within its deadline, and refuse it then."""


_MOST_MB = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What a namespace wants recorded."""

    capture: Capture = Capture.NONE
    sample: float = 1.0
    """Part of the calls whose payloads are kept, 0..1; every call has its line all the same."""

    strict: bool = False
    """Whether the line must be on the disk, and not only written, before the answer leaves."""

    when_full: WhenFull = WhenFull.REFUSE
    days: int = 180
    """For how long payloads and lines are kept."""

    most_mb: int = 0
    """Megabytes of lines and payloads that a host keeps at most; 0 means without a limit."""

    def __post_init__(self) -> None:
        if not 0 <= self.sample <= 1:
            raise Invalid(f"A sample must be within 0..1, not {self.sample:g}.")
        if not 1 <= self.days <= 36_500:
            raise Invalid(f"Calls must be kept for 1..36500 days, not {self.days}.")
        if not 0 <= self.most_mb <= _MOST_MB:
            raise Invalid(f"Calls may take 0..{_MOST_MB} MB, not {self.most_mb}.", "0: no limit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What was said of a namespace's recording, field by field; None goes by each host."""

    capture: Capture | None = None
    sample: float | None = None
    strict: bool | None = None
    when_full: WhenFull | None = None
    days: int | None = None
    most_mb: int | None = None

    def __post_init__(self) -> None:
        """Refuse what no recording can be.

        Raises:
            Invalid: naming value and limit.
        """
        self.over(Recording())

    @property
    def named(self) -> Mapping[str, Any]:
        """What was said, by field."""
        return {name: one for name, one in asdict(self).items() if one is not None}

    def over(self, host: Recording) -> Recording:
        """Give what is recorded on a host that by itself would record this."""
        return replace(host, **self.named)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls, as proven."""

    id: str
    """Id of the key, or issuer and subject of a token; empty in the open mode."""

    namespace: str = "default"
    user: str = ""
    tenant: str = ""


OPEN = Caller(id="")
"""Whoever calls in the open mode, which exists on loopback alone."""


class Action(StrEnum):
    """What may be done with an endpoint."""

    INFER = "infer"
    """Ask its model."""

    READ = "read"
    """See that it is there, what it serves and whether it is ready."""

    METRICS = "metrics"
    """Collect what gateways counted, which names endpoints and tenants: of all or of none."""


_SCOPE = re.compile(
    r"(?P<namespace>\*|[a-z0-9_-]{1,63})/(?P<endpoint>[A-Za-z0-9_.*-]{1,200}):(?P<action>[a-z]+)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """One thing that a caller may do: an action, on endpoints of a namespace."""

    namespace: str
    """Its name, or `*` for every one."""

    endpoint: str
    """A name, in which each `*` stands for any characters."""

    action: Action

    @classmethod
    def parse(cls, text: str) -> "Scope":
        """Read `namespace/endpoint:action`, such as `default/docs-*:infer`.

        Raises:
            Invalid: it is none.
        """
        found = _SCOPE.fullmatch(text)
        if found is None or found["action"] not in set(Action):
            hint = f"it is NAMESPACE/ENDPOINT:ACTION, and an action {', '.join(Action)}"
            raise Invalid(f"{text[:200]!r} is no scope.", hint)
        action = Action(found["action"])
        return cls(namespace=found["namespace"], endpoint=found["endpoint"], action=action)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.endpoint}:{self.action}"

    def covers(self, namespace: str, endpoint: str, action: Action) -> bool:
        """Whether it allows an action on an endpoint that a namespace owns."""
        if self.action is not action or self.namespace not in ("*", namespace):
            return False
        return self.named(endpoint)

    def named(self, endpoint: str) -> bool:
        """Whether it means an endpoint of this name, whoever owns it."""
        return _matches(self.endpoint, endpoint)

    @property
    def everywhere(self) -> bool:
        """Whether no endpoint of any namespace is left out."""
        return self.namespace == "*" and not self.endpoint.strip("*")


def _matches(pattern: str, name: str) -> bool:
    # Piece by piece, and not by a regular expression: no pattern may take long.
    first, *rest = pattern.split("*")
    if not rest:
        return name == first
    last = rest.pop()
    if not name.startswith(first) or len(name) < len(first) + len(last):
        return False
    at, end = len(first), len(name) - len(last)
    for piece in rest:
        found = name.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return name.endswith(last)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How much a caller may ask within any minute; 0 means without a limit."""

    requests: int = 0
    tokens: int = 0

    def __post_init__(self) -> None:
        for name, value in (("requests", self.requests), ("tokens", self.tokens)):
            if not 0 <= value <= 10**9:
                raise Invalid(f"{name} a minute must be within 0..1000000000, not {value}.")


UNLIMITED = Quota()


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a proof is good for."""

    caller: Caller
    scopes: tuple[Scope, ...]
    quota: Quota = UNLIMITED
    expires: float = 0.0
    """Seconds since the epoch; 0 where it does not."""

    def may(self, namespace: str, endpoint: str, action: Action) -> bool:
        """Whether an action on an endpoint that a namespace owns is allowed; never by default."""
        return any(one.covers(namespace, endpoint, action) for one in self.scopes)

    def may_all(self, action: Action) -> bool:
        """Whether an action is allowed on every endpoint, of every namespace."""
        return any(one.action is action and one.everywhere for one in self.scopes)


def known_scopes(texts: Iterable[str]) -> tuple[Scope, ...]:
    """Read the scopes that there are; others, such as a later version's, allow nothing."""
    found = []
    for one in texts:
        with suppress(Invalid):
            found.append(Scope.parse(one))
    return tuple(found)


def scopes_of(texts: Iterable[str]) -> tuple[Scope, ...]:
    """Read scopes.

    Raises:
        Invalid: one of them is none.
    """
    return tuple(Scope.parse(one) for one in texts)
