"""Types of columns, in the terms of the Hugging Face ecosystem.

https://huggingface.co/docs/datasets/about_dataset_features
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

ColumnType: TypeAlias = Literal[
    "text", "words", "image", "audio", "number", "category", "ids", "array", "mapping", "json"
]
"""``text``: strings. ``words``: lists of strings. ``image``, ``audio``: encoded files, as bytes or a path.
``number``: whole or real numbers. ``category``: values out of a fixed set, truth values too. ``ids``: lists of whole
numbers. ``array``: lists of real numbers, and nested lists. ``mapping``: several named values, read by dotted names. ``json``: values of any shape, kept as JSON.
"""

COLUMN_TYPES: tuple[ColumnType, ...] = get_args(ColumnType)


FILE_KEYS = frozenset({"bytes", "path"})
"""The names inside an image or a sound: the content of a file, and its path; one may be None."""


@dataclass(frozen=True)
class Column:
    """An input column.

    :param name: Its name in the table; dotted for a value inside a mapping.
    :param type: Its type.
    """

    name: str
    type: ColumnType


def column_type(feature: Any) -> ColumnType:
    """Return what a column holds.

    :param feature: Its type: a feature of ``datasets``, or a mapping of them for a mapping of values.
    """
    kind = type(feature).__name__
    if kind in _NAMED:
        return _NAMED[kind]
    if isinstance(feature, Mapping):
        return "mapping"
    if kind in ("List", "LargeList", "Sequence"):
        return _list_type(feature.feature)
    if isinstance(feature, list):
        return _list_type(feature[0])
    return _value_type(feature.dtype)


_NAMED: Mapping[str, ColumnType] = {
    "Image": "image",
    "Audio": "audio",
    "ClassLabel": "category",
    "Array2D": "array",
    "Array3D": "array",
    "Array4D": "array",
    "Array5D": "array",
}
"""Types of ``datasets`` by the name of their class, as importing the library takes seconds."""


def _list_type(item: Any) -> ColumnType:
    """Return what a list holds, by the type of its items."""
    if column_type(item) == "text":
        return "words"
    return "ids" if str(getattr(item, "dtype", "")).startswith(("int", "uint")) else "array"


def _value_type(dtype: str) -> ColumnType:
    if dtype == "bool":
        return "category"
    if dtype in ("string", "large_string", "null") or dtype.startswith(
        ("date", "time", "duration")
    ):
        return "text"
    return "number"


def is_file(value: Any) -> bool:
    """Return whether a value is an image or a sound as it is stored."""
    return isinstance(value, Mapping) and value.keys() == FILE_KEYS


def file_content(value: Mapping[str, Any]) -> bytes:
    """Return the content of an image or a sound.

    :raises OSError: If its file is gone.
    """
    content: bytes = value["bytes"] or Path(value["path"]).read_bytes()
    return content


def is_missing(value: Any) -> bool:
    """Return whether a cell is null or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def show_value(value: Any) -> Any:
    """Return a value for people and JSON; for an image or a sound, its path or its size."""
    if is_file(value):
        return value["path"] or f"{len(value['bytes'])} bytes"
    return value
