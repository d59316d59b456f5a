"""No word of a client's is kept in what went wrong, wherever in a request it stood.

The lines of calls are for ever: whatever a sentence about a request quotes could never be erased.
"""

import ast
import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from infra.callers.snapshot import CallersSnapshot
from infra.calls.indexing import Indexer
from infra.calls.sqlite import CallStore
from infra.calls.vault import Vault
from release.callers import Capture
from release.redaction import unquoted
from serving.gateway.grpc import inference_pb2 as pb
from serving.replica.messages import Kind
from tests.fakes.callers import a_key
from tests.fakes.wire_replica import Stand, standing, variant
from tests.serving.test_callers import OWNERS, POSTS, Closed, Holder, with_closed
from tests.serving.test_grpc import Client, asking, with_client

ROOT = Path(__file__).parents[2]
CLASSIFIES, EMBEDS = "text-classification", "feature-extraction"
MARKS = ("Quxmarker", "王芳住静安区")
SHAPES = ("{}", "it's {}, isn't it", "{}\" and '{}", "a`{}`[{}]", "\\'{}\\\"")
"""What stands around a mark, so that its quotation seems to end."""

TEXT = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}
IDS = {"name": "input_ids", "shape": [1, 1], "datatype": "INT64", "data": [[1]]}
MASK = {**IDS, "name": "attention_mask"}
BODIES: dict[str, list[dict[str, Any]]] = {
    "/predict/tiny": [{"text": "a", "probabilities": True}, {"texts": ["a", "b"]}],
    "/v2/models/tiny/infer": [
        {
            "id": "1",
            "inputs": [{**TEXT, "parameters": {"binary_data_size": 5}}],
            "outputs": [{"name": "label", "parameters": {"binary_data": False}}],
            "parameters": {"binary_data_output": False},
        },
        {"inputs": [TEXT]},
        {"inputs": [IDS, MASK]},
    ],
    "/v1/embeddings": [
        {"model": "tiny", "input": ["a"], "encoding_format": "float", "dimensions": 3},
        {"model": "tiny", "input": [[1]]},
    ],
}
HEADERS = (
    *("x-slipway-deadline-ms", "content-encoding", "content-length", "content-type", "accept"),
    *("inference-header-content-length", "x-slipway-key", "authorization", "user-agent", "cookie"),
)
"""All that are read, and others. A request's id is kept: it is for finding the call again."""


def changed(value: Any, said: str) -> Iterator[Any]:
    """Give a body with a mark in the place of each thing in it, of each name, and beside them."""
    yield from (said, [said], {said: said}, [[1, said]])
    if isinstance(value, dict):
        yield {**value, said: said}
        for name, inner in value.items():
            others = {one: other for one, other in value.items() if one != name}
            yield {**others, said: inner}
            # An id that is one is kept, wherever it is given.
            inners = (one for one in changed(inner, said) if (name, one) != ("id", said))
            yield from ({**value, name: one} for one in inners)
    elif isinstance(value, list):
        yield [*value, said]
        for at, inner in enumerate(value):
            yield from ([*value[:at], one, *value[at + 1 :]] for one in changed(inner, said))


def whole(mark: str) -> list[str]:
    return [shape.format(mark, mark) for shape in SHAPES]


def kept(folder: Path) -> bytes:
    """Give all that is in the journal, and in a call store that is made of it."""
    store = CallStore(folder / "calls.db")
    Indexer(folder / "journal", store, Vault(folder / "secrets")).fold()
    store.close()
    places = (*folder.rglob("*.jsonl"), *folder.glob("calls.db*"))
    return b"".join(path.read_bytes() for path in places)


def none_of(mark: str, folder: Path) -> None:
    found = kept(folder)
    assert b'"outcome":"refused"' in found
    for form in (mark.encode(), json.dumps(mark)[1:-1].encode(), mark.lower().encode()):
        at = found.find(form)
        assert at < 0, found[max(0, at - 300) : at + 100].decode(errors="replace")


