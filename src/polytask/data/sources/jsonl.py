"""JSON Lines files: one object per line.

https://jsonlines.org
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
from polytask.data.sources.text_files import TextFileSource


@sources.register("jsonl")
class JsonLines(TextFileSource):
    """JSON Lines files: one object per line, its keys are the columns."""

    suffixes: ClassVar[tuple[str, ...]] = (".jsonl", ".ndjson")

    @override
    def read(self, path: Path) -> Iterator[tuple[int, Row]]:
        yield from objects(self.lines(path), path)


def objects(lines: Iterable[tuple[int, str]], path: Path) -> Iterator[tuple[int, Row]]:
    """Yield the number and the object of each line that is not blank.

    :raises DataError: If a line is no object; names file and line.
    """
    for number, line in lines:
        if line.strip():
            yield number, _object(line, f"{path}:{number}")


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs of a JSON object as a mapping.

    :raises ValueError: If a key occurs twice: JSON does not define which value counts.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice!r} occurs twice in one object")
    return found


def _object(line: str, place: str) -> Row:
    try:
        value = json.loads(line.rstrip(), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        found = str(error)
        if isinstance(error, json.JSONDecodeError):
            found = f"{error.msg} at column {error.colno}"
        message = f"{place}: not valid JSON: {found}; expected one object per line"
        raise DataError(f"{message}. A whole file of JSON is kind: json.") from error
    if not isinstance(value, dict):
        found = f"{line.strip()[:40]!r} found, expected one object per line"
        raise DataError(f"{place}: not a JSON object: {found}. A list of objects is kind: json.")
    return value
