"""Converts values to the types of their columns, before they are stored.

Images and sounds are stored as ``datasets`` does: a mapping of ``bytes``, the content of a file, and
``path``. One of the two may be null.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from polytask.core.batch import Row
from polytask.core.columns import FILE_KEYS, ColumnType
from polytask.core.errors import DataError
from polytask.data.arrow import FILE
from polytask.data.arrow_types import CellError, as_text

Types: TypeAlias = dict[str, Literal["image", "audio", "number", "category", "text", "json"]]
"""The types that a source may give to columns."""

_SIGNATURES: Mapping[bytes, ColumnType] = {
    b"\x89PNG": "image",
    b"\xff\xd8\xff": "image",
    b"GIF8": "image",
    b"BM": "image",
    b"II*\x00": "image",
    b"MM\x00*": "image",
    b"fLaC": "audio",
    b"OggS": "audio",
    b"ID3": "audio",
    b"\xff\xfb": "audio",
}
"""The first bytes of files of known formats."""


def convert_rows(
    rows: Iterable[Row], types: dict[str, ColumnType], files: Sequence[str]
) -> Iterator[Row]:
    """Yield rows with every value converted to the type of its column.

    :param types: The given types. Changed in place: a column of bytes gets its type when it is met.
    :param files: The files that rows are from; relative paths in rows are relative to these files.
    :raises CellError: If a value does not fit.
    """
    folders = [Path(file).parent for file in files]
    for row in rows:
        converted = dict(row)
        for name, value in row.items():
            if isinstance(value, bytes | bytearray | memoryview) and name not in types:
                types[name] = _signature(row, name)
            if value is not None and name in types:
                try:
                    converted[name] = _CONVERSIONS[types[name]](value, folders[row[FILE]])
                except ValueError as error:
                    raise CellError(row, name, str(error)) from None
        yield converted


def convert_value(value: Any, kind: ColumnType | None) -> Any:
    """Convert a value given in Python to the type of its column.

    :param kind: The type of the column; None if it is not known.
    :raises DataError: If the value does not fit.
    """
    if value is None or (kind == "text" and isinstance(value, str)):
        return value
    if isinstance(value, tuple | np.ndarray):
        value = list(value) if isinstance(value, tuple) else value.tolist()
    if kind in ("image", "audio", "number", "category"):
        try:
            return _CONVERSIONS[kind](value, Path())
        except ValueError as error:
            raise DataError(str(error)) from None
    if kind in ("text", "words"):
        if isinstance(value, list):  # a text that is segmented already
            return [_single_text(word) for word in value]
        if kind == "words":
            raise DataError(f"found {type(value).__name__}, expected a list of words")
        return _single_text(value)
    return value


def _single_text(value: Any) -> str:
    if isinstance(value, str | int | float):
        return as_text(value)
    raise DataError(f"found {type(value).__name__}, expected a text or a list of words")


def _signature(row: Row, name: str) -> ColumnType:
    start = bytes(row[name][:16])
    if start[:4] == b"RIFF":
        return "image" if start[8:12] == b"WEBP" else "audio"
    kind = next((kind for sign, kind in _SIGNATURES.items() if start.startswith(sign)), None)
    if kind is None:
        found = "found bytes of no known image or sound format; declare the type"
        raise CellError(row, name, f"{found}, as in types: {{{name}: image}}")
    return kind


def _file(value: Any, folder: Path) -> dict[str, Any]:
    if isinstance(value, bytes | bytearray | memoryview):
        return {"bytes": bytes(value), "path": None}
    if isinstance(value, Mapping) and value.keys() & FILE_KEYS:
        return {"bytes": value.get("bytes"), "path": value.get("path")}
    if not isinstance(value, str | Path):
        raise ValueError(f"found {value!r}, expected the path of a file, or its content")
    path = folder / value
    if not path.is_file():
        raise ValueError(f"there is no file {str(path)!r}. Correct the path, or add the file.")
    return {"bytes": None, "path": str(path)}


def _number(value: Any, folder: Path) -> float | int | None:
    if not isinstance(value, str):
        return value  # type: ignore[no-any-return]
    text = value.strip()
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"found {value!r}, expected a number, or nothing") from None


_CONVERSIONS: Mapping[ColumnType, Callable[[Any, Path], Any]] = {
    "image": _file,
    "audio": _file,
    "number": _number,
    "category": lambda value, _: str(value).strip() or None,
    "text": lambda value, _: str(value),
    "json": lambda value, _: json.dumps(value, ensure_ascii=False, default=str),
}
