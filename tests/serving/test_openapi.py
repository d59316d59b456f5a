"""The OpenAPI document says what the gateway really answers, no more and no less."""

import asyncio
import json
import re
from importlib.metadata import version
from typing import Any

import httpx
import jsonschema
import pytest

from infra.callers.snapshot import CallersSnapshot
from release.routes import Route
from serving.gateway.inputs import HIGHEST_ID, MOST_CHARACTERS, MOST_IDS, MOST_TEXTS
from serving.gateway.outputs import ALL, CLASSIFIES, EMBEDS, OUTPUTS, TAGS
from serving.gateway.pages import OPENAPI
from tests.fakes.wire_replica import Stand, standing, variant
from tests.serving.tier import body

DOCUMENT: dict[str, Any] = json.loads(OPENAPI.read_bytes())
SCHEMAS = DOCUMENT["components"]["schemas"]
SENT = {
    "/v2/models/{model}/infer": body("has beta"),
    "/v2/models/{model}/versions/{version}/infer": body("has beta")
    | {"outputs": [{"name": name} for name in OUTPUTS[CLASSIFIES]]},
    "/v1/embeddings": {"model": "tiny", "input": "beta"},
    "/predict/{endpoint}": {"texts": ["beta"], "probabilities": True},
}
NAMED = {"model": "tiny", "endpoint": "tiny", "version": "1"}


def test_every_address_is_in_the_document_and_nothing_else() -> None:
    async def addresses() -> set[tuple[str, str]]:
        async with standing() as stand:
            return {(one.path, one.method.lower()) for one in stand.app.addresses}

    documented = {(path, method) for path, one in DOCUMENT["paths"].items() for method in one}
    assert documented == asyncio.run(addresses())


def whole(found: Any) -> Any:
    """Follow references."""
    while isinstance(found, dict) and "$ref" in found:
        node: Any = DOCUMENT
        for part in found["$ref"].removeprefix("#/").split("/"):
            node = node[part]
        found = node
    return found


def test_every_reference_leads_somewhere_and_everything_is_used() -> None:
    references = re.findall(r'"\$ref": "(#/[^"]+)"', OPENAPI.read_text(encoding="utf-8"))
    for one in references:
        assert whole({"$ref": one})
    defined = {
        f"#/components/{kind}/{name}"
        for kind, names in DOCUMENT["components"].items()
        for name in names
        if kind != "securitySchemes"
    }
    assert defined == set(references)
    schemes = {name for one in DOCUMENT["security"] for name in one}
    assert schemes == DOCUMENT["components"]["securitySchemes"].keys()


def check(answer: httpx.Response, documented: Any) -> None:
    """Hold an answer against what the document says of it."""
    said = whole(documented[str(answer.status_code)])
    kind = answer.headers["content-type"].split(";")[0]
    assert kind in said["content"]
    assert answer.headers.keys() - {"content-type", "content-length"} <= said["headers"].keys()
    if "retry-after" in said["headers"]:
        assert answer.headers["retry-after"] == "1"
    if kind == "application/json":
        schema = {**said["content"][kind]["schema"], "components": DOCUMENT["components"]}
        jsonschema.Draft202012Validator(schema).validate(answer.json())


