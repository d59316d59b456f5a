"""Lines of calls to write, and those that were written."""

import json
from pathlib import Path
from typing import Any

import msgspec

from infra.calls.chain import REFUSED, taken_apart
from infra.calls.lines import CallLine, Entry, Share


def a_call(sequence: int, *, at: float = 0.0, digest: str = "", **more: Any) -> CallLine:
    """Make a call's line; `digest` counts a request of that arm."""
    counted = (Share(digest=digest, requests=1),) if digest else ()
    named = {"arm": "champion", "endpoint": "tiny", "id": f"r{sequence}", "outcome": "ok"}
    plain = {**named, "model": "tiny", "counted": counted, "status": 200, **more}
    return CallLine(sequence=sequence, at_us=int(at * 1e6), **plain)


def calls_in(journals: Path) -> list[CallLine]:
    """Read every call of every gateway, in the order of the folders and lines."""
    found = []
    for path in sorted(journals.glob("*/*.jsonl")):
        for line in path.read_bytes().splitlines():
            if line.startswith(b'{"call":'):
                entry = msgspec.json.decode(line, type=Entry)
                found.append(msgspec.json.decode(entry.call, type=CallLine))
    return found


def refused_in(journals: Path) -> list[dict[str, Any]]:
    """Read every count of refused calls."""
    lines = [
        line
        for path in sorted(journals.glob("*/*.jsonl"))
        for line in path.read_bytes().splitlines()
    ]
    assert all(taken_apart(line) for line in lines)
    return [json.loads(line) for line in lines if line.startswith(REFUSED)]
