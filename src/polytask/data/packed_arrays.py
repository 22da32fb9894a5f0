"""Arrays inside rows, kept as bytes: as lists of numbers, a picture would take a thousand times as long.

A row may hold arrays anywhere, also in lists and mappings. In Arrow, an array is a mapping of its type, its
shape and its bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

_TYPE, _SHAPE, _BYTES = "array_type", "array_shape", "array_bytes"
_FIELDS = {_TYPE, _SHAPE, _BYTES}


def packed(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with every array as a mapping that Arrow stores without a loop over numbers."""
    return {name: _packed(value) for name, value in row.items()}


def unpacked(table: pa.Table) -> list[dict[str, Any]]:
    """Return the rows of a table with the arrays that ``packed`` was given."""
    columns = {
        name: _unpacked_column(table.column(name), table.schema.field(name).type)
        for name in table.column_names
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _packed(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        flat = np.ascontiguousarray(value)
        return {_TYPE: value.dtype.str, _SHAPE: list(value.shape), _BYTES: flat.tobytes()}
    if isinstance(value, Mapping):
        return {name: _packed(item) for name, item in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], Mapping | np.ndarray):
        return [*map(_packed, value)]
    return value


def _unpacked_column(column: pa.ChunkedArray, kind: pa.DataType) -> list[Any]:
    values: list[Any] = column.to_pylist()
    return [*map(_unpacked, values)] if _holds_arrays(kind) else values


def _holds_arrays(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_list(kind):
        return _holds_arrays(kind.value_type)
    if not pa.types.is_struct(kind):
        return False
    names = {field.name for field in kind}
    return names >= _FIELDS or any(_holds_arrays(field.type) for field in kind)


def _unpacked(value: Any) -> Any:
    if isinstance(value, list):
        return [*map(_unpacked, value)]
    if not isinstance(value, dict):
        return value
    if value.keys() >= _FIELDS and value[_TYPE] is not None:
        flat = np.frombuffer(value[_BYTES], np.dtype(value[_TYPE]))
        return flat.reshape(value[_SHAPE])
    return {name: _unpacked(item) for name, item in value.items()}
