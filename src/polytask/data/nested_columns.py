"""Columns inside mappings, named with dots, such as ``translation.en``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def list_nested_names(fields: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of all values inside mappings."""
    for name, inner in fields.items():
        if prefix:
            yield f"{prefix}{name}"
        if isinstance(inner, Mapping):
            yield from list_nested_names(inner, f"{prefix}{name}.")


def path_of(fields: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    """Return the names that lead to a column, outermost first; None if there is no such column.

    A column whose name contains a dot takes precedence over a value inside a mapping.

    :param fields: A row, or the types of its columns: a mapping for a column of mappings.
    """
    if name in fields:
        return (name,)
    for outer, inner in fields.items():
        if isinstance(inner, Mapping) and name.startswith(f"{outer}."):
            rest = path_of(inner, name.removeprefix(f"{outer}."))
            if rest is not None:
                return (outer, *rest)
    return None


def value_of(row: Mapping[str, Any], name: str) -> Any:
    """Return the value of a column in a row; None if there is no such column."""
    value: Any = row
    for part in path_of(row, name) or ("",):
        value = value.get(part)
    return value


def values_at(column: pa.Array, inner: Sequence[str]) -> list[Any]:
    """Return the values of a column, or values inside its mappings.

    :param inner: The names that lead to the values inside the mappings.
    """
    from pyarrow import compute

    found = compute.struct_field(column, list(inner)) if inner else column
    values: list[Any] = found.to_pylist()
    return values
