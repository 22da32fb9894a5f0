"""JSON files with a list of objects, or with a table as pandas writes it.

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
from polytask.data.sources.json_tables import rows_of
from polytask.data.sources.jsonl import objects, unique
from polytask.data.sources.text_files import TextFileSource


@sources.register("json")
class Json(TextFileSource):
    """JSON files: a list of objects, whose keys are the columns, or an object that holds a list.

    Tables of pandas are read, too: an object of columns, of rows by number, or of ``columns`` and
    ``data``. Any other object is one row. An object that may be a row or a table is an error.
    Several objects one after the other are read like ``jsonl``.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".json",)
    place: ClassVar[str] = "{file}, object {line}"

    @override
    def read(self, path: Path) -> Iterator[tuple[int, Row]]:
        text = self.text(path).strip()
        value, end = _decode(text, path)
        if end < len(text):
            yield from objects(self.lines(path), path)
            return
        for number, row in enumerate(rows_of(value, path), start=1):
            if not isinstance(row, dict):
                found = f"{json.dumps(row, ensure_ascii=False)[:40]} found"
                raise DataError(f"{path}, object {number}: {found}, expected an object.")
            yield number, row


def _decode(text: str, path: Path) -> tuple[Any, int]:
    """Return the first value of a text, and the position of its end."""
    try:
        return json.JSONDecoder(object_pairs_hook=unique).raw_decode(text)
    except json.JSONDecodeError as error:
        found = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise DataError(f"{path}: not valid JSON: {found}.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON: {error}.") from error
