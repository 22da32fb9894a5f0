"""JSON: a list of objects.

https://www.rfc-editor.org/rfc/rfc8259
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import override

from polytask.core.batch import Row
from polytask.core.errors import DataError
from polytask.data.sources.base import sources
from polytask.data.sources.files import FileSource, text_of


@sources.register("json")
class Json(FileSource):
    """JSON files: a list of objects, whose keys are the columns, or an object that holds one.

    An object that holds none is one row.
    """

    place: ClassVar[str] = "{file}, object {line}"

    @override
    def read(self, path: Path) -> Iterator[tuple[int, Row]]:
        for number, row in enumerate(_objects(path), start=1):
            if not isinstance(row, dict):
                found = f"{json.dumps(row, ensure_ascii=False)[:40]} found"
                raise DataError(f"{path}, object {number}: {found}, expected an object.")
            yield number, row


def _objects(path: Path) -> list[Any]:
    try:
        value = json.loads(text_of(path))
    except json.JSONDecodeError as error:
        hint = " Objects on lines of their own are kind: jsonl." if error.pos else ""
        found = f"{error.msg} at column {error.colno}"
        raise DataError(f"{path}:{error.lineno}: not valid JSON: {found}.{hint}") from error
    except RecursionError as error:
        raise DataError(f"{path}: not valid JSON: {error}.") from error
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
