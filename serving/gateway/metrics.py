"""What a gateway counts for Prometheus: bounded whatever clients and releases do.

No label comes from a client: endpoints, versions and variants are the routes' own, outcomes ours.
The journal stays the evidence for releases; these numbers are for dashboards and alarms.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Histogram

from release.callers import Caller
from release.variants import Variant
from serving.gateway.loads import Loads
from serving.gateway.pool import Standing as Replica
from serving.gateway.standing import ARM, Standing
from serving.gateway.table import Table
from serving.gateway.tenants import Tenants
from serving.replica.messages import CLIENTS_FAULT, Answer, Kind

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
TEXTS = (1, 2, 4, 8, 16, 32, 64)
OUTCOMES = frozenset({"ok", "gone", "timeout", "abandoned", *Kind})
"""How a request may end; anything else is counted as `internal`."""

FAILURES = sorted(str(one) for one in OUTCOMES - CLIENTS_FAULT - {"ok"})
"""How an arm may fail by its own fault."""

REFUSED = {
    400: "invalid",
    401: "unproven",
    403: "forbidden",
    404: "not_found",
    405: "wrong_method",
    408: "slow_body",
    413: "too_large",
    415: "wrong_encoding",
    429: "overloaded",
    503: "unavailable",
    504: "timeout",
}

SERIES_OF_ARM = 2 * len(OUTCOMES) + 4 * (len(SECONDS) + 3) + (len(TEXTS) + 3) + 4
"""Most series that one arm can have."""

LINGER_SECONDS = 300.0
"""How long an arm's last numbers can still be collected after it has left the routes."""

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_PLAIN_0_0_4.encode()

Key = tuple[str, str, str]


@dataclass(slots=True, kw_only=True)
class _Arm:
    """The series of one arm, found once and kept."""

    key: Key
    total: Histogram
    queue: Histogram
    tokenize: Histogram
    compute: Histogram
    texts: Histogram
    tokens: Counter
    rescued: Counter
    requests: dict[str, Counter]
    failures: dict[str, Counter]
    left: float | None = None
    """When it was first missed in the routes."""


