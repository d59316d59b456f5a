"""What a gateway counts, and that nobody can make it count without end."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from release.routes import Route
from serving.gateway.loads import SERIES_OF_REPLICA
from serving.gateway.metrics import LINGER_SECONDS, SERIES_OF_ARM, Metrics
from serving.gateway.pool import Standing as Replica
from serving.gateway.standing import SERIES_OF_ENDPOINT
from serving.gateway.table import Table
from serving.replica.messages import Answer, Classes, Kind, Load
from tests.fakes.wire_replica import LOAD, Stand, standing, variant
from tests.serving.tier import body

INFER = "/v2/models/tiny/infer"
ANSWER = Answer(
    id=1,
    found=Classes(labels=["a"], scores=[[1.0]]),
    tokens=3,
    queue_ms=2,
    tokenize_ms=0,
    compute_ms=20,
)


def samples(text: str, gateway: str = "g1") -> dict[str, float]:
    """Each series of one gateway to its value, such as `x{endpoint=tiny}`."""
    found = {}
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            if one.labels.pop("gateway", gateway) != gateway:
                continue
            labels = ",".join(f"{name}={value}" for name, value in sorted(one.labels.items()))
            found[f"{one.name.removeprefix('slipway_')}{{{labels}}}"] = one.value
    return found


def with_stand(work: Callable[[Stand], Awaitable[Any]]) -> Any:
    async def whole() -> Any:
        async with standing() as stand:
            return await work(stand)

    return asyncio.run(whole())


def arm(version: int, **more: str) -> str:
    labels = {"endpoint": "tiny", "version": str(version), "variant": "onnx-int8", **more}
    return "{" + ",".join(f"{name}={value}" for name, value in sorted(labels.items())) + "}"


def test_requests_are_counted_and_timed() -> None:
    async def work(stand: Stand) -> dict[str, float]:
        await stand.serve(variant(1))
        for texts in (["has beta"], ["alpha", "alpha", "alpha"]):
            assert (await stand.client.post(INFER, json=body(*texts))).status_code == 200
        await stand.client.post("/predict/tiny", json={"text": "alpha " * 17})
        await stand.client.post("/predict/tiny", json={"text": ""})
        await stand.client.post("/predict/nobody", json={"text": "alpha"})
        answer = await stand.client.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        return samples(answer.text)

    found = with_stand(work)
    assert found["requests_total" + arm(1, outcome="ok")] == 2
    assert found["requests_total" + arm(1, outcome="too_long")] == 1
    assert "failures_total" + arm(1, outcome="too_long") not in found
    assert found["refusals_total{outcome=invalid}"] == 2
    assert found["refusals_total{outcome=not_found}"] == 1
    assert found["tokens_total" + arm(1)] == 5
    assert found["request_texts_sum" + arm(1)] == 4
    assert found["request_duration_seconds_count" + arm(1)] == 3
    assert found["queue_duration_seconds_sum" + arm(1)] == pytest.approx(0.004)
    assert found["tokenize_duration_seconds_sum" + arm(1)] == pytest.approx(0.001)
    assert found["compute_duration_seconds_sum" + arm(1)] == pytest.approx(0.04)
    assert found["compute_duration_seconds_bucket" + arm(1, le="0.01")] == 0
    assert found["compute_duration_seconds_bucket" + arm(1, le="0.025")] == 2
    assert found["replica_ready" + arm(1)] == 1
    assert found["route_generation{endpoint=tiny}"] == 1
    assert found["requests_in_flight{endpoint=tiny}"] == 0


def test_a_canarys_failures_are_its_own() -> None:
    async def work(stand: Stand) -> tuple[dict[str, float], dict[str, float]]:
        await stand.serve(variant(1))
        await stand.serve(variant(1), variant(2), generation=2, fails=Kind.INTERNAL, trip_after=3)
        before = samples(await stand.text("/metrics"))
        for _ in range(5):
            assert (await stand.client.post(INFER, json=body("alpha"))).status_code == 200
        return before, samples(await stand.text("/metrics"))

    before, after = with_stand(work)
    assert before["canary_share_ratio{endpoint=tiny}"] == 1
    assert before["ejections_total{endpoint=tiny}"] == 0
    assert after["requests_total" + arm(1, outcome="ok")] == 5
    assert after["failures_total" + arm(2, outcome="internal")] == 3
    assert after["rescued_total" + arm(2)] == 3
    assert after["canary_share_ratio{endpoint=tiny}"] == 0
    assert after["ejections_total{endpoint=tiny}"] == 1
    assert before["failures_total" + arm(2, outcome="internal")] == 0
    assert after["requests_total" + arm(2, outcome="ok")] == 0
    assert {value for name, value in after.items() if "requests_total" in name} == {5, 0}


def test_what_a_replica_says_of_itself_shows() -> None:
    async def work(stand: Stand) -> dict[str, float]:
        await stand.serve(variant(1))
        return samples(await stand.text("/metrics"))

    found = with_stand(work)
    assert found["replica_batches_total" + arm(1, replica="1")] == LOAD.batches
    assert found["replica_slots_total" + arm(1, replica="1")] == LOAD.slots
    assert found["replica_queued_tokens" + arm(1, replica="1")] == LOAD.queued_tokens
    assert found["replica_memory_bytes" + arm(1, replica="1")] == LOAD.memory_bytes
    assert found["replica_cpu_seconds_total" + arm(1, replica="1")] == LOAD.cpu_seconds
    assert found["replica_owed_tokens" + arm(1, replica="1")] == 0


def test_replicas_beyond_the_limit_are_left_out_and_counted() -> None:
    table = serving(1)
    one = Replica(number=1, ready=True, load=Load(), outstanding=0)
    many = {variant(1).digest: [replace(one, number=number) for number in range(1, 9)]}
    most = 3 * SERIES_OF_REPLICA
    metrics = Metrics(table, lambda _arm: True, lambda: many, most_series=most)
    metrics.render()
    text = metrics.render().decode()
    listed = [name for name in samples(text) if name.startswith("replica_batches_total")]
    assert len(listed) == 3
    assert samples(text)["metrics_dropped_total{}"] >= 5


def test_a_lapsed_lease_shows() -> None:
    async def work(stand: Stand) -> dict[str, float]:
        await stand.serve(variant(1), variant(2))
        route = stand.table.endpoints["tiny"].route
        stand.table.take({"tiny": replace(route, lease_until=1.0)})
        return samples(await stand.text("/metrics"))

    found = with_stand(work)
    assert found["canary_lapsed{endpoint=tiny}"] == 1
    assert found["canary_share_ratio{endpoint=tiny}"] == 0


def test_nothing_that_a_client_says_becomes_a_label() -> None:
    async def work(stand: Stand) -> tuple[dict[str, float], dict[str, float]]:
        await stand.serve(variant(1))
        await stand.client.post(INFER, json=body("alpha"))
        await stand.client.get("/nowhere")
        before = samples(await stand.text("/metrics"))
        for number in range(50):
            odd = {"x-slipway-key": f"evil{number}", "x-request-id": f"evil{number}"}
            await stand.client.post(f"/v2/models/evil{number}/infer", json=body("a"), headers=odd)
            await stand.client.post(INFER, json=body("alpha"), headers=odd)
            path = f"/v2/models/tiny/versions/{number + 2}/infer"
            await stand.client.post(path, json=body("alpha"), headers=odd)
            await stand.client.get(f"/evil{number}", headers=odd)
        return before, samples(await stand.text("/metrics"))

    before, after = with_stand(work)
    assert before.keys() == after.keys()
    assert not [name for name in after if "evil" in name]


def serving(*versions: int) -> Table:
    table = Table()
    take(table, *versions)
    return table


def take(table: Table, *versions: int) -> None:
    arms = [variant(one) for one in versions]
    route = Route(endpoint="tiny", generation=max(versions), stable=arms[0], warm=tuple(arms[1:]))
    table.take({"tiny": route})


def answer(metrics: Metrics, version: int) -> None:
    metrics.answered("tiny", variant(version), ANSWER, texts=1, seconds=0.03)


def test_an_old_versions_series_go_after_it_has_left() -> None:
    now = [0.0]
    table = serving(1)
    metrics = Metrics(table, lambda _arm: True, clock=lambda: now[0])
    answer(metrics, 1)
    metrics.unanswered("tiny", variant(1), "timeout", seconds=1, failed=True)
    take(table, 2)
    assert "version=1" in str(samples(metrics.render().decode()))
    now[0] = LINGER_SECONDS - 1
    answer(metrics, 1)
    assert samples(metrics.render().decode())["requests_total" + arm(1, outcome="ok")] == 2
    now[0] = LINGER_SECONDS
    left = samples(metrics.render().decode())
    assert [name for name in left if "version=1" in name] == []
    assert left["metrics_dropped_total{}"] == 0


def test_a_version_that_comes_back_in_time_keeps_its_series() -> None:
    now = [0.0]
    table = serving(1)
    metrics = Metrics(table, lambda _arm: True, clock=lambda: now[0])
    answer(metrics, 1)
    take(table, 2)
    metrics.render()
    now[0] = LINGER_SECONDS - 1
    take(table, 3, 1)
    metrics.render()
    take(table, 4)
    now[0] = LINGER_SECONDS + 1
    assert samples(metrics.render().decode())["requests_total" + arm(1, outcome="ok")] == 1


def test_there_are_never_more_series_than_the_cap() -> None:
    table = serving(1, 2, 3, 4, 5)
    most = 3 * SERIES_OF_ARM
    now = [0.0]
    metrics = Metrics(table, lambda _arm: True, most_series=most, clock=lambda: now[0])
    for version in (1, 2, 3, 4, 5):
        answer(metrics, version)
        for kind in (*Kind, "gone", "timeout", "abandoned", "made up"):
            metrics.unanswered("tiny", variant(version), kind, seconds=1, failed=True)
    found = samples(metrics.render().decode())
    ours = [name for name in found if "version=" in name and "replica_ready" not in name]
    assert len(ours) <= most
    assert len(ours) > 0.8 * most
    assert {re.findall(r"version=(\d)", name)[0] for name in ours} == {"1", "2", "3"}
    assert not [name for name in found if "made up" in name]
    assert found["failures_total" + arm(3, outcome="internal")] == 2
    assert found["metrics_dropped_total{}"] == 2 * 11
    take(table, 6)
    now[0] = 0.9
    answer(metrics, 6)
    assert samples(metrics.render().decode())["metrics_dropped_total{}"] == 2 * 11 + 1
    now[0] = 1.0
    answer(metrics, 6)
    assert samples(metrics.render().decode())["requests_total" + arm(6, outcome="ok")] == 1


def test_endpoints_beyond_the_cap_are_left_out_and_counted() -> None:
    table = Table()
    table.take(
        {f"e{n}": Route(endpoint=f"e{n}", generation=1, stable=variant(1)) for n in range(10)}
    )
    series = SERIES_OF_ENDPOINT + 1
    metrics = Metrics(table, lambda _arm: True, most_series=3 * series + 2, clock=lambda: 0.0)
    metrics.render()
    found = samples(metrics.render().decode())
    assert len([name for name in found if name.startswith("route_generation")]) == 3
    assert found["metrics_dropped_total{}"] == 7
