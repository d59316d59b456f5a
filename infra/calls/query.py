"""What is looked for among calls, and what is found."""

from dataclasses import dataclass

from infra.calls.lines import CallLine, read_call
from infra.calls.numbers import MOST_NUMBER
from infra.calls.terms import folded, has_wide, is_short
from release.errors import Invalid

MOST = 1_000
"""Calls of one page."""

COLUMNS = (
    "id",
    "at_us",
    "namespace",
    "user",
    "tenant",
    "caller",
    "endpoint",
    "model",
    "version",
    "variant",
    "digest",
    "arm",
    "outcome",
    "status",
)
"""Fields of a line that are columns, and can be searched by."""

EQUAL = (
    *("id", "namespace", "user", "tenant", "caller", "endpoint", "model", "version", "variant"),
    *("digest", "arm", "outcome", "status"),
)
NUMBERS = ("at_us", "version", "status")
"""Of the columns, those that are numbers."""

USUAL: dict[str, str | int] = {
    "user": "",
    "tenant": "",
    "caller": "",
    "digest": "",
    "arm": "champion",
    "outcome": "ok",
    "status": 200,
}
"""Values that most calls have, and that are left out of the columns' indexes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is looked for; whatever is absent does not matter."""

    text: str = ""
    """Found anywhere inside what was asked or answered, whatever its case."""

    id: str | None = None
    namespace: str | None = None
    user: str | None = None
    tenant: str | None = None
    caller: str | None = None
    endpoint: str | None = None
    model: str | None = None
    version: int | None = None
    variant: str | None = None
    digest: str | None = None
    arm: str | None = None
    outcome: str | None = None
    status: int | None = None
    since_us: int | None = None
    """Calls of this moment or later, in microseconds since the epoch."""

    until_us: int | None = None
    """Calls of before this moment."""

    below: int | None = None
    """Calls older than the one with this number, which ended the page before."""

    clients: bool | None = None
    """True leaves out copies that a canary was shown in the shadow: no client was answered so."""

    most: int = 50

    def __post_init__(self) -> None:
        """Refuse what no page can be.

        Raises:
            Invalid: naming value and limit.
        """
        if not 1 <= self.most <= MOST:
            raise Invalid(f"A page has 1 to {MOST} calls, not {self.most}.")
        if self.below is not None and not 0 <= self.below < MOST_NUMBER:
            raise Invalid(
                f"No call has the number {self.below}.", "take what the page before ended with"
            )
        for name in EQUAL:
            _check(name, getattr(self, name))
        _check("text", self.text)
        term = folded(self.text)
        if self.text and is_short(term) and not has_wide(term):
            said = f"{self.text[:20]!r} is too short to be searched for."
            hint = "three characters at least, or one among them of a script such as Chinese"
            raise Invalid(said, hint)


def _check(name: str, value: object) -> None:
    """Refuse what no call can have, and no store can be asked for.

    Raises:
        Invalid: naming the value.
    """
    if isinstance(value, int) and abs(value) >= MOST_NUMBER:
        raise Invalid(f"No call has the {name} {value}.", f"numbers are below {MOST_NUMBER}")
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            said = f"The {name} {value[:40]!a} is no text: it cannot be written in UTF-8."
            raise Invalid(said, "see the terminal's encoding") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A call that was found."""

    number: int
    """In the order of arrival."""

    gateway: str
    segment: int
    offset: int
    line: CallLine


def hit_of(row: tuple[object, ...]) -> Hit:
    """Read a row of number, gateway, segment, offset and line."""
    number, gateway, segment, offset, line = row
    return Hit(
        number=int(str(number)),
        gateway=str(gateway),
        segment=int(str(segment)),
        offset=int(str(offset)),
        line=read_call(bytes(line) if isinstance(line, bytes) else str(line)),
    )
