"""Files of anchors from elsewhere: what is in them, and which of their lines are none."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.calls.checkpoints import Checkpoint, Line, lines

MOST_TOLD = 20
"""Bad lines of a file that are told one by one, the first of them."""

_GATEWAY = re.compile(rb'"gateway":\s*"([^"\\]{1,200})"')


@dataclass(frozen=True, slots=True, kw_only=True)
class BadLine:
    """A line of a file of anchors that is no anchor."""

    number: int
    """1, 2, 3, …"""

    why: str
    """A clause."""

    covered_by: int = 0
    """Line of a later anchor of the same gateway, which proves all that this one did; 0 where there
    is none, or the gateway cannot be made out."""

    torn: bool = False
    """Whether it was never written to its end: whoever wrote it relied on the one before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BadLines:
    """Every line of a file of anchors that is no anchor."""

    path: Path
    told: tuple[BadLine, ...]
    more: int = 0
    """Those that are not told one by one."""

    costly: int = 0
    """Those, told or not, that something may be unproven for."""


def anchors_in(path: Path) -> Iterator[tuple[int, Checkpoint]]:
    """Read a file of anchors; give each with its line's number.

    Raises:
        OSError: it cannot be read.
    """
    yield from ((one.number, one.checkpoint) for one in lines(path) if one.checkpoint is not None)


def bad_lines(path: Path) -> BadLines:
    """Look for lines of a file of anchors that are none.

    Raises:
        OSError: it cannot be read.
    """
    last = {one.gateway: number for number, one in anchors_in(path)}
    told, more, costly = list[BadLine](), 0, 0
    for line in lines(path):
        if line.checkpoint is not None:
            continue
        bad = _bad(line, last)
        costly += not (bad.covered_by or bad.torn)
        if len(told) < MOST_TOLD:
            told.append(bad)
        else:
            more += 1
    return BadLines(path=path, told=tuple(told), more=more, costly=costly)


def _bad(line: Line, last: Mapping[str, int]) -> BadLine:
    named = _GATEWAY.search(line.content)
    later = last.get(named[1].decode(errors="replace"), 0) if named else 0
    covered = later if later > line.number else 0
    return BadLine(number=line.number, why=line.why, covered_by=covered, torn=line.torn)
