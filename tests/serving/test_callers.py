"""Who may ask a gateway what, over every protocol, before replicas that have no model."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from grpc_health.v1 import health_pb2

from infra.callers.snapshot import CallersSnapshot, KeyEntry, NamespaceEntry
from release.callers import Action
from serving.gateway.app import PUBLIC
from serving.gateway.bodies import Headers
from serving.gateway.callers import Callers
from serving.gateway.dispatch import Dispatcher
from serving.gateway.grpc import calls
from serving.gateway.grpc import inference_pb2 as pb
from serving.gateway.grpc.server import GrpcServer
from tests.fakes.call_lines import refused_in
from tests.fakes.callers import Login, a_key, bearer
from tests.fakes.wire_replica import Stand, standing, variant
from tests.serving.test_grpc import SERVICE, Client
from tests.serving.tier import Tier, body

OWNERS = {"docs-a": "shop", "docs-b": "bank", "docs-c": "shop"}
SERVED = ("docs-a", "docs-b", "docs-c", "plain")
ASKED = (*SERVED, "docs-z")
"""The last is not there."""

ACTIONS = [(one,) for one in Action]

Answer = tuple[str, Any]
"""`in`, `unproven` or `refused`; and what a list lists."""


@dataclass(frozen=True)
class Holder:
    """Somebody, and what they may do by the test's own account of it."""

    proof: str
    namespace: str = ""
    pattern: str = ""
    actions: frozenset[str] = field(default_factory=frozenset)
    proven: bool = True

    def may_all(self, action: str) -> bool:
        return self.namespace == self.pattern == "*" and action in self.actions

    def may(self, endpoint: str, action: str) -> bool:
        owned = self.namespace in ("*", OWNERS.get(endpoint, "default"))
        return owned and fnmatchcase(endpoint, self.pattern) and action in self.actions


def some_holders(stand: Stand) -> tuple[CallersSnapshot, list[Holder]]:
    """Every grant of a few namespaces, patterns and sets of actions; by key, and by token."""
    login, keys, found = Login(), dict[str, KeyEntry](), list[Holder]()
    patterns = ("*", "docs-*", "docs-a", "*-b", "plain", "docs")
    roles = [(), *(tuple(one) for one in ACTIONS), ("infer", "read"), ("read", "metrics")]
    for number, (namespace, pattern, can) in enumerate(
        product(("default", "shop", "bank", "*"), patterns, roles)
    ):
        # An action of another version allows nothing, and takes nothing away.
        scopes = [f"{namespace}/{pattern}:{action}" for action in (*can, "dance")]
        named = f"k{number:04}"
        key, keys[named] = a_key(stand.folder, named, *scopes)
        proof = key if number % 4 else login.token(scopes)
        found.append(Holder(proof, namespace, pattern, frozenset(can)))
    every = tuple(f"*/*:{action}" for action in Action)
    over, keys["over"] = a_key(stand.folder, "over", *every, expires=time.time() - 1)
    gone, _ = a_key(stand.folder, "gone", *every)
    good, keys["good"] = a_key(stand.folder, "good", *every)
    late = login.token(every, exp=int(time.time()) - 60)
    wrong = ("", over, gone, good[:-1] + "x", good.swapcase(), late, Login().token(every), "slw__")
    found += [Holder(proof, proven=False) for proof in wrong]
    found.append(Holder(good, "*", "*", frozenset(Action)))
    namespaces = {"shop": _entry(), "bank": _entry()}
    snapshot = CallersSnapshot(
        number=1, keys=keys, owners=OWNERS, namespaces=namespaces, issuers=[login.entry()]
    )
    return snapshot, found


def _entry() -> Any:
    return NamespaceEntry(capture="none", sample=1.0, strict=False, when_full="refuse", days=30)


