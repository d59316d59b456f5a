"""What models of each task are asked and give back, in V2 and plainly."""

import asyncio
import json
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from serving.gateway.outputs import CLASSIFIES, EMBEDS, TAGS
from tests.fakes.wire_replica import BETA, Stand, standing, variant
from tests.serving.tier import body

INFER = "/v2/models/tiny/infer"
TAGGED = [{"start": 4, "end": 8, "label": "GREEK", "score": 0.75, "text": "beta"}]


def with_stand(task: str, work: Callable[[Stand], Awaitable[Any]]) -> Any:
    async def whole() -> Any:
        async with standing() as stand:
            await stand.serve(variant(1), task=task)
            return await work(stand)

    return asyncio.run(whole())


def post(task: str, path: str, **sent: Any) -> httpx.Response:
    found: httpx.Response = with_stand(task, lambda stand: stand.client.post(path, **sent))
    return found


def tensor(name: str, rows: list[list[int]], datatype: str = "INT64", **more: Any) -> Any:
    shape = [len(rows), len(rows[0])]
    return {"name": name, "shape": shape, "datatype": datatype, "data": rows, **more}


def refusal(task: str, path: str, **sent: Any) -> str:
    answer = post(task, path, **sent)
    assert answer.status_code == 400
    found: str = answer.json()["error"]
    return found


@pytest.mark.parametrize(
    ("task", "outputs"),
    [
        (TAGS, [{"name": "entities", "datatype": "BYTES", "shape": [-1]}]),
        (EMBEDS, [{"name": "embedding", "datatype": "FP32", "shape": [-1, 3]}]),
    ],
)
def test_metadata_names_the_outputs_of_the_task(task: str, outputs: Any) -> None:
    answer = with_stand(task, lambda stand: stand.client.get("/v2/models/tiny"))
    assert answer.json()["outputs"] == outputs
    assert answer.json()["parameters"]["task"] == task
    assert [one["name"] for one in answer.json()["inputs"]] == [
        *("text", "input_ids", "attention_mask")
    ]


