"""Who looked into the call record, took of it or erased in it, as the ledger's events tell."""

from infra.calls.erase import DISCARDED, ERASED, ERASING
from infra.identity import Identity
from release.errors import Invalid
from release.releases import Event
from tasks.finding import SEARCHED, SHOWN, check_reader
from tasks.personal import INSPECTED
from tasks.taking import EXPORTED, EXPORTING, REPLAYED, REPLAYING
from tasks.wiring import House

KINDS = (
    *(SEARCHED, SHOWN, INSPECTED, EXPORTING, EXPORTED, REPLAYING, REPLAYED),
    *(ERASING, ERASED, DISCARDED),
)
MOST = 1_000
"""Events of one page."""


def lookups(
    here: House, by: Identity, below: int | None = None, most: int = 50
) -> list[tuple[int, Event]]:
    """Give one page of events, the newest first, each with its number.

    To read them leaves no event: they would be of themselves soon.

    Args:
        here: the house.
        by: who asks.
        below: only events with lower numbers, such as the one that ended the page before.
        most: events of the page.

    Raises:
        Refused: `by` may not read the call record.
        Invalid: no page has so many.
    """
    check_reader(by)
    if not 1 <= most <= MOST:
        raise Invalid(f"A page has 1 to {MOST} events, not {most}.")
    return here.ledger.newest(KINDS, below=below, most=most)