@dataclass
class Closed:
    """A gateway that lets in who is in its snapshot, and clients of all its protocols."""

    stand: Stand
    grpc: Client
    holders: list[Holder]

    async def http(self, method: str, path: str, proof: str, **more: Any) -> Answer:
        odd = sum(map(ord, proof + path)) % 2
        headers = {"x-api-key": proof} if odd and proof else bearer(proof)
        answer = await self.stand.client.request(method, path, headers=headers, **more)
        said = {401: "unproven", 403: "refused"}.get(answer.status_code, "in")
        return said, answer

    async def call(self, method: str, request: Any, answer: Any, proof: str) -> Answer:
        told = tuple(bearer(proof).items())
        try:
            return "in", await self.grpc(method, request, answer, metadata=told)
        except grpc.aio.AioRpcError as error:
            code = error.code()
        codes = grpc.StatusCode
        said = {codes.UNAUTHENTICATED: "unproven", codes.PERMISSION_DENIED: "refused"}
        return said.get(code, "in"), code


@asynccontextmanager
async def closed(make: Callable[[Stand], Any] = some_holders) -> AsyncIterator[Closed]:
    async with standing() as stand:
        for number, name in enumerate(SERVED, 1):
            await stand.serve(variant(number, name))
        snapshot, holders = make(stand)
        stand.ask_who(snapshot)
        parts = (stand.table, stand.pool, Dispatcher(stand.pool, stand.recorder, stand.metrics))
        server = await GrpcServer.start(
            "127.0.0.1:0", *parts, stand.metrics, stand.recorder, stand.callers
        )
        async with grpc.aio.insecure_channel(server.address) as channel:
            try:
                yield Closed(stand, Client(channel), holders)
            finally:
                await server.stop(1)


def with_closed(work: Callable[[Closed], Awaitable[Any]], make: Any = some_holders) -> Any:
    async def whole() -> Any:
        async with closed(make) as here:
            return await work(here)

    return asyncio.run(whole())


def _asked(name: str) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=name)
    request.inputs.add(name="text", datatype="BYTES", shape=[1]).contents.bytes_contents.append(
        b"beta"
    )
    return request


Ask = Callable[[Closed, str, str], Awaitable[Answer]]
POSTS: Mapping[str, Ask] = {
    "v2": lambda here, name, proof: here.http(
        "POST", f"/v2/models/{name}/infer", proof, json=body("beta")
    ),
    "v2 pinned": lambda here, name, proof: here.http(
        "POST", f"/v2/models/{name}/versions/1/infer", proof, json=body("beta")
    ),
    "predict": lambda here, name, proof: here.http(
        "POST", f"/predict/{name}", proof, json={"text": "beta"}
    ),
    "openai": lambda here, name, proof: here.http(
        "POST", "/v1/embeddings", proof, json={"model": name, "input": "beta"}
    ),
    "grpc": lambda here, name, proof: here.call(
        "ModelInfer", _asked(name), pb.ModelInferResponse, proof
    ),
}
READS: Mapping[str, Ask] = {
    "v2": lambda here, name, proof: here.http("GET", f"/v2/models/{name}", proof),
    "v2 ready": lambda here, name, proof: here.http("GET", f"/v2/models/{name}/ready", proof),
    "v2 version": lambda here, name, proof: here.http(
        "GET", f"/v2/models/{name}/versions/1", proof
    ),
    "v2 version ready": lambda here, name, proof: here.http(
        "GET", f"/v2/models/{name}/versions/1/ready", proof
    ),
    "openai": lambda here, name, proof: here.http("GET", f"/v1/models/{name}", proof),
    "grpc": lambda here, name, proof: here.call(
        "ModelMetadata", pb.ModelMetadataRequest(name=name), pb.ModelMetadataResponse, proof
    ),
    "grpc ready": lambda here, name, proof: here.call(
        "ModelReady", pb.ModelReadyRequest(name=name), pb.ModelReadyResponse, proof
    ),
    "health": lambda here, name, proof: here.call(
        "grpc.health.v1.Health/Check",
        health_pb2.HealthCheckRequest(service=name),
        health_pb2.HealthCheckResponse,
        proof,
    ),
}


