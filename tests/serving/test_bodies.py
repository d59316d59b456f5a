"""Bodies that lie: binary tensors, compressed streams, headers."""

import asyncio
import gzip
import json
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.gateway.bodies import (
    MOST_BODY,
    MOST_COMING,
    ROOM,
    Headers,
    Message,
    inflate,
    read_body,
)
from serving.gateway.dispatch import Refusal
from serving.gateway.inputs import MOST_TEXTS, Items
from serving.gateway.openai import items_of as openai_items
from serving.gateway.openai import read as read_openai
from serving.gateway.predict import read as read_predict
from serving.gateway.predict import texts_of as predict_texts
from serving.gateway.tensors import from_numbers, from_texts, split, texts_in
from serving.gateway.v2 import InferRequest, Tensor, items_of, read, read_index, wished
from tests.fakes.wire_replica import standing, variant

T = TypeVar("T")
TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=MOST_TEXTS)
LENGTHS = st.one_of(st.integers(0, 40), st.sampled_from([2**31 - 1, 2**31, 2**32 - 1]))
LIES = st.lists(
    st.one_of(st.binary(max_size=40), LENGTHS.map(lambda n: struct.pack("<I", n))), max_size=60
).map(b"".join)


def outcome(work: Callable[[], T]) -> tuple[int, T | None]:
    """The status with which something is refused, else what it gives."""
    try:
        return 200, work()
    except Refusal as error:
        return error.status, None


@given(TEXTS)
def test_a_binary_tensor_gives_its_texts_back(texts: list[str]) -> None:
    assert texts_in(from_texts(texts), MOST_TEXTS) == texts


@given(LIES)
def test_lying_bytes_are_refused_or_read_exactly(raw: bytes) -> None:
    status, texts = outcome(lambda: texts_in(raw, MOST_TEXTS))
    if texts is None:
        assert status == 400
    else:
        assert len(texts) <= MOST_TEXTS
        assert from_texts(texts) == raw


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"\x05", "Element 0 ends within its length"),
        (b"\x00\x00\x00\x00\x01\x00", "Element 1 ends within its length"),
        (b"\xff\xff\xff\xffabc", "claims 4294967295 bytes, of 3 that are left"),
        (b"\x04\x00\x00\x00abc", "claims 4 bytes, of 3"),
        (b"\x02\x00\x00\x00\xff\xfe", "Element 0 is not UTF-8"),
        (b"\x03\x00\x00\x00\xed\xa0\x80", "Element 0 is not UTF-8"),
        (b"\x00\x00\x00\x00" * 65, "More than 64 texts"),
    ],
)
def test_each_lie_is_named(raw: bytes, said: str) -> None:
    with pytest.raises(Refusal, match=said) as found:
        texts_in(raw, MOST_TEXTS)
    assert found.value.status == 400


def test_a_million_empty_elements_cost_nothing() -> None:
    raw = b"\x00" * MOST_BODY
    tracemalloc.start()
    with pytest.raises(Refusal, match="More than 64"):
        texts_in(raw, MOST_TEXTS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


def test_numbers_are_little_endian_fp32() -> None:
    assert from_numbers([1.0, 0.5]) == b"\x00\x00\x80\x3f\x00\x00\x00\x3f"


def test_a_header_longer_than_the_body_is_refused() -> None:
    assert split(b"{}abc", 2) == (b"{}", b"abc")
    assert split(b"{}abc", None) == (b"{}abc", b"")
    with pytest.raises(Refusal, match="is 6, of 5 bytes"):
        split(b"{}abc", 6)


def binary(size: object, **more: object) -> InferRequest:
    parameters = {"binary_data_size": size, **more}
    tensor = Tensor(name="text", shape=[1], datatype="BYTES", parameters=parameters)
    return InferRequest(inputs=[tensor])


@pytest.mark.parametrize("size", [True, -1, 4, 6, 2**70, "5", 5.5, [5], {}])
def test_a_size_that_is_not_the_rest_is_refused(size: object) -> None:
    raw = from_texts(["a"])
    assert items_of(binary(5), raw) == Items(texts=["a"])
    with pytest.raises(Refusal, match="of 5 bytes after the JSON"):
        items_of(binary(size), raw)


def test_binary_and_plain_do_not_mix() -> None:
    both = binary(5)
    both.inputs[0].data = ["b"]
    with pytest.raises(Refusal, match="both data and binary_data_size"):
        items_of(both, from_texts(["a"]))
    none = InferRequest(inputs=[Tensor(name="text", shape=[1], datatype="BYTES", data=["b"])])
    with pytest.raises(Refusal, match="3 bytes come after the JSON"):
        items_of(none, b"abc")
    with pytest.raises(Refusal, match="shared memory"):
        items_of(binary(5, shared_memory_region="r"), from_texts(["a"]))


@pytest.mark.parametrize("texts", [["\0"], ["a\0b"], ["\ufeff数据"], ["\U0010ffff"]])
def test_odd_but_true_texts_pass(texts: list[str]) -> None:
    raw = from_texts(texts)
    assert items_of(binary(len(raw)), raw) == Items(texts=texts)


READERS: list[Callable[[bytes], Any]] = [
    lambda body: items_of(read(body)),
    lambda body: wished(read(body), ""),
    lambda body: predict_texts(read_predict(body)),
    lambda body: openai_items(read_openai(body)),
    read_index,
]
PARTS = ["inputs", "outputs", "name", "shape", "datatype", "BYTES", "data", "parameters", "text"]
PARTS += [
    "model",
    "input",
    "input_ids",
    "attention_mask",
    "INT64",
    "texts",
    "probabilities",
    "ready",
    "binary_data_size",
    "binary_data_output",
    "label",
]
JSONS = st.recursive(
    st.one_of(
        *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
        st.sampled_from(PARTS),
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(PARTS), inner, max_size=6)
    ),
)


