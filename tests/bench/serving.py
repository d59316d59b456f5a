"""The serving tier beside what its engine could do at most, beside peers, and beside itself.

Every engine has one compute thread on one core; gateways and the load generator have another. Each
figure is a ratio of one run: medians of rounds that alternate. `alone` and `against` hold the rows.
"""

from collections.abc import Callable, Collection, Iterator, Mapping

from tests.bench import against, alone
from tests.bench.artefacts import Artefacts, artefacts
from tests.bench.cores import FRONT, on
from tests.bench.figures import Figure

TOGETHER = ("peers", "open")
"""Rows that are measured in one race."""

ROWS: Mapping[str, Callable[[Artefacts], Iterator[Figure]]] = {
    "closed": alone.ceilings,
    "torch": alone.exact,
    "peers": lambda made: against.best(made, {"peers"}),
    "open": lambda made: against.best(made, {"open"}),
    "overload": alone.overload,
    "defaults": against.defaults,
    "single": alone.single,
    "null": against.null,
    "neighbour": alone.neighbour,
    "memory": alone.memory,
}
"""Row to what measures it."""


def figures(rows: Collection[str] = tuple(ROWS)) -> Iterator[Figure]:
    """Measure rows, each by itself: one that breaks off is told, and the others go on."""
    made = artefacts()
    with on(FRONT):
        for row, measure in _wanted(rows).items():
            try:
                yield from measure(made)
            except Exception as error:
                # Whatever it is, the other rows go on.
                said = f"row {row} could not be measured: {error!r}"
                yield Figure(id=f"serving.{row}", what=said, value=None, better="higher")


def _wanted(rows: Collection[str]) -> dict[str, Callable[[Artefacts], Iterator[Figure]]]:
    found = {row: ROWS[row] for row in ROWS if row in rows}
    if all(row in found for row in TOGETHER):
        del found[TOGETHER[1]]
        found[TOGETHER[0]] = lambda made: against.best(made, set(TOGETHER))
    return found