WHOLE: Mapping[str, Ask] = {
    "metrics": lambda here, _, proof: here.http("GET", "/metrics", proof),
    "read": lambda here, _, proof: here.http("GET", "/-/status", proof),
}
"""What is about all endpoints at once."""


ASKS = {"infer": POSTS, "read": READS}
"""What is about one endpoint, by action and protocol."""


async def _tried(here: Closed) -> AsyncIterator[tuple[Holder, object, str, str, bool]]:
    """Try everything as everybody: who, what, of which kind, what was said, whether they may."""
    for one, name, (action, of) in product(here.holders, ASKED, ASKS.items()):
        for protocol, ask in of.items():
            said, _ = await ask(here, name, one.proof)
            yield one, (name, action, protocol), "", said, one.may(name, action)
    for one, (action, ask) in product(here.holders, WHOLE.items()):
        said, _ = await ask(here, "", one.proof)
        yield one, action, "all ", said, one.may_all(action)


async def _listed(here: Closed, proof: str) -> Mapping[str, tuple[str, set[str]]]:
    """Ask every list that there is; give who is on each."""
    index = await here.http("POST", "/v2/repository/index", proof)
    models = await here.http("GET", "/v1/models", proof)
    rpc = await here.call(
        "RepositoryIndex", pb.RepositoryIndexRequest(), pb.RepositoryIndexResponse, proof
    )
    health = await here.call(
        "grpc.health.v1.Health/List",
        health_pb2.HealthListRequest(),
        health_pb2.HealthListResponse,
        proof,
    )
    fine = index[0] == "in"
    return {
        "v2": (index[0], {one["name"] for one in index[1].json()} if fine else set()),
        "openai": (models[0], {one["id"] for one in models[1].json()["data"]} if fine else set()),
        "grpc": (rpc[0], {one.name for one in rpc[1].models} if fine else set()),
        "health": (health[0], set(health[1].statuses) - {"", SERVICE} if fine else set()),
    }


def test_nobody_is_let_in_or_refused_wrongly_over_any_protocol() -> None:
    """Key × role × namespace × endpoint × protocol, held against the test's own account."""

    assert ASKS.keys() | WHOLE.keys() == set(Action)

    async def work(here: Closed) -> tuple[Counter[str], list[object]]:
        counts, wrong = Counter[str](), list[object]()
        async for one, what, kind, said, may in _tried(here):
            wanted = ("in" if may else "refused") if one.proven else "unproven"
            counts[kind + wanted] += 1
            if said != wanted:
                wrong.append((one, what, said, wanted))
        for one in here.holders:
            seen = {name for name in SERVED if one.may(name, "read")}
            for protocol, found in (await _listed(here, one.proof)).items():
                listed = ("in", seen) if one.proven else ("unproven", set())
                if found != listed:
                    wrong.append((one, protocol, found, listed))
        return counts, wrong

    counts, wrong = with_closed(work)
    assert wrong == []
    assert counts["all in"] > 5 and counts["all refused"] > 200 and counts["all unproven"] > 10
    assert counts["in"] > 500 and counts["refused"] > 500 and counts["unproven"] > 500


def test_every_address_asks_who_calls_unless_it_is_named_as_public() -> None:
    async def work(here: Closed) -> None:
        for address in here.stand.app.addresses:
            path = address.path.replace("{model}", "docs-a").replace("{version}", "1")
            path = path.replace("{endpoint}", "docs-a")
            answer = await here.stand.client.request(address.method, path)
            assert (answer.status_code == 401) == (address.path not in PUBLIC), address.path
        for method, kind in (("ServerLive", "ServerLive"), ("ServerReady", "ServerReady")):
            request, answer = getattr(pb, f"{kind}Request")(), getattr(pb, f"{kind}Response")
            assert (await here.call(method, request, answer, ""))[0] == "in"
        metadata = pb.ServerMetadataRequest()
        said = await here.call("ServerMetadata", metadata, pb.ServerMetadataResponse, "")
        assert said[0] == "unproven"
        for service in ("", SERVICE):
            asked = health_pb2.HealthCheckRequest(service=service)
            check = "grpc.health.v1.Health/Check"
            assert (await here.call(check, asked, health_pb2.HealthCheckResponse, ""))[0] == "in"

    with_closed(work)