@given(st.one_of(st.binary(max_size=60), JSONS.map(lambda one: json.dumps(one).encode())))
def test_whatever_is_sent_is_read_or_refused(body: bytes) -> None:
    for read_one in READERS:
        status, _ = outcome(partial(read_one, body))
        assert status in (200, 400)


def test_lone_surrogates_are_refused() -> None:
    for body in (rb'{"text": "\ud800"}', b'{"text": "\xed\xa0\x80"}'):
        with pytest.raises(Refusal) as found:
            predict_texts(read_predict(body))
        assert found.value.status == 400


@given(st.binary(max_size=2000))
def test_what_was_compressed_comes_back(plain: bytes) -> None:
    assert inflate(gzip.compress(plain), "gzip") == plain
    assert inflate(zlib.compress(plain), "deflate") == plain


@given(st.binary(max_size=200), st.integers(0, 60), st.integers(0, 255))
def test_a_damaged_stream_is_refused_or_harmless(plain: bytes, at: int, byte: int) -> None:
    damaged = bytearray(gzip.compress(plain))
    damaged[at % len(damaged)] = byte
    status, found = outcome(lambda: inflate(bytes(damaged), "gzip", 200))
    assert status in (200, 400, 413)
    assert found is None or len(found) <= 200


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "ends before its end"),
        (gzip.compress(b"alpha")[:-1], "ends before its end"),
        (gzip.compress(b"alpha") + b"x", "goes on after its end"),
        (gzip.compress(b"") * 50_000, "goes on after its end"),
        (b"plain", "is not gzip"),
    ],
)
def test_a_stream_is_one_and_whole(body: bytes, said: str) -> None:
    with pytest.raises(Refusal, match=said) as found:
        inflate(body, "gzip")
    assert found.value.status == 400


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_bomb_is_stopped_at_the_limit(coding: str) -> None:
    machine = zlib.compressobj(9, zlib.DEFLATED, 31 if coding == "gzip" else 15)
    bomb = machine.compress(bytes(400 * MOST_BODY)) + machine.flush()
    assert len(bomb) < MOST_BODY
    tracemalloc.start()
    with pytest.raises(Refusal, match="once inflated") as found:
        inflate(bomb, coding)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.value.status == 413
    assert peak < 8 * MOST_BODY


@pytest.mark.parametrize("given_", ["x", "-1", "1e3", "9" * 5000, "٣", "1_0"])
def test_a_header_that_is_no_length_is_refused(given_: str) -> None:
    name, value = b"inference-header-content-length", given_.encode()
    with pytest.raises(Refusal, match="must be a number of bytes"):
        Headers([(name, value)]).json_length()
    assert Headers([(b"content-length", value)]).length() == 0
    assert Headers([(name, b"17")]).json_length() == 17


ROUGH = st.one_of(
    LIES.map(
        lambda raw: (
            b'{"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "parameters": '
            b'{"binary_data_size": %d}}]}' % len(raw),
            raw,
        )
    ),
    st.tuples(st.binary(max_size=30), st.binary(max_size=30)),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(ROUGH, min_size=5, max_size=20), st.sampled_from(["", "gzip", "deflate", "br"]))
def test_no_body_makes_the_gateway_fail(bodies: list[tuple[bytes, bytes]], coding: str) -> None:
    packs: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}
    pack = packs.get(coding, bytes)

    async def ask_all() -> None:
        async with standing() as stand:
            await stand.serve(variant(1))
            for plain, raw in bodies:
                length = {"inference-header-content-length": str(len(plain))}
                answer = await stand.client.post(
                    "/v2/models/tiny/infer",
                    content=pack(plain + raw),
                    headers=length | {"content-encoding": coding},
                )
                assert answer.status_code in (200, 400, 415)

    asyncio.run(ask_all())


def test_bodies_that_never_end_hold_no_more_than_there_is_room_for() -> None:
    many = MOST_COMING // MOST_BODY + 6

    def client() -> Callable[[], Any]:
        sent = False

        async def receive() -> Message:
            nonlocal sent
            if sent:
                await asyncio.sleep(60)
            sent = True
            return {"type": "http.request", "body": bytes(MOST_BODY), "more_body": True}

        return receive

    async def work() -> list[int]:
        coming = [asyncio.create_task(read_body(client(), Headers([]))) for _ in range(many)]
        await asyncio.sleep(0.2)
        held = ROOM.taken
        ended = [one.exception() for one in coming if one.done()]
        for one in coming:
            one.cancel()
        await asyncio.gather(*coming, return_exceptions=True)
        assert held <= MOST_COMING
        return [one.status for one in ended if isinstance(one, Refusal)]

    assert asyncio.run(work()) == [503] * 6
    assert ROOM.taken == 0
