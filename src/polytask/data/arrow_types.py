"""Finds the Arrow type that holds all values of a column, while rows are read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from polytask.core.batch import Row
from polytask.core.errors import DataError

_MAX_DEPTH = 50
"""Levels of nesting; Arrow writes at most 64."""

_REFUSED = (pa.ArrowException, OverflowError, RecursionError, TypeError, ValueError)
"""The errors of pyarrow for values that have no common type, or no type at all."""


class CellError(DataError):
    """A value that cannot be stored with the other values of its column.

    :param row: The row of the value.
    :param column: The name of the column.
    :param reason: The value found, and the value expected.
    """

    def __init__(self, row: Row, column: str, reason: str) -> None:
        super().__init__(f"column {column!r}: {reason}")
        self.row = row
        self.column = column


def make_column(name: str, chunk: list[Row], known: pa.DataType) -> pa.Array:
    """Return a column of a chunk, of a type that also holds the values of a known type.

    :raises CellError: If there is no such type, or a value is nested too deeply.
    """
    values = [_split_arrays(row.get(name)) for row in chunk]
    try:
        name.encode()  # half of a surrogate pair is refused here; the schema would fail on it later
        array = _convert(values, known)
    except _REFUSED:
        array = _convert_mixed(name, chunk, known)
    if _is_deep(array.type):
        deep = next(row for row in chunk if _holds_deep(row.get(name)))
        raise CellError(deep, name, f"more than {_MAX_DEPTH} lists or mappings in each other found")
    return array


def _is_deep(kind: pa.DataType, left: int = _MAX_DEPTH) -> bool:
    fields = [kind.field(at) for at in range(kind.num_fields)]
    return left < 0 or any(_is_deep(field.type, left - 1) for field in fields)


def _holds_deep(value: Any, left: int = _MAX_DEPTH) -> bool:
    items = value.values() if isinstance(value, Mapping) else value
    nested = isinstance(value, Mapping | list | tuple | np.ndarray)
    return left < 0 or (nested and any(_holds_deep(item, left - 1) for item in items))


def _split_arrays(value: Any) -> Any:
    """Split an array of several dimensions into lists of vectors, as pyarrow expects."""
    if isinstance(value, np.ndarray) and value.ndim > 1:
        return [_split_arrays(part) for part in value]
    return value


def _convert(values: list[Any], known: pa.DataType) -> pa.Array:
    array = pa.array(values)
    if pa.types.is_floating(array.type) and bool in set(map(type, values)):
        raise TypeError  # pyarrow refuses truth values among integers, but not among floats
    wanted = _merge_types(known, array.type)
    return array if array.type == wanted else coerce(values, wanted)


def _convert_mixed(name: str, chunk: list[Row], known: pa.DataType) -> pa.Array:
    """Convert values of several types; slow, because it looks at each value by itself."""
    for row in chunk:
        try:
            name.encode()
            known = _merge_types(known, _infer_type(_split_arrays(row.get(name))))
        except _REFUSED as error:
            expected = "expected numbers, texts, or lists and mappings of them, alike in all rows"
            found = str(error)
            if isinstance(error, UnicodeEncodeError):
                found = f"half of a character found, {error.object[error.start]!a}"
            raise CellError(row, name, f"{found}; {expected}") from error
    return coerce([_split_arrays(row.get(name)) for row in chunk], known)


def _infer_type(value: Any) -> pa.DataType:
    if isinstance(value, Mapping):
        return pa.struct([(key, _infer_type(item)) for key, item in value.items()])
    if isinstance(value, list | tuple):
        inner = pa.null()
        for item in value:
            inner = _merge_types(inner, _infer_type(item))
        return pa.list_(inner)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return pa.string()  # long identifiers; as a float they would lose digits
    return pa.array([value]).type


def _merge_types(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """Return the narrowest type that holds the values of both types.

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
        return pa.list_(_merge_types(one.value_type, other.value_type))
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        fields = {field.name: field.type for field in one}
        for field in other:
            fields[field.name] = _merge_types(fields.get(field.name, pa.null()), field.type)
        return pa.struct(fields)
    if pa.types.is_nested(one) or pa.types.is_nested(other):
        raise TypeError(f"{_describe(other)} found where earlier rows hold {_describe(one)}")
    return pa.string()


def _describe(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return "a list"
    return "a mapping" if pa.types.is_struct(kind) else "a single value"


def coerce(values: list[Any], wanted: pa.DataType) -> pa.Array:
    """Convert values to an array of a type that holds all of them."""
    return pa.array([_coerce_value(value, wanted) for value in values], wanted)


def _coerce_value(value: Any, wanted: pa.DataType) -> Any:
    """Convert a value to the wanted type, at any depth of lists and mappings."""
    if value is None or (pa.types.is_string(wanted) and value != value):
        return None  # NaN stands for a missing text
    if pa.types.is_list(wanted):
        return [_coerce_value(item, wanted.value_type) for item in value]
    if pa.types.is_struct(wanted):
        return {field.name: _coerce_value(value.get(field.name), field.type) for field in wanted}
    if pa.types.is_floating(wanted):
        return float(value)
    return as_text(value) if pa.types.is_string(wanted) else value


def as_text(value: Any) -> str:
    """Return a value as text.

    1 and 1.0 give the same text: other rows of the column decide which of them was stored.
    """
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
