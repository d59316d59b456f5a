"""What redaction missed, as people see it: never the words themselves."""

import sys
from datetime import UTC, datetime

from console.finding import moment
from console.people import actor
from infra.calls.numbers import calendar
from infra.personal import Finder
from release.errors import Invalid
from release.wording import tame
from tasks.calls import check_eraser
from tasks.finding import check_reader
from tasks.personal import Inspection, Leak, Window, erase_leaks
from tasks.personal import inspect as look
from tasks.wiring import house


def inspect(namespace: str, since: str, until: str, least: float, why: str | None) -> int:
    """Look for personal data in redacted payloads; erase them where there is a reason to.

    Args:
        namespace: whose; empty means every one's.
        since: moment, as people write it.
        until: moment.
        least: score from which a spot counts, 0..1.
        why: reason of the erasure; None erases nothing.

    Returns:
        How many payloads still tell of a person.

    Raises:
        Refused: whoever acts may not read the record, or may not erase what is found.
        Invalid: an erasure has no reason, or a moment is none.
    """
    if why == "":
        raise Invalid("An erasure needs a reason.", "--why …")
    here = house()
    by, begin, end = actor(here), moment(since), moment(until)
    # Before presidio is loaded and all is read, which takes a while.
    check_reader(by)
    if why is not None:
        check_eraser(by)
    window = Window(
        namespace=namespace,
        since_us=begin or 0,
        until_us=Window().until_us if end is None else end,
    )
    found = look(here, by, window, Finder(least))
    sys.stdout.write(_told(found))
    if why is None or not found.leaks:
        return len(found.leaks)
    gone = erase_leaks(here, by, found.leaks, why)
    sys.stdout.write(f"{gone} payloads are erased\n")
    return 0


def _told(found: Inspection) -> str:
    lines = [_line(one) for one in found.leaks]
    lines.append(f"{found.inspected} payloads inspected, {len(found.leaks)} tell of a person")
    if found.unread:
        lines.append(f"{found.unread} are not what was sealed; see slipway calls verify")
    return "".join(f"{one}\n" for one in lines)


def _line(leak: Leak) -> str:
    line = leak.line
    at = datetime.fromtimestamp(calendar(line.at_us) / 1e6, UTC)
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(leak.kinds.items()))
    return tame(f"{at:%Y-%m-%d %H:%M:%S} {line.namespace}/{line.endpoint} {line.id}: {kinds}")