def test_entities_are_json_arrays_with_their_words() -> None:
    (output,) = post(TAGS, INFER, json=body("has betas", "nothing", "数据 beta")).json()["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("entities", "BYTES", [3])
    first, second, third = map(json.loads, output["data"])
    assert (first, second) == (TAGGED, [])
    assert third == [{**TAGGED[0], "start": 3, "end": 7}]


def test_entities_of_token_ids_have_no_words() -> None:
    sent = {"inputs": [tensor("input_ids", [[1, BETA]])]}
    (output,) = post(TAGS, INFER, json=sent).json()["outputs"]
    assert json.loads(output["data"][0]) == [
        {"start": 1, "end": 2, "label": "GREEK", "score": 0.75}
    ]


def test_embeddings_are_fp32_in_json_and_binary() -> None:
    plain = post(EMBEDS, INFER, json=body("has beta", "alpha")).json()["outputs"]
    assert plain == [
        {
            "name": "embedding",
            "datatype": "FP32",
            "shape": [2, 3],
            "data": [2.0, 1.0, 0.25, 1.0, 0.0, 0.25],
        }
    ]
    sent = body("has beta", "alpha") | {"parameters": {"binary_data_output": True}}
    answer = post(EMBEDS, INFER, json=sent)
    length = int(answer.headers["inference-header-content-length"])
    assert struct.unpack("<6f", answer.content[length:]) == (2.0, 1.0, 0.25, 1.0, 0.0, 0.25)


@pytest.mark.parametrize(
    ("task", "name", "there"),
    [
        (CLASSIFIES, "embedding", "label, score, probabilities"),
        (TAGS, "label", "entities"),
        (EMBEDS, "entities", "embedding"),
        (EMBEDS, "other", "embedding"),
    ],
)
def test_an_output_that_the_task_has_not_is_refused_before_it_is_computed(
    task: str, name: str, there: str
) -> None:
    async def work(stand: Stand) -> None:
        sent = body("beta") | {"outputs": [{"name": name}]}
        answer = await stand.client.post(INFER, json=sent)
        assert answer.status_code == 400
        assert answer.json()["error"] == f"There is no output {name!r}. (there is {there})"
        assert stand.replicas[variant(1).digest].asked == []

    with_stand(task, work)


def test_plain_answers_hold_what_the_task_finds() -> None:
    assert post(TAGS, "/predict/tiny", json={"text": "has beta"}).json() == {"entities": TAGGED}
    several = post(TAGS, "/predict/tiny", json={"texts": ["has beta", "a"]}).json()
    assert several == [{"entities": TAGGED}, {"entities": []}]
    assert post(EMBEDS, "/predict/tiny", json={"text": "has beta"}).json() == {
        "embedding": [2.0, 1.0, 0.25]
    }
    sent = {"text": "a", "probabilities": True}
    assert "no output 'probabilities'" in refusal(EMBEDS, "/predict/tiny", json=sent)


@pytest.mark.parametrize("datatype", ["INT64", "INT32"])
def test_token_ids_are_asked_about_without_their_padding(datatype: str) -> None:
    ids = tensor("input_ids", [[1, BETA, 1], [1, 0, 0]], datatype)
    mask = tensor("attention_mask", [[1, 1, 1], [1, 0, 0]], "INT64")
    for inputs in ([ids, mask], [mask, ids]):
        (output,) = post(EMBEDS, INFER, json={"inputs": inputs}).json()["outputs"]
        assert output["data"] == [3.0, 1.0, 0.25, 1.0, 0.0, 0.25]
    (output,) = post(EMBEDS, INFER, json={"inputs": [ids]}).json()["outputs"]
    assert output["data"][3] == 3.0
    flat = {**ids, "data": [1, BETA, 1, 1, 0, 0]}
    assert post(CLASSIFIES, INFER, json={"inputs": [flat]}).json()["outputs"][0]["data"] == [
        *("beta", "alpha")
    ]


def test_token_ids_come_as_binary_tensors_too() -> None:
    raw = {
        "input_ids": struct.pack("<6i", 1, BETA, 1, 1, 0, 0),
        "attention_mask": struct.pack("<6q", 1, 1, 1, 1, 0, 0),
    }
    for names in (["input_ids", "attention_mask"], ["attention_mask", "input_ids"]):
        inputs = [
            {
                "name": name,
                "shape": [2, 3],
                "datatype": "INT32" if name == "input_ids" else "INT64",
                "parameters": {"binary_data_size": len(raw[name])},
            }
            for name in names
        ]
        plain = json.dumps({"inputs": inputs}).encode()
        answer = post(
            EMBEDS,
            INFER,
            content=plain + b"".join(raw[name] for name in names),
            headers={"inference-header-content-length": str(len(plain))},
        )
        assert answer.json()["outputs"][0]["data"] == [3.0, 1.0, 0.25, 1.0, 0.0, 0.25]


IDS = tensor("input_ids", [[1, 2]])


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ([], "The inputs are none"),
        ([tensor("other", [[1]])], "The inputs are 'other' 'INT64'"),
        ([IDS, IDS], "The inputs are 'input_ids' 'INT64', 'input_ids' 'INT64'"),
        ([IDS, tensor("token_type_ids", [[0, 0]])], "with or without attention_mask"),
        ([body("a")["inputs"][0], IDS], "The inputs are 'text' 'BYTES', 'input_ids' 'INT64'"),
        ([tensor("input_ids", [[1]], "FP32")], "INT64 or INT32, not 'FP32'"),
        ([IDS | {"shape": [2]}], "Shape [2] does not fit 2 token ids"),
        ([IDS | {"shape": [-1, -2]}], "Shape [-1, -2] does not fit"),
        ([IDS | {"shape": [1, 3]}], "Shape [1, 3] does not fit 2"),
        ([IDS, tensor("attention_mask", [[1]])], "attention_mask has shape [1, 1]"),
        ([IDS, tensor("attention_mask", [[1, 1]]) | {"data": [1]}], "has 1 values, of 2"),
        ([IDS, tensor("attention_mask", [[0, 1]])], "of row 0 is not ones"),
        ([IDS, tensor("attention_mask", [[2, 0]])], "of row 0 is not ones"),
        ([IDS, tensor("attention_mask", [[0, 0]])], "Row 0 has 0 token ids"),
        ([tensor("input_ids", [[1, -1]])], "holds '-1'"),
        ([tensor("input_ids", [[1, 2**31]])], "holds '2147483648'"),
        ([IDS | {"data": [1, True]}], "holds 'True'"),
        ([IDS | {"data": [[1], ["2"]]}], "holds '2'"),
        ([tensor("input_ids", [[1]] * 65)], "65 texts in one request, of 64"),
        ([tensor("input_ids", [[1] * 17])], "17 tokens, of 16"),
        ([tensor("input_ids", [[1] * 32_769])], "it must have 1..32768"),
        ([IDS, IDS | {"parameters": {"shared_memory_region": "r"}}], "shared memory"),
    ],
)
def test_wrong_tensors_are_told_what_is_wrong(inputs: Any, said: str) -> None:
    assert said in refusal(CLASSIFIES, INFER, json={"inputs": inputs})


@pytest.mark.parametrize(
    ("sizes", "raw", "said"),
    [
        ((8, 8), b"\0" * 15, "binary_data_size is 8, of 7 bytes"),
        ((9, 7), b"\0" * 16, "9 bytes are no whole number of INT64"),
        ((17, 0), b"\0" * 16, "binary_data_size is 17, of 16 bytes left"),
        ((-1, 17), b"\0" * 16, "binary_data_size is -1"),
        ((True, 15), b"\0" * 16, "binary_data_size is True"),
    ],
)
def test_binary_tensors_that_lie_are_refused(sizes: Any, raw: bytes, said: str) -> None:
    names = ("input_ids", "attention_mask")
    inputs = [
        {
            "name": name,
            "shape": [1, 1],
            "datatype": "INT64",
            "parameters": {"binary_data_size": size},
        }
        for name, size in zip(names, sizes, strict=True)
    ]
    plain = json.dumps({"inputs": inputs}).encode()
    headers = {"inference-header-content-length": str(len(plain))}
    assert said in refusal(CLASSIFIES, INFER, content=plain + raw, headers=headers)
