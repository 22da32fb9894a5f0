"""NumPy arrays inside rows, stored as bytes.

Stored as lists of numbers, an image would take a thousand times as long to read. A row may hold arrays
anywhere, also in lists and mappings. In Arrow, an array is a mapping of its type, shape and bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

_TYPE, _SHAPE, _BYTES = "array_type", "array_shape", "array_bytes"
_FIELDS = {_TYPE, _SHAPE, _BYTES}


def pack_arrays(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with every array replaced by a mapping of type, shape and bytes."""
    return {name: _pack(value) for name, value in row.items()}


def unpack_arrays(table: pa.Table) -> list[dict[str, Any]]:
    """Return the rows of a table with the arrays restored; inverse of ``pack_arrays``.

    Arrays are views of memory-mapped Arrow data. Never write into them: copy them first.
    """
    columns = [_values(column) for column in table.columns]
    return [dict(zip(table.column_names, row, strict=True)) for row in zip(*columns, strict=True)]


def _pack(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        flat = np.ascontiguousarray(value)
        return {_TYPE: value.dtype.str, _SHAPE: list(value.shape), _BYTES: flat.tobytes()}
    if isinstance(value, Mapping):
        return {name: _pack(item) for name, item in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], Mapping | np.ndarray):
        return [*map(_pack, value)]
    return value


def _values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Return the values of a column; only columns with arrays inside are walked in Python."""
    import pyarrow as pa

    if not _holds_arrays(column.type):
        values: list[Any] = column.to_pylist()
        return values
    if isinstance(column, pa.ChunkedArray):
        return [value for chunk in column.chunks for value in _values(chunk)]
    if pa.types.is_list(column.type):
        items, lengths = iter(_values(column.flatten())), column.value_lengths().to_pylist()
        return [None if length is None else [*islice(items, length)] for length in lengths]
    names = [field.name for field in column.type]
    fields = dict(zip(names, column.flatten(), strict=True))
    if fields.keys() >= _FIELDS:
        return _arrays(fields)
    rows = zip(*map(_values, fields.values()), strict=True)
    found = zip(column.is_valid().to_pylist(), rows, strict=True)
    return [dict(zip(fields, row, strict=True)) if valid else None for valid, row in found]


def _arrays(fields: Mapping[str, pa.Array]) -> list[Any]:
    """Return arrays as views of Arrow's memory; converting Arrow scalars would copy the bytes."""
    # A binary column has three buffers: validity, int32 offsets, bytes. A slice of a column shares
    # them, so its offsets begin at ``offset``.
    _, places, memory = fields[_BYTES].buffers()
    starts_N = np.frombuffer(places, np.int32)[fields[_BYTES].offset :][: len(fields[_BYTES])]
    found = zip(fields[_TYPE].to_pylist(), fields[_SHAPE].to_pylist(), starts_N, strict=True)
    return [
        None if kind is None else np.ndarray(shape, np.dtype(kind), memory, start)
        for kind, shape, start in found
    ]


def _holds_arrays(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_list(kind):
        return _holds_arrays(kind.value_type)
    if not pa.types.is_struct(kind):
        return False
    names = {field.name for field in kind}
    return names >= _FIELDS or any(_holds_arrays(field.type) for field in kind)