def watching(here: Closed, service: str, proof: str) -> Any:
    watch = here.grpc.channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    asked = health_pb2.HealthCheckRequest(service=service)
    return watch(asked, metadata=tuple(bearer(proof).items()))


def test_a_watch_of_a_model_is_for_who_may_see_it() -> None:
    async def work(here: Closed) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as found:
            await watching(here, "docs-a", "").read()
        assert found.value.code() == grpc.StatusCode.UNAUTHENTICATED
        seen = watching(here, "docs-a", here.holders[-1].proof)
        assert (await seen.read()).status == health_pb2.HealthCheckResponse.SERVING
        seen.cancel()

    with_closed(work)


@pytest.mark.parametrize("left", ["", "read"], ids=["revoked", "other scopes"])
def test_a_watch_ends_with_the_right_to_it(left: str) -> None:
    async def work(here: Closed) -> Any:
        seen = watching(here, "docs-a", here.holders[0].proof)
        open_to_all = watching(here, "", "")
        for one in (seen, open_to_all):
            assert (await one.read()).status == health_pb2.HealthCheckResponse.SERVING
        _, entry = a_key(here.stand.folder, "ours", "bank/*:read")
        keys = {"ours": entry} if left else {}
        CallersSnapshot(number=2, keys=keys, owners=OWNERS).save(here.stand.folder)
        assert here.stand.callers.look()
        async with asyncio.timeout(5):
            with pytest.raises(grpc.aio.AioRpcError) as found:
                await seen.read()
        open_to_all.cancel()
        return found.value.code()

    codes = grpc.StatusCode
    wanted = codes.PERMISSION_DENIED if left else codes.UNAUTHENTICATED
    assert with_closed(work, one_key("shop/*:read")) == wanted


def test_a_watch_that_is_refused_for_a_reason_without_a_code_says_internal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(calls.CODES, 401)

    async def work(here: Closed) -> Any:
        with pytest.raises(grpc.aio.AioRpcError) as found:
            await watching(here, "docs-a", "").read()
        return found.value

    told = with_closed(work)
    assert told.code() == grpc.StatusCode.INTERNAL and "needs a key" in told.details()


def one_key(*scopes: str, **more: Any) -> Any:
    def make(stand: Stand) -> tuple[CallersSnapshot, list[Holder]]:
        key, entry = a_key(stand.folder, "ours", *scopes, **more)
        snapshot = CallersSnapshot(
            number=1,
            keys={"ours": entry},
            owners=OWNERS,
            namespaces={"shop": _entry(), "bank": _entry()},
        )
        return snapshot, [Holder(key)]

    return make


def test_refusals_have_the_shape_of_their_protocol_and_name_what_is_missing() -> None:
    async def work(here: Closed) -> None:
        client, key = here.stand.client, here.holders[0].proof
        none = await client.post("/predict/docs-a", json={"text": "beta"})
        assert none.status_code == 401
        assert none.headers["www-authenticate"] == 'Bearer realm="slipway"'
        other = await client.post("/predict/docs-b", json={"text": "x"}, headers=bearer(key))
        assert other.status_code == 403 and "NAMESPACE/docs-b:infer" in other.json()["error"]
        # Neither whose it is nor that it is there is told to who may not see it.
        lost = await client.post("/predict/nowhere", json={"text": "x"}, headers=bearer(key))
        assert lost.text.replace("nowhere", "docs-b") == other.text
        seen = await client.post("/predict/plain", json={"text": "x"}, headers=bearer(key))
        assert seen.status_code == 403 and "default/plain:infer" in seen.json()["error"]
        asked = {"model": "docs-b", "input": "x"}
        for proof, status, code in (
            ("", 401, "invalid_api_key"),
            (key, 403, "insufficient_permissions"),
        ):
            answer = await client.post("/v1/embeddings", json=asked, headers=bearer(proof))
            assert answer.status_code == status
            assert answer.json()["error"]["code"] == code
        with pytest.raises(grpc.aio.AioRpcError) as found:
            await here.grpc("ModelInfer", _asked("docs-b"), pb.ModelInferResponse)
        trailing = dict(found.value.trailing_metadata())
        assert trailing["www-authenticate"] == 'Bearer realm="slipway"'

    with_closed(work, one_key("shop/*:infer", "default/plain:read"))


