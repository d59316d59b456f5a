"""Numbers as people say them, and what others wrote as a terminal may show it."""

from datetime import UTC, datetime

from rich.text import Text

from release.wording import lasting, tame


def age(seconds: float) -> str:
    """Say how long ago something was, to one unit."""
    return lasting(max(1.0, round(seconds)), units=1)


def counted(number: int, noun: str) -> str:
    """Say a number with its noun: `1 approval`, `2 approvals`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def megabytes(size: int) -> str:
    """Say how much memory something takes."""
    return f"{size / 1e6:.0f} MB"


def clock(at: float) -> str:
    """Say a moment of today, in UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}Z"


def cell(text: object, style: str = "") -> Text:
    """Give what others wrote as part of a page: tame, and no markup."""
    return Text(tame(str(text)), style=style)
