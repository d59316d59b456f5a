"""Writes calls to files."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import msgspec

from infra.calls.batches import batches
from infra.calls.formats import PAYLOAD, Exported, ecs, otlp, plain
from infra.calls.lines import CallLine
from infra.files import sync_folder
from release.errors import Invalid, Unavailable

BATCH = 5_000
"""Calls that are held at once for a table."""


_MORE = (*PAYLOAD, "unreadable")
"""Columns of a table beside a line's own."""


_JSON = ("input", "output")
"""Of these, those that are JSON even where that is a plain value."""


class Form(StrEnum):
    """How exported calls look."""

    JSONL = "jsonl"
    """A line a call, as it is recorded."""

    ECS = "ecs"
    """A line a call, as a document of the Elastic Common Schema."""

    OTLP = "otlp"
    """A line a call, each the body of an OTLP/HTTP logs request."""

    PARQUET = "parquet"
    """A table with a column for each field; lists, inputs and outputs are JSON."""


@contextmanager
def fresh(out: Path) -> Iterator[BinaryIO]:
    """Make a file for its owner alone, which is there once it is whole and never before.

    Raises:
        Invalid: there is one of this name already, or none can be made there.
        Unavailable: it cannot be written to its end.
    """
    if out.exists():
        raise _taken(out)
    aside = out.with_name(f".{out.name}.{uuid4().hex[:8]}")
    try:
        file = os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except OSError as error:
        raise Invalid(f"{out} cannot be made: {error.strerror}.", "name another file") from error
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _name(aside, out)
    except OSError as error:
        raise Unavailable(f"{out} cannot be written: {error.strerror or error}.") from error
    finally:
        aside.unlink(missing_ok=True)
    sync_folder(out.parent)


def _name(aside: Path, out: Path) -> None:
    """Give a whole file its name, but take that from nobody."""
    try:
        os.link(aside, out)
    except FileExistsError:
        raise _taken(out) from None
    except OSError:
        aside.rename(out)  # where files can have but one name


def _taken(out: Path) -> Invalid:
    return Invalid(f"{out} cannot be made: File exists.", "name another file")


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
    schema = pa.schema([("gateway", text), *fields, *((name, text) for name in _MORE)])
    count = 0
    with pq.ParquetWriter(file, schema) as writer:
        for batch in batches((_row(call) for call in calls), _size, BATCH):
            writer.write_table(pa.Table.from_pylist(batch, schema))
            count += len(batch)
    return count


def _size(row: dict[str, object]) -> int:
    return sum(len(value) for value in row.values() if isinstance(value, str))


def _row(call: Exported) -> dict[str, object]:
    row = plain(call)
    # Whatever is no plain value is told as JSON: a column has one type.
    return {
        name: value
        if isinstance(value, str | int) and name not in _JSON
        else msgspec.json.encode(value).decode()
        for name, value in row.items()
    }
