"""JSON: a list of objects.

https://www.rfc-editor.org/rfc/rfc8259
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import override

from polytask.core.batch import Row
from polytask.core.errors import DataError
from polytask.data.sources.base import sources
from polytask.data.sources.files import FileSource, text_of
from polytask.data.sources.jsonl import objects


@sources.register("json")
class Json(FileSource):
    """JSON files: a list of objects, whose keys are the columns, or an object that holds one.

    An object that holds none is one row. Objects one after the other are read as ``jsonl`` does.
    """

    place: ClassVar[str] = "{file}, object {line}"

    @override
    def read(self, path: Path) -> Iterator[tuple[int, Row]]:
        for number, row in enumerate(_rows(path), start=1):
            if not isinstance(row, dict):
                found = f"{json.dumps(row, ensure_ascii=False)[:40]} found"
                raise DataError(f"{path}, object {number}: {found}, expected an object.")
            yield number, row


def _rows(path: Path) -> Iterable[Any]:
    text = text_of(path).strip()
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError as error:
        found = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise DataError(f"{path}: not valid JSON: {found}.") from error
    except RecursionError as error:
        raise DataError(f"{path}: not valid JSON: {error}.") from error
    if end < len(text):
        return (row for _, row in objects(path))
    if isinstance(value, list):
        return value
    inside = value.items() if isinstance(value, dict) else ()
    lists = {name: each for name, each in inside if _holds_objects(each)}
    if len(lists) > 1:
        names = ", ".join(map(repr, lists))
        raise DataError(f"{path}: lists of objects under {names} found; expected one.")
    return next(iter(lists.values()), [value])


def _holds_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)
