"""Writes calls to files."""

from collections.abc import Iterable
from enum import StrEnum
from itertools import islice
from typing import Any, BinaryIO

import msgspec

from infra.calls.formats import Exported, ecs, otlp, plain
from infra.calls.lines import CallLine

BATCH = 5_000
"""Calls that are held at once for a table."""


class Form(StrEnum):
    """How exported calls look."""

    JSONL = "jsonl"
    """A line a call, as it is recorded."""

    ECS = "ecs"
    """A line a call, as a document of the Elastic Common Schema."""

    OTLP = "otlp"
    """A line a call, each the body of an OTLP/HTTP logs request."""

    PARQUET = "parquet"
    """A table with a column for each field; input and output are JSON."""


def written(file: BinaryIO, calls: Iterable[Exported], form: Form) -> int:
    """Write calls; give how many."""
    if form == Form.PARQUET:
        return _table(file, calls)
    count = 0
    for call in calls:
        file.write(msgspec.json.encode(_made(call, form)) + b"\n")
        count += 1
    return count


def _made(call: Exported, form: Form) -> dict[str, Any]:
    match form:
        case Form.ECS:
            return ecs(call)
        case Form.OTLP:
            return otlp([call])
        case _:
            return plain(call)


def _table(file: BinaryIO, calls: Iterable[Exported]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.string()
    kinds = {int: pa.int64(), bool: pa.bool_(), str: text}
    fields = [(one.name, kinds.get(one.type, text)) for one in msgspec.structs.fields(CallLine)]
    schema = pa.schema([("gateway", text), *fields, ("input", text), ("output", text)])
    rest, count = iter(calls), 0
    with pq.ParquetWriter(file, schema) as writer:
        while batch := [_row(call) for call in islice(rest, BATCH)]:
            writer.write_table(pa.Table.from_pylist(batch, schema))
            count += len(batch)
    return count


def _row(call: Exported) -> dict[str, object]:
    row = plain(call)
    # Whatever is no plain value is told as JSON: a column has one type.
    return {
        name: value
        if isinstance(value, str | int) and name not in ("input", "output")
        else msgspec.json.encode(value).decode()
        for name, value in row.items()
    }
