"""Rows of any shape -> one Arrow stream on disk, a chunk at a time.

Nobody knows the columns of a JSON Lines file before its last line: a column may be missing at
first, be empty at first, or hold whole numbers for a while and then 0.5. Chunks are therefore
written to segments, a new one whenever the columns known so far grow or widen; if there was more
than one segment they are copied into a single file of the final types.

A column whose values have no common type is left out. The schema keeps the first conflict, so that
only a reader of that column gets an error.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from polytask.core.batch import Row
from polytask.core.errors import DataError

FILE, LINE = "_file", "_line"
"""Hidden columns: which of the table's files a row is from, and where in it."""

_CHUNK = 1000
_DEEPEST = 50
"""Arrow writes no more than 64 levels."""

_CONFLICTS = b"polytask.conflicts"
"""Key of the schema's metadata under which conflicts are kept, as JSON."""

_REFUSED = (pa.ArrowException, OverflowError, RecursionError, TypeError, ValueError)
"""What pyarrow raises on values that have no common type, or none at all."""


class CellError(DataError):
    """A value that cannot be stored with the other values of its column.

    :param row: The row that holds it.
    :param column: Its column.
    :param reason: What was found and what was expected.
    """

    def __init__(self, row: Row, column: str, reason: str) -> None:
        super().__init__(f"column {column!r}: {reason}")
        self.row = row
        self.column = column


def write_rows(rows: Iterable[Row], path: Path) -> list[CellError]:
    """Write rows as one Arrow stream; memory holds one chunk of them at any time.

    A column that a row lacks is null there. Numbers widen from whole to real. Where texts, numbers
    and truth values meet in one column, all of them become text: labels 1, 2 and "other" are
    "1", "2" and "other".

    :return: The first conflict of each column that is left out, because it mixes lists, mappings
        and single values, or holds an unfit value.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        segments = _Segments(Path(folder))
        for chunk in _chunks(rows):
            segments.write(chunk)
        segments.finish(path)
    return [*segments.conflicts.values()]


def conflicts_in(path: Path) -> dict[str, tuple[int, int, str]]:
    """Return file, line and reason of each column that was left out of a file, by name."""
    with pa.memory_map(str(path)) as source:
        metadata = pa.ipc.open_stream(source).schema.metadata or {}
    found: dict[str, list[Any]] = json.loads(metadata.get(_CONFLICTS, b"{}"))
    return {name: (file, line, reason) for name, (file, line, reason) in found.items()}


class _Segments:
    """The files of a stream whose types are still growing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._schema = pa.schema([])
        self._paths: list[Path] = []
        self._writer: pa.RecordBatchStreamWriter | None = None
        self.conflicts: dict[str, CellError] = {}

    def write(self, chunk: list[Row]) -> None:
        arrays = self._columns(chunk)
        known = {field.name: field.type for field in self._schema}
        types = known | {name: array.type for name, array in arrays.items()}
        kept = {name: each for name, each in types.items() if name not in self.conflicts}
        schema = pa.schema(kept, self._metadata())
        if self._writer is None or not schema.equals(self._schema, check_metadata=True):
            self._writer = self._started(schema)
        batch = pa.record_batch(arrays or {"": pa.nulls(len(chunk))})
        self._writer.write(_widened(batch, schema))

    def _columns(self, chunk: list[Row]) -> dict[str, pa.Array]:
        """The columns of a chunk, each of a type that also holds what the schema says."""
        known = {field.name: field.type for field in self._schema}
        arrays = {}
        for name in dict.fromkeys(itertools.chain.from_iterable(chunk)):
            if name not in self.conflicts:
                try:
                    arrays[name] = _typed(name, chunk, known.get(name, pa.null()))
                except CellError as error:
                    self.conflicts[name] = error
        return arrays

    def _metadata(self) -> dict[bytes, bytes] | None:
        places = {
            name: (error.row.get(FILE, 0), error.row.get(LINE, 0), str(error))
            for name, error in self.conflicts.items()
        }
        return {_CONFLICTS: json.dumps(places).encode()} if places else None

    def _started(self, schema: pa.Schema) -> pa.RecordBatchStreamWriter:
        self._close()
        self._schema = schema
        self._paths.append(self._folder / str(len(self._paths)))
        return pa.ipc.new_stream(str(self._paths[-1]), schema)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def finish(self, path: Path) -> None:
        """Put all of it into one file."""
        self._close()
        if len(self._paths) == 1:
            self._paths[0].replace(path)
            return
        with pa.ipc.new_stream(str(path), self._schema) as writer:
            for segment in self._paths:
                with pa.memory_map(str(segment)) as source:
                    for batch in pa.ipc.open_stream(source):
                        writer.write(_widened(batch, self._schema))


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    iterator = iter(rows)
    while chunk := list(itertools.islice(iterator, _CHUNK)):
        yield chunk


