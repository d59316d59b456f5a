"""What it costs to find calls in the store that hosts share: PostgreSQL, by its default settings.

The server is the bench's own, filled anew each time, which takes some minutes.
"""

from collections.abc import Iterator
from time import perf_counter

from infra.calls.postgres import PostgresCalls
from tests.bench import finding
from tests.bench.figures import Figure
from tests.infra import postgres


def sharing() -> Iterator[Figure]:
    """Fold a million calls into a PostgreSQL, and search them as in the store of one host."""
    with postgres.server(fsync=True) as url:
        store = PostgresCalls(postgres.create_database(url, "calls"), "host")
        try:
            began = perf_counter()
            finding.fill(store)
            yield Figure(
                id="calls.shared.folding",
                what=f"calls folded a second into a PostgreSQL beside, {finding.CALLS:,} in all",
                value=finding.CALLS / (perf_counter() - began),
                better="higher",
            )
            yield from finding.timed(store, "calls.shared")
        finally:
            store.close()