def test_what_is_served_is_told_only_as_far_as_a_caller_may_see() -> None:
    async def work(here: Closed) -> None:
        key = bearer(here.holders[0].proof)
        answer = await here.stand.client.get("/v2/models/docs-none", headers=key)
        assert answer.status_code == 404
        assert answer.json()["error"].endswith("(served are: docs-a, docs-c)")
        assert (await here.stand.client.get("/-/status", headers=key)).status_code == 403

    with_closed(work, one_key("default/docs-*:read", "shop/*:read", "bank/none:read"))


def test_only_who_may_see_everything_sees_the_status() -> None:
    async def work(here: Closed) -> int:
        key = bearer(here.holders[0].proof)
        return int((await here.stand.client.get("/-/status", headers=key)).status_code)

    assert with_closed(work, one_key("*/*:read")) == 200
    assert with_closed(work, one_key("*/*:infer", "*/docs-*:read", "shop/*:read")) == 403


def test_a_caller_is_what_was_proven_whatever_the_client_says() -> None:
    forged = {
        "x-slipway-key": "mallory",
        "x-slipway-user": "mallory",
        "x-user": "mallory",
        "x-forwarded-user": "mallory",
        "x-slipway-tenant": "malice",
        "x-slipway-namespace": "bank",
    }

    async def work(here: Closed) -> None:
        key = here.holders[0].proof
        headers = {**forged, **bearer(key)}
        answer = await here.stand.client.post(
            "/predict/docs-a", json={"text": "beta"}, headers=headers
        )
        assert answer.status_code == 200
        told = (*forged.items(), *bearer(key).items())
        await here.grpc("ModelInfer", _asked("docs-a"), pb.ModelInferResponse, metadata=told)
        refused = await here.stand.client.post("/predict/docs-b", json={}, headers=headers)
        assert refused.status_code == 403
        unproven = await here.stand.client.post("/predict/docs-b", json={}, headers=forged)
        assert unproven.status_code == 401
        records = here.stand.records
        assert [(one.caller, one.user, one.tenant) for one in records] == [
            *[("ours", "ann", "acme")] * 3,
        ]
        assert [one.namespace for one in records[:2]] == ["shop", "shop"]
        metrics = here.stand.metrics.render().decode()
        assert "mallory" not in metrics and "malice" not in metrics
        counted = 'slipway_tenant_requests_total{namespace="default",tenant="acme"} 2.0'
        assert counted in metrics
        assert 'slipway_refusals_total{outcome="forbidden"} 1.0' in metrics
        assert 'slipway_refusals_total{outcome="unproven"} 1.0' in metrics

    with_closed(work, one_key("shop/*:infer", user="ann", tenant="acme"))


def test_calls_that_prove_nobody_are_counted_exactly_and_fill_no_disk() -> None:
    async def work(here: Closed) -> None:
        stand, good = here.stand, here.holders[0].proof
        for number in range(40):
            proof = ("", "slw_none_x", good + "x")[number % 3]
            for name in ("docs-a", "docs-z"):
                said, _ = await POSTS["predict"](here, name, proof)
                assert said == "unproven"
            assert (await POSTS["grpc"](here, "docs-b", proof))[0] == "unproven"
            assert (await here.http("GET", "/predict/docs-a", proof))[0] == "unproven"
        # What is no call of a model is none that the record should have.
        assert (await here.http("GET", "/v2/models/docs-a", ""))[0] == "unproven"
        for ask in (POSTS["predict"], POSTS["grpc"]):
            assert (await ask(here, "docs-b", good))[0] == "refused"
        assert [one.status for one in stand.records] == [403, 403]
        unproven, journals = stand.recorder.unproven, stand.folder / "journal"
        unproven.tick(now=time.time() + 9)
        assert refused_in(journals) == []
        unproven.tick(now=time.time() + 11)
        unproven.tick(now=time.time() + 30)
        (told,) = refused_in(journals)
        assert told["refused"] == 160
        assert told["unproven"] == {"docs-a": 80, "": 40, "docs-b": 40}
        assert told["since"] <= told["until"]

    with_closed(work, one_key("shop/*:infer"))