async def ask_all(stand: Stand, mark: str) -> None:
    for said in whole(mark):
        for path, bodies in BODIES.items():
            for one in (one for body in bodies for one in changed(body, said)):
                plain = json.dumps(one, ensure_ascii=False)
                await stand.client.post(path, content=plain.encode())
            await ask_around(stand, path, json.dumps(bodies[0]).encode(), said.encode())
        for path in ("/predict/{}", "/v2/models/tiny/versions/{}/infer", "/v2/models/{}/infer"):
            await stand.client.post(path.format(said), json={"text": "a"})
    for path in BODIES if mark.isascii() else ():
        await stand.client.request(mark, path)


async def ask_around(stand: Stand, path: str, body: bytes, said: bytes) -> None:
    """Say it instead of a body, after one, and in headers."""
    await stand.client.post(path, content=said)
    length = {"inference-header-content-length": str(len(body))}
    await stand.client.post(path, content=body + said, headers=length)
    for name in HEADERS:
        await stand.client.post(path, content=body, headers=[(name.encode(), said)])


@pytest.mark.parametrize("task", [CLASSIFIES, EMBEDS])
@pytest.mark.parametrize("mark", MARKS)
def test_http_keeps_no_word_of_a_clients(
    mark: str, task: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async def work() -> None:
        async with standing(capture=Capture.NONE) as stand:
            await stand.serve(variant(1), task=task)
            await ask_all(stand, mark)
            none_of(mark, stand.folder)

    asyncio.run(work())
    assert mark not in "".join(capfd.readouterr())


def requests(said: str) -> Iterator[pb.ModelInferRequest]:
    yield asking(said, raw=True)
    yield asking("a", outputs=[said])
    yield asking("a", model_version=said)
    for name in ("name", "datatype"):
        for base in (asking("a"), asking("a", raw=True)):
            for value in (said, "input_ids"):
                setattr(base.inputs[0], name, value)
                yield base
    for name in (said, "shared_memory_region"):
        request = asking("a")
        request.inputs[0].name = said
        request.inputs[0].parameters[name].string_param = said
        yield request
    several = asking("a")
    several.inputs.add(name=said, datatype=said, shape=[1])
    yield several
    both = asking("a", raw=True)
    both.inputs[0].name = said
    both.inputs[0].contents.bytes_contents.append(said.encode())
    yield both
    half = asking("a")
    half.inputs[0].contents.bytes_contents[0] = said.encode() + b"\xff"
    yield half


@pytest.mark.parametrize("mark", MARKS)
def test_grpc_keeps_no_word_of_a_clients(mark: str, capfd: pytest.CaptureFixture[str]) -> None:
    async def work(stand: Stand, client: Client) -> None:
        for said in whole(mark):
            for request in requests(said):
                with suppress(grpc.aio.AioRpcError):
                    await client.infer(request)
        none_of(mark, stand.folder)

    with_client(work)
    assert mark not in "".join(capfd.readouterr())


def a_holder(stand: Stand) -> tuple[CallersSnapshot, list[Holder]]:
    """One key, for one endpoint alone."""
    key, entry = a_key(stand.folder, "k0001", "default/docs-a:infer")
    snapshot = CallersSnapshot(number=1, keys={"k0001": entry}, owners=OWNERS)
    return snapshot, [Holder(key, "default", "docs-a", frozenset())]


@pytest.mark.parametrize("mark", MARKS)
def test_a_proven_caller_s_words_are_kept_no_more_than_a_stranger_s(mark: str) -> None:
    async def work(here: Closed) -> None:
        (holder,) = here.holders
        for ask in POSTS.values():
            for said in whole(mark):
                told, _ = await ask(here, said, holder.proof)
                assert told == "refused"
        assert len(here.stand.records) == len(POSTS) * len(SHAPES)
        none_of(mark, here.stand.folder)

    with_closed(work, a_holder)


def test_the_client_is_told_its_own_words_all_the_same() -> None:
    async def work() -> None:
        async with standing(capture=Capture.NONE) as stand:
            await stand.serve(variant(1))
            body = {"inputs": [{**IDS, "data": [["王芳，1990年生"]]}]}
            answer = await stand.client.post("/v2/models/tiny/infer", json=body)
            assert "Row 0 holds '王芳，1990年生', which is no token id." in answer.text
            (line,) = stand.records
            assert line.error == "Row 0 holds <11 characters>, which is no token id."

    asyncio.run(work())


def test_what_a_replica_says_keeps_its_sense_and_no_quotation() -> None:
    async def work() -> None:
        async with standing(capture=Capture.NONE) as stand:
            await stand.serve(variant(1))
            await stand.client.post("/predict/tiny", json={"text": "a " * 30})
            stand.replicas[variant(1).digest].fails = Kind.INTERNAL
            await stand.client.post("/predict/tiny", json={"text": "a"})
            long, fails = stand.records
            assert long.error == "A text has 30 tokens, of 16 at most."
            assert fails.error == "It fails, as it should."

    asyncio.run(work())


@pytest.mark.parametrize(
    ("sentence", "left"),
    [
        ("It holds 'a' and \"b\".", "It holds <11 characters>."),
        ("It holds 'a\\'b'.", "It holds <6 characters>."),
        ("the client's own", "the client's own"),
        ("Shape [13812345678] fits no 13812345678.", "Shape <13 characters> fits no <11 digits>."),
        ("王芳 ann 李四 is here", "<9 characters> is here"),
        ("", ""),
    ],
)
def test_what_is_quoted_is_told_by_its_length(sentence: str, left: str) -> None:
    assert unquoted(sentence) == left
    assert unquoted(left) == left


OURS = {
    # Counts, limits and places that we made.
    *("items", "number", "row", "most", "length", "size", "width", "headers.length()"),
    *("self.taken", "self._most"),
    # Long numbers are told by their length, lists stand between brackets.
    *("list(shape[:8])", "list(mask.shape[:8])", "list(ids.shape[:8])", "request.dimensions"),
    *("call.version", "version or 'yet'"),
    # Names of what is served, of types and codings that we read, and of our own options.
    *("coding", "datatype", "task", "name", "self._route.endpoint", "endpoint.route.endpoint"),
    *("asked.ref",),
    *("request.model", "served", "known", "', '.join(there)", "' or '.join(allowed)"),
    *("type(text).__name__", "action", "owner"),
    # Sentences of ours, whose quotations are seen where they are made; and of libraries, which
    # quote what is a client's.
    *("said", "hint", "both", "given", "lacks", "error", "_unreadable(error, body)"),
    *("str(error)[:200]", "_shown(size)"),
    # Told to the client as a hint, of which nothing is kept.
    "endpoint[:80]",
}
"""What stands in sentences about requests without being quoted, and is no client's word."""

SENTENCES = (
    *("bodies", "dispatch", "exchange", "inputs", "openai", "outputs", "passes", "predict"),
    *("tensors", "v2", "grpc/messages"),
)


@pytest.mark.parametrize("module", SENTENCES)
def test_whatever_a_sentence_about_a_request_shows_is_quoted_or_ours(module: str) -> None:
    tree = ast.parse((ROOT / "serving" / "gateway" / f"{module}.py").read_text())
    for sentence in (one for one in ast.walk(tree) if isinstance(one, ast.JoinedStr)):
        parts = [one for one in sentence.values if isinstance(one, ast.FormattedValue)]
        is_one = any(
            " " in str(one.value) for one in sentence.values if isinstance(one, ast.Constant)
        )
        for one in parts if is_one else ():
            said = ast.unparse(one.value)
            plain = said.startswith("len(") or said.isupper() or said in OURS
            hint = f"{module}:{one.lineno} shows {said}: quote it (!r), or say here why it is ours"
            assert one.conversion == ord("r") or plain, hint
