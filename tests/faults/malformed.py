"""What nobody would send who means well, as hypothesis makes it."""

import json
import struct
from typing import Any

from hypothesis import strategies as st

from serving.gateway.grpc import inference_pb2 as pb

POSTS = [
    "/v2/models/classifier/infer",
    "/v2/models/tagger/versions/2/infer",
    "/v2/models/embedder/infer",
    "/predict/classifier",
    "/predict/tagger",
    "/predict/embedder",
    "/v1/embeddings",
    "/v2/repository/index",
]
GETS = ["/v2", "/v2/health/ready", "/v2/models/classifier", "/v1/models", "/-/status", "/metrics"]
CALLS = {
    "inference.GRPCInferenceService": [
        *("ModelInfer", "ModelReady", "ModelMetadata", "ServerLive", "ServerReady"),
        *("ServerMetadata", "RepositoryIndex", "ModelStreamInfer"),
    ],
    "grpc.health.v1.Health": ["Check", "List"],
}

WORDS = [
    *("inputs", "outputs", "name", "shape", "datatype", "data", "parameters", "id", "text"),
    *("texts", "probabilities", "ready", "binary_data_size", "binary_data_output", "binary_data"),
    *("model", "input", "encoding_format", "dimensions", "input_ids", "attention_mask", "BYTES"),
    *("INT64", "INT32", "FP32", "classifier", "embedder", "label", "embedding", "base64", "float"),
]
NUMBERS = st.one_of(
    st.integers(-2, 70),
    st.sampled_from([2**31, 2**32 - 1, 2**63, -(2**63), 2**64, 10**400, 1.5, 1e308]),
)
TEXTS = st.one_of(
    st.sampled_from([*WORDS, "", " ", "\0", "\ud800", "beta " * 20, "x" * 100_001]),
    st.text(max_size=8),
)
JSONS: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=6)
    ),
    max_leaves=12,
)


def nearly(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """An object that has its fields right, mostly."""
    whole = {name: st.one_of(one, one, one, JSONS) for name, one in fields.items()}
    return st.fixed_dictionaries({}, optional=whole)


SHAPES = st.lists(st.integers(-1, 3) | NUMBERS, max_size=3)
TENSORS = nearly(
    name=st.sampled_from(["text", "input_ids", "attention_mask"]),
    shape=SHAPES,
    datatype=st.sampled_from(["BYTES", "INT64", "INT32", "FP32"]),
    data=st.lists(TEXTS | NUMBERS | st.lists(NUMBERS, max_size=3), max_size=4),
    parameters=nearly(binary_data_size=NUMBERS, shared_memory_region=TEXTS),
)
REQUESTS = st.one_of(
    nearly(
        inputs=st.lists(TENSORS, max_size=3),
        outputs=st.lists(nearly(name=TEXTS, parameters=JSONS), max_size=3),
        parameters=nearly(binary_data_output=st.booleans()),
        id=TEXTS,
    ),
    nearly(text=TEXTS, texts=st.lists(TEXTS, max_size=70), probabilities=st.booleans()),
    nearly(
        model=st.sampled_from(["embedder", "classifier", "other"]),
        input=TEXTS | st.lists(TEXTS | NUMBERS | st.lists(NUMBERS), max_size=4),
        encoding_format=st.sampled_from(["float", "base64", "x"]),
        dimensions=NUMBERS,
    ),
    JSONS,
)
KNOWN_BODIES = [
    b"[" * 50_000,
    b'{"inputs":' * 9_000,
    b"\xff" * 99,
    b"1" * 50_000,
    b"",
    b'{"text": "\\ud800"}',
    b'{"model": "embedder", "input": [' + b"[" * 50_000,
]
BODIES = st.one_of(
    REQUESTS.map(lambda one: json.dumps(one).encode()),
    REQUESTS.map(lambda one: json.dumps(one).encode()[:-1]),
    st.binary(max_size=40),
    # By number: hypothesis would write them all down.
    st.integers(0, len(KNOWN_BODIES) - 1).map(lambda number: KNOWN_BODIES[number]),
)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            *("content-encoding", "x-slipway-deadline-ms", "x-slipway-key", "x-request-id"),
            *("inference-header-content-length", "content-type", "accept-encoding", "expect"),
        ]
    ),
    st.one_of(
        st.sampled_from(
            ["gzip", "deflate", "br", "100-continue", "1", "-1", "1e9", "nan", "9" * 40]
        ),
        st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=9),
    ),
    max_size=3,
)
LENGTHS = st.sampled_from(
    ["0", "5", "-1", "99999999999999999999", "+5", "0x5", "5, 5", "", " 5", "1048577"]
)
LINES = st.one_of(
    LENGTHS.map(lambda one: f"content-length: {one}"),
    st.sampled_from(
        [
            *("transfer-encoding: chunked", "transfer-encoding: xchunked", "host: a\r\nhost: b"),
            *("connection: upgrade\r\nupgrade: h2c", "connection: close", " folded", ":", "a\0: b"),
            *("x: " + "y" * 70_000, "content-encoding: gzip", "expect: 100-continue", "\n\r"),
        ]
    ),
    st.text(max_size=12),
)
KNOWN_PATHS = [
    *(
        "*",
        "http://a/v2",
        "//",
        "/%",
        "/%ff%00",
        "/v2/models/%2e/infer",
        "/v2/models/tagger/versions/x",
    ),
    *("/v2/models/tagger/versions/%C2%B2", "/v2/models/tagger/versions/" + "9" * 5000, "/" * 9000),
    *("/v1/models/%F0%9F%9A%A2", "/v2/models/%F0%9F%9A%A2/ready", "/v1/", "/predict/", "/\0"),
]
PATHS = st.one_of(
    st.sampled_from([*POSTS, *GETS, *KNOWN_PATHS]),
    st.text(max_size=9).map(lambda one: f"/v2/models/{one}"),
    st.text(max_size=9).map(lambda one: f"/v2/models/classifier/versions/{one}/ready"),
)
RAW = st.builds(
    lambda method, path, version, lines, sent: (
        "\r\n".join([f"{method} {path} {version}", *lines, "", ""]).encode("utf-8", "replace")
        + sent
    ),
    st.sampled_from(["GET", "POST", "POST", "HEAD", "PRI", "CONNECT", "get", ""]),
    PATHS,
    st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/9.9", ""]),
    st.lists(LINES, max_size=4),
    BODIES | st.sampled_from([b"5\r\nhello\r\n0\r\n\r\n", b"zz\r\n", b"ffffffffffffffff\r\nx"]),
)
FRAMES = st.one_of(
    st.binary(max_size=60),
    st.lists(st.binary(min_size=9, max_size=30), max_size=4).map(
        lambda frames: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"".join(frames)
    ),
)