def test_a_gateway_that_ends_tells_how_many_proved_nobody(tmp_path: Path) -> None:
    tier = Tier(folder=tmp_path, locate=lambda _: tmp_path, open=False)
    CallersSnapshot(number=1).save(tmp_path)
    (tmp_path / "pepper").write_bytes(b"p" * 32)
    try:
        tier.start_gateway()
        told = [tier.ask("beta", model="docs").status_code for _ in range(3)]
        assert told == [401] * 3 and refused_in(tmp_path / "journal") == []
    finally:
        tier.stop()
    (found,) = refused_in(tmp_path / "journal")
    assert (found["refused"], found["unproven"]) == (3, {"": 3})


@pytest.mark.parametrize("user", ["ann", "bob", ""])
def test_the_proven_user_decides_the_arm_and_no_header(user: str) -> None:
    """A program that serves many has no user, and its calls are divided one by one."""

    async def work(here: Closed) -> set[int]:
        stable, canary = variant(11, "plain"), variant(12, "plain")
        await here.stand.serve(stable, canary, generation=2)
        route = here.stand.table.endpoints["plain"].route
        half = replace(route, generation=3, canary_percent=50.0)
        here.stand.table.endpoints["plain"].take(half)
        found = set()
        for number in range(24):
            said = {"x-slipway-key": f"k{number}", "x-request-id": f"r{number}"}
            headers = {**said, **bearer(here.holders[0].proof)}
            answer = await here.stand.client.post(
                "/predict/plain", json={"text": "x"}, headers=headers
            )
            found.add(int(answer.headers["x-slipway-version"]) - 10)
        by = "split:user" if user else "split:call"
        assert {one.rule for one in here.stand.records} == {by}
        return found

    found = with_closed(work, one_key("default/*:infer", user=user))
    assert len(found) == (1 if user else 2)


def test_a_quota_of_requests_holds_within_any_minute() -> None:
    async def work(here: Closed) -> None:
        asked: dict[str, Any] = {"json": {"text": "beta"}, "headers": bearer(here.holders[0].proof)}
        told = [await here.stand.client.post("/predict/plain", **asked) for _ in range(5)]
        assert [one.status_code for one in told] == [200, 200, 200, 429, 429]
        assert 55 <= int(told[-1].headers["retry-after"]) <= 61
        metadata = tuple(asked["headers"].items())
        with pytest.raises(grpc.aio.AioRpcError) as found:
            await here.grpc("ModelInfer", _asked("plain"), pb.ModelInferResponse, metadata=metadata)
        assert found.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        # What is only looked at is not counted.
        for _ in range(5):
            seen = await here.stand.client.get("/v2/models/plain", headers=asked["headers"])
            assert seen.status_code == 200

    with_closed(work, one_key("default/*:infer", "default/*:read", requests=3))


def test_a_quota_of_tokens_ends_with_the_answer_that_reaches_it() -> None:
    async def work(here: Closed) -> list[int]:
        asked: dict[str, Any] = {
            "json": {"text": "beta " * 5},
            "headers": bearer(here.holders[0].proof),
        }
        told = [await here.stand.client.post("/predict/plain", **asked) for _ in range(4)]
        return [one.status_code for one in told]

    assert with_closed(work, one_key("default/*:infer", tokens=6)) == [200, 200, 429, 429]


