import pytest

from infra.ledger import Ledger
from release.errors import Invalid
from release.releases import GatewayStatus, ReplicaStatus


def _gateway(number: int, at: float, generation: int = 1, *, agent: str = "a") -> GatewayStatus:
    return GatewayStatus(
        gateway=f"{agent}/{number}", endpoint="docs", generation=generation, tripped="25", at=at
    )


def _replica(digest: str, at: float, *, ready: bool = True, agent: str = "a") -> ReplicaStatus:
    return ReplicaStatus(
        agent=agent,
        endpoint="docs",
        digest=digest,
        ready=ready,
        message="fine",
        pid=7,
        memory_bytes=3_000_000_000,
        restarts=1,
        at=at,
    )


def test_an_agent_replaces_all_that_it_said_and_nothing_of_others(ledger: Ledger) -> None:
    theirs = _gateway(1, 1.0, agent="b")
    ledger.observe([theirs], [_replica("x", 1.0, agent="b")], "b")
    ledger.observe([_gateway(1, 1.0), _gateway(2, 1.0)], [_replica("x", 1.0)], "a")
    ledger.observe([_gateway(1, 2.0, 3)], [_replica("y", 2.0, ready=False)], "a")
    assert ledger.gateways("docs") == [_gateway(1, 2.0, 3), theirs]
    assert ledger.replicas() == [_replica("y", 2.0, ready=False), _replica("x", 1.0, agent="b")]
    assert ledger.gateways("another") == [] == ledger.replicas("another")
    ledger.observe([], [], "a")
    assert ledger.gateways() == [theirs]


def test_what_was_overtaken_changes_nothing(ledger: Ledger) -> None:
    newer = [_gateway(1, 5.0, 3), _gateway(2, 5.0, 3)], [_replica("x", 5.0)]
    ledger.observe(*newer, "a")
    ledger.observe([_gateway(1, 4.0, 2)], [_replica("w", 4.0)], "a")
    assert ledger.gateways() == newer[0]
    assert _replica("x", 5.0) in ledger.replicas()


def test_nobody_reports_for_another(ledger: Ledger) -> None:
    with pytest.raises(Invalid, match="b/1"):
        ledger.observe([_gateway(1, 1.0, agent="b")], [], "a")
    with pytest.raises(Invalid, match="'b'"):
        ledger.observe([], [_replica("x", 1.0, agent="b")], "a")
