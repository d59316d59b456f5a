"""How many calls of models were made for whom, as far as that is proven."""

from prometheus_client import CollectorRegistry, Counter

from release.callers import Caller

MOST = 1_000
"""Pairs of namespace and tenant that are told apart; the others are counted as one."""

OTHERS = ("(others)", "(others)")


class Tenants:
    """Counts calls by the caller's namespace and tenant; never by what a client says of itself.

    Args:
        registry: where they are collected.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._total = Counter(
            "slipway_tenant_requests",
            "Requests of proven callers, by namespace and tenant.",
            ("namespace", "tenant"),
            registry=registry,
        )
        self._known: dict[tuple[str, str], Counter] = {}

    def count(self, caller: Caller) -> None:
        """Count a call; in the open mode nobody is known, and nothing is counted."""
        if not caller.id:
            return
        pair = (caller.namespace, caller.tenant)
        if (found := self._known.get(pair)) is None:
            pair = pair if len(self._known) < MOST else OTHERS
            found = self._known[pair] = self._total.labels(*pair)
        found.inc()
