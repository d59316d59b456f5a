"""Why an arm fails, in the words of the requests that failed: for people, no evidence."""

import re
from collections import Counter
from pathlib import Path

import msgspec

from infra.calls.chain import CALL
from infra.calls.lines import CallLine, Entry

_entry = msgspec.json.Decoder(Entry).decode
_call = msgspec.json.Decoder(CallLine).decode

_FIGURES = re.compile(r"\d+")

TAIL_BYTES = 512 * 1024
"""How much of each gateway's newest segment is read."""


def usual_failure(folder: Path, digest: str) -> str:
    """Say how an arm has failed most often of late; empty where it has not.

    Args:
        folder: where the gateways' journals lie.
        digest: content digest of the arm.
    """
    said: Counter[str] = Counter()
    example: dict[str, str] = {}
    for place in folder.glob("*/"):
        segments = sorted(place.glob("*.jsonl"))
        for line in _tail(segments[-1]) if segments else []:
            if digest.encode() in line and (why := _why(line, digest)):
                # Figures differ from request to request; the last one stands for its kind.
                kind = _FIGURES.sub("#", why)
                said[kind], example[kind] = said[kind] + 1, why
    return example[said.most_common(1)[0][0]] if said else ""


def _tail(path: Path) -> list[bytes]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            return file.read().splitlines()[1:]
    except OSError:
        return []


def _why(line: bytes, digest: str) -> str:
    if not line.startswith(CALL):
        return ""
    try:
        call = _call(_entry(line).call)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
    failed = any(one.digest == digest and one.failures for one in call.counted)
    return call.error if failed else ""
