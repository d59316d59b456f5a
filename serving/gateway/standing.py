"""What is so on a gateway right now, for Prometheus: it costs requests nothing."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from prometheus_client import Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from release.variants import Variant
from serving.anchored import Anchored
from serving.gateway.table import Endpoint, Table
from serving.keeping import Keeper
from serving.replica.messages import Kind

ARM = ("endpoint", "version", "variant")
SERIES_OF_ENDPOINT = 6 + len(Kind) + 5
"""Gauges, cut-offs, and copies by outcome: kinds, and `ok`, `gone`, `timeout`,
`abandoned`, `left_out`."""


class Standing(Collector):
    """Reads the table when it is collected.

    Args:
        table: what is served.
        ready: whether the replica of a variant can be reached.
        most: series at most.
        lost: counts endpoints that are left out because of it.
    """

    def __init__(
        self, table: Table, ready: Callable[[Variant], bool], most: int, lost: Counter
    ) -> None:
        self._table = table
        self._ready = ready
        self._most = most
        self._lost = lost

    def describe(self) -> Iterable[Metric]:
        """Nothing is known before it is collected."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Give every gauge as it is now."""
        gauges = [
            _gauge("requests_in_flight", "Requests under way.", lambda one: one.in_flight),
            _gauge("route_generation", "Generation served.", lambda one: one.route.generation),
            _gauge("canary_share_ratio", "The canary's part, 0..1.", lambda one: one.share() / 100),
            _gauge(
                "shadow_share_ratio",
                "Part of the requests that the canary gets copies of, 0..1.",
                lambda one: one.shadow() / 100,
            ),
            _gauge("canary_lapsed", "1 where the lease ran out.", lambda one: one.lapsed),
        ]
        ejections = CounterMetricFamily(
            "slipway_ejections", "Canaries cut off by this gateway.", labels=["endpoint"]
        )
        copies = CounterMetricFamily(
            "slipway_shadow_requests",
            "Copies of requests that canaries were shown, by outcome.",
            labels=["endpoint", "outcome"],
        )
        ready = GaugeMetricFamily(
            "slipway_replica_ready", "1 where a replica can be asked.", labels=ARM
        )
        for endpoint in self._listed():
            name = endpoint.route.endpoint
            for family, value in gauges:
                family.add_metric([name], float(value(endpoint)))
            ejections.add_metric([name], endpoint.ejections)
            for outcome, count in sorted(endpoint.copies.items()):
                copies.add_metric([name, outcome], count)
            for arm in endpoint.route.variants:
                labels = [name, str(arm.version), arm.recipe]
                ready.add_metric(labels, float(self._ready(arm)))
        yield from (family for family, _ in gauges)
        yield from (ejections, copies, ready)

    def _listed(self) -> Iterator[Endpoint]:
        """As many endpoints as there is room for."""
        room = self._most
        for endpoint in self._table.endpoints.values():
            room -= SERIES_OF_ENDPOINT + len(endpoint.route.variants)
            if room < 0:
                self._lost.inc()
                continue
            yield endpoint


def _gauge(
    name: str, says: str, value: Callable[[Endpoint], float]
) -> tuple[GaugeMetricFamily, Callable[[Endpoint], float]]:
    return GaugeMetricFamily(f"slipway_{name}", says, labels=["endpoint"]), value


class Anchoring(Collector):
    """Tells how the sending of anchors stands, where they are sent.

    Args:
        run: folder where the agent tells it.
    """

    def __init__(self, run: Path) -> None:
        self._run = run

    def describe(self) -> Iterable[Metric]:
        """Nothing is known before it is collected."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Give both gauges."""
        if (told := Anchored.load(self._run)) is None:
            return
        said = "Anchors of this host that were not taken yet where they are sent."
        yield GaugeMetricFamily("slipway_anchors_waiting", said, value=float(told.waiting))
        said = "1 where anchors are not taken."
        yield GaugeMetricFamily("slipway_anchors_trouble", said, value=float(bool(told.trouble)))


class Recorded(Collector):
    """Tells how many calls have their line, and how many were refused because they had none.

    Args:
        keeper: of the journal.
        unsealed: gives how many namespaces there are whose payloads cannot be sealed.
    """

    def __init__(self, keeper: Keeper, unsealed: Callable[[], int]) -> None:
        self._keeper = keeper
        self._unsealed = unsealed

    def describe(self) -> Iterable[Metric]:
        """Nothing is known before it is collected."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Give both counts, and whether there is room now."""
        keeper, recorded, refused = self._keeper, "slipway_calls_recorded", "slipway_calls_refused"
        yield CounterMetricFamily(recorded, "Calls written down.", value=keeper.recorded)
        said = "Calls refused because they could not be written down."
        yield CounterMetricFamily(refused, said, value=keeper.refused)
        said = "1 where calls cannot be written down."
        yield GaugeMetricFamily("slipway_calls_trouble", said, value=float(bool(keeper.trouble)))
        said = "Namespaces whose payloads cannot be sealed, or only until the day ends."
        yield GaugeMetricFamily("slipway_unsealed_namespaces", said, value=float(self._unsealed()))
