"""Writes rows with any columns to one Arrow stream on disk, a chunk at a time.

The columns of a JSON Lines file are known only after its last line. A column may be missing or empty
at first, or hold whole numbers for a while and then 0.5. Chunks are therefore written to segments.
A new segment begins when a column is added or gets a wider type. Several segments are copied into
one file of the final types at the end.

A column whose values have no common type is left out. The metadata of the schema keeps the first
conflict, so that only a reader of that column gets an error.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa

from polytask.core.batch import Row
from polytask.core.columns import ColumnType
from polytask.data.arrow_types import CellError, coerce, make_column

FILE, LINE = "_file", "_line"
"""Hidden columns: the number of the file that a row is from, and its place in that file."""

_CHUNK = 1000
_CONFLICTS = b"polytask.conflicts"
"""Metadata key of the schema for conflicts, as JSON."""

_FILE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""The Arrow type in which ``datasets`` stores an image or a sound."""

_TYPES = b"polytask.types"
"""Metadata key of the schema for the given types of columns, as JSON."""


def write_rows(
    rows: Iterable[Row], path: Path, types: Mapping[str, ColumnType] = MappingProxyType({})
) -> list[CellError]:
    """Write rows as one Arrow stream; memory holds one chunk at a time.

    A missing column is null. Integers widen to floats. If a column mixes texts, numbers and truth
    values, all of them become text: labels 1, 2 and "other" are stored as "1", "2" and "other".

    :param types: Given types of columns. The reader of the rows may add types while it reads, so
        they are looked up after each chunk.
    :return: The first conflict of each column that is left out because it mixes lists, mappings
        and single values, or because a value cannot be stored.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        segments = _Segments(Path(folder), types)
        for chunk in _chunks(rows):
            segments.write(chunk)
        segments.finish(path)
    return [*segments.conflicts.values()]


def read_metadata(path: Path) -> tuple[dict[str, ColumnType], dict[str, tuple[int, int, str]]]:
    """Return the types and the conflicts that ``write_rows`` stored in a file.

    :return: The given type of each column; file, line and reason of each column that was left out.
    """
    with pa.memory_map(str(path)) as source:
        metadata = pa.ipc.open_stream(source).schema.metadata or {}
    types, conflicts = (json.loads(metadata.get(key, b"{}")) for key in (_TYPES, _CONFLICTS))
    return types, conflicts


class _Segments:
    """The segments of a stream whose types may still widen."""

    def __init__(self, folder: Path, types: Mapping[str, ColumnType]) -> None:
        self._folder = folder
        self._types = types
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
            self._writer = self._start_segment(schema)
        # Rows without columns need a column of nulls: a batch of no columns has no length.
        batch = pa.record_batch(arrays or {"": pa.nulls(len(chunk))})
        self._writer.write(_widen(batch, schema))

    def _columns(self, chunk: list[Row]) -> dict[str, pa.Array]:
        """Return the columns of a chunk, each of a type that also holds the values so far."""
        known = {field.name: field.type for field in self._schema}
        arrays = {}
        for name in dict.fromkeys(itertools.chain.from_iterable(chunk)):
            if name not in self.conflicts:
                try:
                    stored = _FILE if self._types.get(name) in ("image", "audio") else pa.null()
                    arrays[name] = make_column(name, chunk, known.get(name, stored))
                except CellError as error:
                    self.conflicts[name] = error
        return arrays

    def _metadata(self) -> dict[bytes, bytes] | None:
        places = {
            name: (error.row.get(FILE, 0), error.row.get(LINE, 0), str(error))
            for name, error in self.conflicts.items()
        }
        metadata = {_CONFLICTS: places, _TYPES: dict(self._types)}
        return {key: json.dumps(own).encode() for key, own in metadata.items() if own} or None

    def _start_segment(self, schema: pa.Schema) -> pa.RecordBatchStreamWriter:
        self._close()
        self._schema = schema
        self._paths.append(self._folder / str(len(self._paths)))
        return pa.ipc.new_stream(str(self._paths[-1]), schema)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def finish(self, path: Path) -> None:
        """Write all segments to one file."""
        self._close()
        if len(self._paths) == 1:  # the usual case: nothing to copy
            self._paths[0].replace(path)
            return
        with pa.ipc.new_stream(str(path), self._schema) as writer:
            for segment in self._paths:
                with pa.memory_map(str(segment)) as source:
                    for batch in pa.ipc.open_stream(source):
                        writer.write(_widen(batch, self._schema))


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    iterator = iter(rows)
    while chunk := list(itertools.islice(iterator, _CHUNK)):
        yield chunk


def _widen(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch converted to a wider schema: more columns, wider types."""
    return pa.record_batch([_widen_column(batch, field) for field in schema], schema=schema)


def _widen_column(batch: pa.RecordBatch, field: pa.Field) -> pa.Array:
    if field.name not in batch.schema.names:
        return pa.nulls(len(batch), field.type)
    column = batch.column(field.name)
    return column if column.type == field.type else coerce(column.to_pylist(), field.type)
