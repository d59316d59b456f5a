"""What every replica says it has done and holds, for Prometheus; read when it is collected."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client import Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.gateway.pool import Standing as Replica
from serving.gateway.standing import ARM
from serving.gateway.table import Table

Value = Callable[[Replica], float]

COUNTERS: Mapping[str, tuple[str, Value]] = {
    "batches": ("Batches computed.", lambda one: one.load.batches),
    "texts": ("Texts computed.", lambda one: one.load.texts),
    "tokens": ("Tokens of these texts.", lambda one: one.load.tokens),
    "slots": ("Tokens computed, padding included.", lambda one: one.load.slots),
    "cpu_seconds": ("Processor time.", lambda one: one.load.cpu_seconds),
}
"""What begins at 0 with each replica process."""

GAUGES: Mapping[str, tuple[str, Value]] = {
    "queued_texts": ("Texts that wait in the replica.", lambda one: one.load.queued_texts),
    "queued_tokens": ("Tokens that wait in the replica.", lambda one: one.load.queued_tokens),
    "owed_tokens": ("Tokens that it owes this gateway.", lambda one: one.outstanding),
    "memory_bytes": ("Resident memory.", lambda one: one.load.memory_bytes),
}

SERIES_OF_REPLICA = len(COUNTERS) + len(GAUGES)


class Loads(Collector):
    """Reads the pool when it is collected.

    Args:
        table: what is served.
        replicas: gives, by content digest, how each replica stands.
        most: series at most.
        lost: counts replicas that are left out because of it.
    """

    def __init__(
        self,
        table: Table,
        replicas: Callable[[], Mapping[str, Sequence[Replica]]],
        most: int,
        lost: Counter,
    ) -> None:
        self._table = table
        self._replicas = replicas
        self._most = most
        self._lost = lost

    def describe(self) -> Iterable[Metric]:
        """Nothing is known before it is collected."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Give every number as it was last heard."""
        labels = [*ARM, "replica"]
        counters = {
            name: CounterMetricFamily(f"slipway_replica_{name}", says, labels=labels)
            for name, (says, _) in COUNTERS.items()
        }
        gauges = {
            name: GaugeMetricFamily(f"slipway_replica_{name}", says, labels=labels)
            for name, (says, _) in GAUGES.items()
        }
        for key, one in self._listed():
            for name, counter in counters.items():
                counter.add_metric(key, COUNTERS[name][1](one))
            for name, gauge in gauges.items():
                gauge.add_metric(key, GAUGES[name][1](one))
        yield from counters.values()
        yield from gauges.values()

    def _listed(self) -> Iterator[tuple[list[str], Replica]]:
        """As many replicas as there is room for, by endpoint, version, variant and number."""
        room, replicas = self._most, self._replicas()
        for name, endpoint in self._table.endpoints.items():
            for arm in endpoint.route.variants:
                for one in replicas.get(arm.digest, ()):
                    room -= SERIES_OF_REPLICA
                    if room < 0:
                        self._lost.inc()
                        continue
                    yield [name, str(arm.version), arm.recipe, str(one.number)], one