class Metrics:
    """Counts what a gateway does.

    Args:
        table: what is served; arms that are not in it are forgotten after a while.
        ready: whether the replica of a variant can be reached.
        replicas: gives, by content digest, how each replica stands.
        most_series: series that requests may make, and again that routes may make, and replicas;
            what would go beyond is left out and counted.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        table: Table,
        ready: Callable[[Variant], bool],
        replicas: Callable[[], Mapping[str, Sequence[Replica]]] = dict,
        *,
        most_series: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # A second series a counter, of when it was made, would double what is kept and sent.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._table = table
        self._most = most_series
        self._clock = clock
        self._arms: dict[Key, _Arm] = {}
        self._made_room = -math.inf
        self.registry = CollectorRegistry()
        self._requests = self._counter("requests", "Requests answered, by outcome.", "outcome")
        self._failures = self._counter(
            "failures", "Times an arm failed, also where the champion answered.", "outcome"
        )
        self._rescued = self._counter("rescued", "Failures that the champion answered for.")
        self._tokens = self._counter("tokens", "Tokens read by the model.")
        self._total = self._histogram("request_duration_seconds", "From the body to the answer.")
        self._queue = self._histogram("queue_duration_seconds", "Waiting in the replica.")
        self._tokenize = self._histogram(
            "tokenize_duration_seconds",
            "Waiting in the replica until tokenised; part of the queue.",
        )
        self._compute = self._histogram("compute_duration_seconds", "In the model.")
        self._texts = self._histogram("request_texts", "Texts in a request.", TEXTS)
        self._refused = Counter(
            "slipway_refusals",
            "Answers that were errors, whatever they were about.",
            ("outcome",),
            registry=self.registry,
        )
        self._lost = Counter(
            "slipway_metrics_dropped",
            "Observations left out because there would be too many series.",
            registry=self.registry,
        )
        self._tenants = Tenants(self.registry)
        self.registry.register(Standing(table, ready, most_series, self._lost))
        self.registry.register(Loads(table, replicas, most_series, self._lost))
        prometheus_client.ProcessCollector(registry=self.registry)

    def _counter(self, name: str, says: str, *more: str) -> Counter:
        return Counter(f"slipway_{name}", says, (*ARM, *more), registry=self.registry)

    def _histogram(self, name: str, says: str, buckets: Iterable[float] = SECONDS) -> Histogram:
        return Histogram(
            f"slipway_{name}", says, ARM, registry=self.registry, buckets=tuple(buckets)
        )

    def answered(
        self, endpoint: str, arm: Variant, answer: Answer, *, texts: int, seconds: float
    ) -> None:
        """Count a request that was answered."""
        if (found := self._arm(endpoint, arm)) is None:
            return
        _one(found, found.requests, self._requests, "ok")
        found.total.observe(seconds)
        found.queue.observe(answer.queue_ms / 1e3)
        found.tokenize.observe(answer.tokenize_ms / 1e3)
        found.compute.observe(answer.compute_ms / 1e3)
        found.texts.observe(texts)
        found.tokens.inc(answer.tokens)

    def unanswered(
        self, endpoint: str, arm: Variant, kind: str, *, seconds: float, failed: bool
    ) -> None:
        """Count a request that ended without an answer; `failed`: by the arm's fault."""
        if (found := self._arm(endpoint, arm)) is None:
            return
        _one(found, found.requests, self._requests, kind)
        found.total.observe(seconds)
        if failed:
            _one(found, found.failures, self._failures, kind)

    def stood_in_for(self, endpoint: str, arm: Variant, kind: str, *, rescued: bool) -> None:
        """Count a canary's failure for which the champion was asked."""
        if (found := self._arm(endpoint, arm)) is None:
            return
        _one(found, found.failures, self._failures, kind)
        if rescued:
            found.rescued.inc()

    def called(self, caller: Caller) -> None:
        """Count a call for whom it was made, as far as that is proven."""
        self._tenants.count(caller)

    def refused(self, status: int) -> None:
        """Count an answer that was an error."""
        self._refused.labels(REFUSED.get(status, "internal")).inc()

    def render(self) -> bytes:
        """Write everything in the text format."""
        self._forget(LINGER_SECONDS)
        # From 0 on, so that the first failure of a canary is a rise that an alarm can see.
        for key in self._served() - self._arms.keys():
            self._admit(key)
        return prometheus_client.generate_latest(self.registry)

    def _arm(self, endpoint: str, arm: Variant) -> _Arm | None:
        key = (endpoint, str(arm.version), arm.recipe)
        found = self._arms.get(key) or self._admit(key)
        if found is None:
            self._lost.inc()
        return found

    def _admit(self, key: Key) -> _Arm | None:
        # Once a second is enough: this is on every request's way while there are too many arms.
        if not self._room() and self._clock() - self._made_room >= 1:
            self._made_room = self._clock()
            self._forget(0.0)
        if not self._room():
            return None
        made = self._arms[key] = _Arm(
            key=key,
            total=self._total.labels(*key),
            queue=self._queue.labels(*key),
            tokenize=self._tokenize.labels(*key),
            compute=self._compute.labels(*key),
            texts=self._texts.labels(*key),
            tokens=self._tokens.labels(*key),
            rescued=self._rescued.labels(*key),
            requests={"ok": self._requests.labels(*key, "ok")},
            failures={kind: self._failures.labels(*key, kind) for kind in FAILURES},
        )
        return made

    def _room(self) -> bool:
        return (len(self._arms) + 1) * SERIES_OF_ARM <= self._most

    def _served(self) -> set[Key]:
        return {
            (name, str(arm.version), arm.recipe)
            for name, endpoint in self._table.endpoints.items()
            for arm in endpoint.route.variants
        }

    def _forget(self, after: float) -> None:
        """Drop arms that left the routes at least `after` seconds ago."""
        now, served = self._clock(), self._served()
        for key, arm in list(self._arms.items()):
            if key in served:
                arm.left = None
                continue
            arm.left = now if arm.left is None else arm.left
            if now - arm.left >= after:
                self._drop(arm)

    def _drop(self, arm: _Arm) -> None:
        del self._arms[arm.key]
        for metric in (
            *(self._total, self._queue, self._tokenize, self._compute),
            *(self._texts, self._tokens, self._rescued),
        ):
            metric.remove(*arm.key)
        for metric, outcomes in (
            (self._requests, arm.requests),
            (self._failures, arm.failures),
        ):
            for outcome in outcomes:
                metric.remove(*arm.key, outcome)


def _one(arm: _Arm, kept: dict[str, Counter], metric: Counter, outcome: str) -> None:
    name = str(outcome) if outcome in OUTCOMES else str(Kind.INTERNAL)
    if (counter := kept.get(name)) is None:
        counter = kept[name] = metric.labels(*arm.key, name)
    counter.inc()