def _message(name: str, tensors: list[Any], raw: list[bytes], outputs: list[str]) -> bytes:
    request = pb.ModelInferRequest(model_name=name, raw_input_contents=raw)
    for called, kind, shape, words, numbers in tensors:
        tensor = request.inputs.add(name=called, datatype=kind, shape=shape)
        tensor.contents.bytes_contents.extend(words)
        tensor.contents.int64_contents.extend(numbers)
        tensor.contents.int_contents.extend(one % 2**31 for one in numbers)
    for one in outputs:
        request.outputs.add(name=one)
    written: bytes = request.SerializeToString()
    return written


SMALL = st.integers(-(2**63), 2**63 - 1) | st.integers(-1, 4)
MESSAGES = st.one_of(
    st.binary(max_size=60),
    st.builds(
        _message,
        st.sampled_from(["classifier", "tagger", "embedder", "other", ""]),
        st.lists(
            st.tuples(
                st.sampled_from(["text", "input_ids", "attention_mask", ""]),
                st.sampled_from(["BYTES", "INT64", "INT32", "FP32", ""]),
                st.lists(SMALL, max_size=3),
                st.lists(st.binary(max_size=6), max_size=3),
                st.lists(SMALL, max_size=4),
            ),
            max_size=3,
        ),
        st.lists(st.binary(max_size=20) | st.just(b"\x01\x00\x00\x00a"), max_size=2),
        st.lists(st.sampled_from(["label", "embedding", "other"]), max_size=2),
    ),
)


def lie(header: bytes, raw: bytes, length: int | None) -> tuple[bytes, dict[str, str]]:
    """A body of the binary tensor extension, whose header may lie."""
    size = len(header) if length is None else length
    return header + raw, {"inference-header-content-length": str(size)}


TENSOR_BYTES = st.lists(
    st.binary(max_size=12) | st.integers(0, 2**32 - 1).map(lambda one: struct.pack("<I", one)),
    max_size=6,
).map(b"".join)
LIES = st.builds(
    lie,
    REQUESTS.map(lambda one: json.dumps(one).encode()),
    TENSOR_BYTES,
    st.none() | st.integers(-1, 200),
)