@pytest.mark.parametrize("path", DOCUMENT["paths"])
def test_answers_are_as_documented(path: str) -> None:
    (method,) = DOCUMENT["paths"][path]
    operation = DOCUMENT["paths"][path][method]

    async def work(stand: Stand) -> None:
        address = path.format_map(NAMED)
        sent: dict[str, Any] = {"json": SENT[path]} if path in SENT else {}
        before = await stand.client.request(method, address, **sent)
        assert before.status_code in (200, 404, 503)
        check(before, operation["responses"])
        stand.table.take({"tiny": Route(endpoint="tiny", generation=0)})
        early = await stand.client.request(method, address, **sent)
        assert early.status_code in (200, 404, 503)
        check(early, operation["responses"])
        await stand.serve(variant(1), task=EMBEDS if "embeddings" in path else CLASSIFIES)
        answer = await stand.client.request(method, address, **sent)
        assert answer.status_code == 200, answer.text
        check(answer, operation["responses"])
        wrong = await stand.client.request("DELETE", address)
        assert wrong.status_code == 405
        assert wrong.headers["allow"] == ("POST" if method == "post" else "GET, HEAD")
        named = {one["name"] for one in map(whole, operation["parameters"])}
        assert set(re.findall(r"\{(\w+)\}", path)) <= named
        if path in SENT:
            schema = whole(operation["requestBody"]["content"]["application/json"]["schema"])
            schema = {**schema, "components": DOCUMENT["components"]}
            jsonschema.Draft202012Validator(schema).validate(SENT[path])
            for content in (b"{", b" " * (2**20 + 1)):
                refused = await stand.client.post(address, content=content)
                check(refused, operation["responses"])
            refused = await stand.client.post(address, headers={"content-encoding": "br"})
            check(refused, operation["responses"])

    async def stood() -> None:
        async with standing() as stand:
            stand.status = {
                "gateway": "g",
                "pid": 1,
                "grpc": "",
                "number": 1,
                "endpoints": [],
                "broken_snapshots": 0,
                "callers": {"open": True, "number": 0, "broken": 0, "used": {}},
                "calls": {"recorded": 0, "refused": 0, "trouble": ""},
            }
            await work(stand)

    asyncio.run(stood())


def test_who_is_let_in_is_documented_as_it_is() -> None:
    async def work() -> None:
        async with standing() as stand:
            stand.ask_who(CallersSnapshot(number=1))
            for address in stand.app.addresses:
                operation = DOCUMENT["paths"][address.path][address.method.lower()]
                assert (operation.get("security") == []) == address.public
                if not address.public:
                    assert {"401", "403"} <= operation["responses"].keys()
                    answer = await stand.client.request(
                        address.method, address.path.format_map(NAMED)
                    )
                    assert answer.status_code == 401
                    check(answer, operation["responses"])

    asyncio.run(work())


def test_limits_and_version_are_the_codes_own() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    assert DOCUMENT["info"]["version"] == version("slipway")
    texts = SCHEMAS["PredictRequest"]["properties"]["texts"]
    assert (texts["maxItems"], texts["items"]["maxLength"]) == (MOST_TEXTS, MOST_CHARACTERS)
    assert SCHEMAS["InputTensor"]["properties"]["data"]["oneOf"][0]["maxItems"] == MOST_TEXTS
    of_one, of_several = SCHEMAS["EmbeddingRequest"]["properties"]["input"]["oneOf"][2:]
    assert (of_one["maxItems"], of_one["items"]["maximum"]) == (MOST_IDS, HIGHEST_ID)
    assert (of_several["maxItems"], of_several["items"]) == (MOST_TEXTS, of_one)
    assert tuple(SCHEMAS["WantedOutput"]["properties"]["name"]["enum"]) == ALL


@pytest.mark.parametrize("task", [TAGS, EMBEDS])
@pytest.mark.parametrize("path", ["/predict/{endpoint}", "/v2/models/{model}/infer"])
def test_answers_of_other_tasks_are_as_documented(path: str, task: str) -> None:
    async def work() -> None:
        async with standing() as stand:
            await stand.serve(variant(1), task=task)
            sent = {"text": "has beta"} if "predict" in path else body("has beta")
            answer = await stand.client.post(path.format_map(NAMED), json=sent)
            assert answer.status_code == 200
            check(answer, DOCUMENT["paths"][path]["post"]["responses"])
            described = await stand.client.get("/v2/models/tiny")
            check(described, DOCUMENT["paths"]["/v2/models/{model}"]["get"]["responses"])

    asyncio.run(work())
