"""JSON Lines files of which some lines cannot be parsed."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from polytask.core.errors import DataError
from polytask.data.sources.jsonl import objects

_SUFFIXES = (".jsonl", ".ndjson")


def copy_readable(path: Path, folder: Path) -> tuple[Path, dict[int, str]]:
    """Copy a JSON Lines file, with an empty object for each line that cannot be parsed.

    A file of millions of rows is thus not refused for one line that was cut.

    :return: The copy, and the error of each such row by its position. Other formats are not
        copied and have no errors.
    """
    name = path.name.lower()
    if not name.removesuffix(".gz").endswith(_SUFFIXES):
        return path, {}
    errors: dict[int, str] = {}
    copy = folder / f"{path.name.partition('.')[0]}.jsonl"
    opened = gzip.open if name.endswith(".gz") else open
    with opened(path, "rb") as source, copy.open("w", encoding="utf-8") as target:
        position = 0
        for number, line in enumerate(source, 1):
            if line.strip():
                try:
                    row = [own for _, own in objects([(number, line.decode("utf-8-sig"))], path)]
                    target.write(json.dumps(row[0]) + "\n")
                except (DataError, UnicodeDecodeError) as error:
                    text = str(error)
                    errors[position] = (
                        text if text.startswith(str(path)) else f"{path}:{number}: {text}"
                    )
                    target.write("{}\n")
                position += 1
    return copy, errors