def test_tokens_asked_over_grpc_are_of_the_same_quota() -> None:
    async def work(here: Closed) -> int:
        headers = bearer(here.holders[0].proof)
        metadata = tuple(headers.items())
        await here.grpc("ModelInfer", _asked("plain"), pb.ModelInferResponse, metadata=metadata)
        answer = await here.stand.client.post(
            "/predict/plain", json={"text": "beta"}, headers=headers
        )
        return int(answer.status_code)

    assert with_closed(work, one_key("default/*:infer", tokens=1)) == 429


def token_quota(stand: Stand) -> tuple[CallersSnapshot, list[Holder]]:
    login = Login()
    # Another token of the same subject is not another caller.
    tokens = [login.token(["default/*:infer"], jti=jti) for jti in ("a", "b")]
    tokens.append(login.token(["default/*:infer"], sub="bob"))
    issuers = [login.entry(requests=3)]
    return CallersSnapshot(number=1, issuers=issuers), [Holder(one) for one in tokens]


def test_an_issuers_quota_is_each_subjects_whatever_its_token() -> None:
    async def work(here: Closed) -> list[int]:
        told = []
        for place in (0, 1, 0, 1, 0, 2):
            headers = bearer(here.holders[place].proof)
            post = here.stand.client.post
            answer = await post("/predict/plain", json={"text": "beta"}, headers=headers)
            told.append(answer.status_code)
        current = CallersSnapshot.load(here.stand.folder)
        assert current is not None
        msgspec.structs.replace(current, number=2).save(here.stand.folder)
        assert here.stand.callers.look()
        answer = await post(
            "/predict/plain", json={"text": "b"}, headers=bearer(here.holders[0].proof)
        )
        return [*told, answer.status_code]

    assert with_closed(work, token_quota) == [200, 200, 200, 429, 429, 200, 429]


@pytest.mark.parametrize(("first", "place", "allowed"), [(0, 0, 1), (0, 1, 0), (1, 0, 0)])
def test_a_gateway_lets_in_its_own_part_of_a_quota(first: int, place: int, allowed: int) -> None:
    """One request a minute among four gateways is the first one's to let in."""

    async def work(here: Closed) -> int:
        here.stand.callers = Callers(here.stand.folder, here.stand.folder / "pepper", place=place)
        assert here.stand.callers.look()
        here.stand.app = here.stand._app()
        asked: dict[str, Any] = {"json": {"text": "beta"}, "headers": bearer(here.holders[0].proof)}
        told = [(await here.stand.client.post("/predict/plain", **asked)) for _ in range(3)]
        return sum(one.status_code == 200 for one in told)

    def make(stand: Stand) -> Any:
        snapshot, holders = one_key("default/*:infer", requests=1)(stand)
        return msgspec.structs.replace(snapshot, gateways=4, first=first), holders

    assert with_closed(work, make) == allowed


def test_a_new_snapshot_ends_what_it_does_not_name_and_keeps_what_was_used_up() -> None:
    async def work(here: Closed) -> None:
        stand, key = here.stand, here.holders[0].proof
        asked: dict[str, Any] = {"json": {"text": "beta"}, "headers": bearer(key)}
        post = stand.client.post
        assert (await post("/predict/plain", **asked)).status_code == 200
        _, entry = a_key(stand.folder, "ours", "default/*:infer", requests=2)
        CallersSnapshot(number=2, keys={"ours": entry}).save(stand.folder)
        assert stand.callers.look()
        told = [(await post("/predict/plain", **asked)).status_code for _ in range(2)]
        assert told == [200, 429]
        CallersSnapshot(number=3).save(stand.folder)
        assert stand.callers.look()
        assert (await post("/predict/plain", **asked)).status_code == 401
        # An older one brings nobody back.
        CallersSnapshot(number=2, keys={"ours": entry}).save(stand.folder)
        assert not stand.callers.look()
        assert (await post("/predict/plain", **asked)).status_code == 401
        assert stand.callers.as_json()["broken"] == 1

    with_closed(work, one_key("default/*:infer", requests=2))


