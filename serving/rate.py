"""How much an endpoint is asked, by its gateways' newest windows: for people, no evidence."""

from pathlib import Path

from release.evidence import Window
from serving.windows import windows_in

LATELY_SECONDS = 60.0
"""What lies further back says nothing about now."""

TAIL_BYTES = 512 * 1024
"""How much of each gateway's newest two segments is read."""


def request_rate(folder: Path, endpoint: str, now: float) -> float | None:
    """Give the requests a second of an endpoint; None where none was seen lately.

    Args:
        folder: where the gateways' journals lie.
        endpoint: name of the model.
        now: seconds since the epoch.
    """
    return sum(_rate(place, endpoint, now) for place in folder.glob("*/")) or None


def _rate(place: Path, endpoint: str, now: float) -> float:
    newest = sorted(place.glob("*.jsonl"))[-2:]
    windows = [one for path in newest for one in _tail(path, place.name)]
    late = [one for one in windows if one.closed > now - LATELY_SECONDS]
    if not late:
        return 0.0
    # After an idle time the first window opened long ago: what follows its end says how it is now.
    first, *rest = late
    began = first.closed if rest else max(first.opened, now - LATELY_SECONDS)
    tallies = [tally for one in rest or late for tally in one.tallies.get(endpoint, {}).values()]
    return sum(tally.requests for tally in tallies) / max(1.0, now - began)


def _tail(path: Path, gateway: str) -> list[Window]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            return [window for window, _ in windows_in(file.read(), gateway)]
    except OSError:
        return []
