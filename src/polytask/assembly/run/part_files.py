"""Files of predicted rows: JSON Lines, or Parquet with the same columns in each part."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from polytask.assembly.run.prediction import Record
from polytask.core.files import sync

PartFormat = Literal["jsonl", "parquet"]
_CHUNK = 10_000
"""Rows of a row group of Parquet."""


def write_part(path: Path, records: Iterable[Record], tasks: Sequence[str]) -> int:
    """Write records and return their number; the file has its name only when it is complete.

    :param path: Ends with ``.jsonl`` or ``.parquet``.
    :param tasks: All tasks of the run, which decide the columns of Parquet.
    """
    with _renamed(path) as temporary:
        if path.suffix == ".parquet":
            return _write_parquet(temporary, records, tasks)
        return _write_lines(temporary, records)


def remove_temporary(folder: Path) -> None:
    """Remove what a killed process left."""
    for path in folder.glob(".part-*"):
        path.unlink(missing_ok=True)


@contextmanager
def _renamed(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{os.uname().nodename}.{os.getpid()}.{_thread()}")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _thread() -> int:
    return threading.get_ident()


def _write_lines(path: Path, records: Iterable[Record]) -> int:
    rows = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            rows += 1
    return rows


def _write_parquet(path: Path, records: Iterable[Record], tasks: Sequence[str]) -> int:
    schema, rows, left = _schema(tasks), 0, iter(records)
    with pq.ParquetWriter(path, schema) as writer:
        while chunk := [*islice(left, _CHUNK)]:
            found = [_columns(record, tasks) for record in chunk]
            writer.write_table(pa.Table.from_pylist(found, schema))
            rows += len(chunk)
    return rows


def _schema(tasks: Sequence[str]) -> pa.Schema:
    """Return columns that do not depend on the rows, so that parts can be read as one table."""
    kinds = {"label": pa.string(), "confidence": pa.float64(), "error": pa.string()}
    kinds |= {"record": pa.string()}
    return pa.schema([pa.field(f"{task}.{key}", kinds[key]) for task in tasks for key in kinds])


def _columns(record: Record, tasks: Sequence[str]) -> dict[str, Any]:
    """Return the columns of a record; a label that is no text is JSON, as the whole record is."""
    row: dict[str, Any] = {}
    for task in tasks:
        if task in record:
            own = record[task]
            label = own.get("label")
            row[f"{task}.label"] = (
                label if label is None or isinstance(label, str) else _json(label)
            )
            row[f"{task}.confidence"] = own.get("confidence")
            row[f"{task}.error"] = own.get("error")
            row[f"{task}.record"] = _json(own)
    return row


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
