"""JSON Lines: one object per line.

https://jsonlines.org
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from typing_extensions import override

from polytask.core.batch import Row
from polytask.core.errors import DataError
from polytask.data.sources.base import sources
from polytask.data.sources.files import FileSource, text_lines


@sources.register("jsonl")
class JsonLines(FileSource):
    """JSON Lines files: one object per line, its keys are the columns."""

    @override
    def read(self, path: Path) -> Iterator[tuple[int, Row]]:
        yield from objects(path)


def objects(path: Path) -> Iterator[tuple[int, Row]]:
    """The objects of a file of one a line, each with its line.

    :raises DataError: If a line is no object; names file and line.
    """
    for number, line in text_lines(path):
        if line.strip():
            yield number, _object(line, f"{path}:{number}")


def _object(line: str, place: str) -> Row:
    try:
        value = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        found = str(error)
        if isinstance(error, json.JSONDecodeError):
            found = f"{error.msg} at column {error.colno}"
        message = f"{place}: not valid JSON: {found}; expected one object per line"
        raise DataError(f"{message}. A whole file of JSON is kind: json.") from error
    if not isinstance(value, dict):
        found = f"{line.strip()[:40]!r} found, expected one object per line"
        raise DataError(f"{place}: not a JSON object: {found}. A list of objects is kind: json.")
    return value