def _typed(name: str, chunk: list[Row], known: pa.DataType) -> pa.Array:
    """One column of a chunk, of a type that also holds the known one."""
    values = [_nested(row.get(name)) for row in chunk]
    try:
        name.encode()
        array = _array(values, known)
    except _REFUSED:
        array = _mixed_array(name, chunk, known)
    if _is_deep(array.type):
        deep = next(row for row in chunk if _holds_deep(row.get(name)))
        raise CellError(deep, name, f"more than {_DEEPEST} lists or mappings in each other found")
    return array


def _is_deep(kind: pa.DataType, left: int = _DEEPEST) -> bool:
    fields = [kind.field(at) for at in range(kind.num_fields)]
    return left < 0 or any(_is_deep(field.type, left - 1) for field in fields)


def _holds_deep(value: Any, left: int = _DEEPEST) -> bool:
    items = value.values() if isinstance(value, Mapping) else value
    nested = isinstance(value, Mapping | list | tuple | np.ndarray)
    return left < 0 or (nested and any(_holds_deep(item, left - 1) for item in items))


def _nested(value: Any) -> Any:
    """Arrays of several dimensions as lists of vectors, which is what pyarrow takes."""
    if isinstance(value, np.ndarray) and value.ndim > 1:
        return [_nested(part) for part in value]
    return value


def _array(values: list[Any], known: pa.DataType) -> pa.Array:
    array = pa.array(values)
    if pa.types.is_floating(array.type) and bool in set(map(type, values)):
        raise TypeError  # pyarrow refuses truth values among whole numbers, but not among real ones
    wanted = _merged(known, array.type)
    return array if array.type == wanted else _coerced(values, wanted)


def _mixed_array(name: str, chunk: list[Row], known: pa.DataType) -> pa.Array:
    """The slow road for values of several types: find the common type value by value."""
    for row in chunk:
        known = _widened_by(known, row, name)
    return _coerced([_nested(row.get(name)) for row in chunk], known)


def _widened_by(known: pa.DataType, row: Row, name: str) -> pa.DataType:
    try:
        name.encode()
        return _merged(known, _inferred(_nested(row.get(name))))
    except _REFUSED as error:
        expected = "expected numbers, texts, or lists and mappings of them, alike in all rows"
        found = str(error)
        if isinstance(error, UnicodeEncodeError):
            found = f"half of a character found, {error.object[error.start]!a}"
        raise CellError(row, name, f"{found}; {expected}") from error


def _inferred(value: Any) -> pa.DataType:
    if isinstance(value, Mapping):
        return pa.struct([(key, _inferred(item)) for key, item in value.items()])
    if isinstance(value, list | tuple):
        inner = pa.null()
        for item in value:
            inner = _merged(inner, _inferred(item))
        return pa.list_(inner)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return pa.string()
    return pa.array([value]).type


def _merged(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The narrowest type that holds the values of both.

    :raises TypeError: If there is none.
    """
    if one == other:
        return one
    try:
        schemas = [pa.schema({"": one}), pa.schema({"": other})]
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowException:
        pass
    if pa.types.is_list(one) and pa.types.is_list(other):
        return pa.list_(_merged(one.value_type, other.value_type))
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        fields = {field.name: field.type for field in one}
        for field in other:
            fields[field.name] = _merged(fields.get(field.name, pa.null()), field.type)
        return pa.struct(fields)
    if pa.types.is_nested(one) or pa.types.is_nested(other):
        raise TypeError(f"{_named(other)} found where earlier rows hold {_named(one)}")
    return pa.string()


def _named(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return "a list"
    return "a mapping" if pa.types.is_struct(kind) else "a single value"


def _coerced(values: list[Any], wanted: pa.DataType) -> pa.Array:
    return pa.array([_coerce(value, wanted) for value in values], wanted)


def _coerce(value: Any, wanted: pa.DataType) -> Any:
    """Turn what is stored as text into text and what is stored as real into real, at any depth."""
    if value is None or (pa.types.is_string(wanted) and value != value):
        return None  # a number that is not one stands for a missing text
    if pa.types.is_list(wanted):
        return [_coerce(item, wanted.value_type) for item in value]
    if pa.types.is_struct(wanted):
        return {field.name: _coerce(value.get(field.name), field.type) for field in wanted}
    if pa.types.is_floating(wanted):
        return float(value)
    return _text(value) if pa.types.is_string(wanted) else value


def _text(value: Any) -> str:
    """A value as text; 1 and 1.0 are the same, because other rows decide which one is stored."""
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _widened(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch with the columns and types of a schema that grew out of its own."""
    return pa.record_batch([_column(batch, field) for field in schema], schema=schema)


def _column(batch: pa.RecordBatch, field: pa.Field) -> pa.Array:
    if field.name not in batch.schema.names:
        return pa.nulls(len(batch), field.type)
    column = batch.column(field.name)
    return column if column.type == field.type else _coerced(column.to_pylist(), field.type)