def test_a_key_that_expires_is_known_no_longer_though_it_was_just_seen() -> None:
    async def work(here: Closed) -> None:
        asked: dict[str, Any] = {"json": {"text": "beta"}, "headers": bearer(here.holders[0].proof)}
        post = here.stand.client.post
        assert (await post("/predict/plain", **asked)).status_code == 200
        await asyncio.sleep(1.1)
        answer = await post("/predict/plain", **asked)
        assert answer.status_code == 401 and "expired" in answer.json()["error"]

    with_closed(work, one_key("default/*:infer", expires=time.time() + 1))


def test_nobody_is_let_in_before_it_is_known_who_may() -> None:
    async def work(here: Closed) -> None:
        empty = here.stand.folder / "empty"
        empty.mkdir()
        here.stand.callers = Callers(empty, here.stand.folder / "pepper")
        here.stand.app = here.stand._app()
        asked: dict[str, Any] = {"json": {"text": "beta"}, "headers": bearer(here.holders[0].proof)}
        answer = await here.stand.client.post("/predict/plain", **asked)
        assert answer.status_code == 503 and "retry-after" in answer.headers
        (empty / "callers.json").write_text('{"number": 1, "keys": 7}')
        assert not here.stand.callers.look()
        assert (await here.stand.client.post("/predict/plain", **asked)).status_code == 503

    with_closed(work, one_key("default/*:infer"))


def test_a_gateway_without_the_pepper_says_so_and_makes_none(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async def work(here: Closed) -> None:
        asked: dict[str, Any] = {"json": {"text": "beta"}, "headers": bearer(here.holders[0].proof)}
        post, path = here.stand.client.post, here.stand.folder / "pepper"
        kept = path.read_bytes()
        path.unlink()
        told = [(await post("/predict/plain", **asked)).status_code for _ in range(3)]
        assert told == [503, 503, 503] and not path.exists()
        assert capfd.readouterr().err.count("gateway: There is no pepper at") == 1
        path.write_bytes(kept)
        assert (await post("/predict/plain", **asked)).status_code == 200

    with_closed(work, one_key("default/*:infer"))


def test_a_namespace_says_what_is_recorded_of_its_endpoints() -> None:
    async def work(here: Closed) -> None:
        callers = here.stand.callers
        assert callers.namespace_of("docs-a") == "shop"
        assert callers.policy("plain")[0] == "default"
        assert callers.recording("shop").days == 30
        assert callers.recording("nowhere") == callers.recording("default")

    with_closed(work, one_key("default/*:infer"))


def test_who_was_seen_is_told_for_a_minute_and_summed_up_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = {}
    proofs = []
    for name in ("anna", "bobb"):
        proof, entries[name] = a_key(tmp_path, name, "default/*:infer")
        proofs.append(Headers([(b"x-api-key", proof.encode())]))
    CallersSnapshot(number=1, keys=entries).save(tmp_path)
    here = Callers(tmp_path, tmp_path / "pepper")
    assert here.look() and here.as_json()["used"] == {}
    monkeypatch.setattr("serving.gateway.callers.SEEN_SECONDS", 0.0)
    for one in proofs:
        here.prove(one)
    here.prove(proofs[0]).used -= 61.0
    assert list(here.as_json()["used"]) == ["bobb"]  # type: ignore[call-overload]
    monkeypatch.setattr("serving.gateway.callers.SEEN_SECONDS", 60.0)
    here.prove(proofs[0])
    assert list(here.as_json()["used"]) == ["bobb"]  # type: ignore[call-overload]


def test_a_key_that_was_seen_before_costs_little() -> None:
    async def work(here: Closed) -> float:
        headers = Headers([(b"authorization", f"Bearer {here.holders[0].proof}".encode())])
        callers, best = here.stand.callers, 1.0
        for _ in range(5):
            started = time.perf_counter()
            for _ in range(2_000):
                callers.prove(headers).enter("plain")
            best = min(best, (time.perf_counter() - started) / 2_000)
        return best * 1e6

    assert with_closed(work, one_key("default/*:infer", requests=10**9)) < 10
