"""Reads the rows of a table in JSON, in each form that pandas writes.

https://pandas.pydata.org/docs/reference/api/pandas.DataFrame.to_json.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from polytask.core.errors import DataError

_ADVICE = "Write a list of objects, one per row ([{...}, {...}]; pandas: orient='records')"


def rows_of(value: Any, path: Path) -> Iterable[Any]:
    """Return the rows of a JSON value.

    :raises DataError: If an object may be one row or a table.
    """
    if isinstance(value, list):
        return value
    return _rows_of_object(value, path) if isinstance(value, dict) and value else [value]


def _rows_of_object(value: dict[str, Any], path: Path) -> Iterable[Any]:
    lists = {name: each for name, each in value.items() if _holds_objects(each)}
    if len(lists) > 1:
        names = ", ".join(map(repr, lists))
        raise DataError(f"{path}: lists of objects under {names} found; expected one.")
    if lists:
        return [*chain(*lists.values())]
    if {"columns", "data"} <= value.keys() <= {"columns", "data", "index"}:
        return _split_rows(value["columns"], value["data"], path)
    if all(isinstance(each, list) for each in value.values()):
        return _rows_of_lists(value, path)
    is_table = all(isinstance(each, dict) for each in value.values())
    return _rows_of_objects(value, path) if is_table else [value]


def _split_rows(columns: Any, data: Any, path: Path) -> list[dict[str, Any]]:
    """Return the rows of ``orient="split"``."""
    fitting = isinstance(columns, list) and isinstance(data, list)
    if not fitting or not all(isinstance(row, list) and len(row) == len(columns) for row in data):
        raise DataError(
            f"{path}: an object of 'columns' and 'data' found; expected rows of as many values as "
            f"there are columns. {_ADVICE}."
        )
    return [dict(zip(map(str, columns), row, strict=True)) for row in data]


def _rows_of_lists(value: Mapping[str, list[Any]], path: Path) -> list[dict[str, Any]]:
    """Return the rows of ``orient="list"``: lists of equal length, unless they may be words."""
    if len({*map(len, value.values())}) > 1:
        return [dict(value)]
    if not any(map(_holds_no_words, value.values())):
        raise DataError(
            f"{path}: an object of equally long lists found ({', '.join(value)}), which may be the "
            f"columns of a table or one row of words. {_ADVICE}; for one row: [{{...}}]."
        )
    return [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]


def _holds_no_words(column: list[Any]) -> bool:
    """Return whether most values are lists, mappings or texts with spaces, so not words or tags."""
    longer = sum(isinstance(v, list | dict) or len(str(v).split()) > 1 for v in column)
    return 2 * longer > len(column) or not column


def _rows_of_objects(value: Mapping[str, dict[str, Any]], path: Path) -> Iterable[dict[str, Any]]:
    """Return the rows of ``orient="columns"`` or ``"index"``: objects with the same keys."""
    first = next(iter(value.values()))
    if not first or any(each.keys() != first.keys() for each in value.values()):
        return [dict(value)]
    outer, inner = _are_numbers(value), _are_numbers(first)
    if outer and not inner:
        return value.values()
    if inner and not outer:
        return [{name: column[at] for name, column in value.items()} for at in first]
    if len(value) == 1 and not outer:
        return [dict(value)]
    raise DataError(
        f"{path}: an object of objects with the same keys found ({', '.join([*value][:3])}), which "
        f"may be a table or one row. {_ADVICE}."
    )


def _are_numbers(names: Iterable[str]) -> bool:
    return all(name.isdecimal() for name in names)


def _holds_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)
