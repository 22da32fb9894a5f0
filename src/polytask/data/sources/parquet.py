"""Parquet files.

https://parquet.apache.org/docs/file-format/
"""

from __future__ import annotations

import contextlib
import gzip
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, ClassVar

import pyarrow as pa
from pyarrow import parquet
from typing_extensions import override

from polytask.core.batch import Row
from polytask.core.errors import DataError
from polytask.data.sources.base import sources
from polytask.data.sources.files import FileSource, open_bytes

_BATCH = 1000


@sources.register("parquet")
class Parquet(FileSource):
    """Parquet files; rows are counted from 1 in messages."""

    suffixes: ClassVar[tuple[str, ...]] = (".parquet", ".pq")
    place: ClassVar[str] = "{file}, row {line}"

    @override
    def read(self, path: Path) -> Iterator[tuple[int, Row]]:
        number = 0
        with _seekable(path) as file:
            try:
                table = parquet.ParquetFile(file)
                _check_names(table.schema_arrow.names, path)
                for batch in table.iter_batches(_BATCH):
                    for row in batch.to_pylist():
                        number += 1
                        yield number, row
            except (pa.ArrowException, OSError) as error:
                raise DataError(f"{path}: not a valid Parquet file: {error}") from error


def _check_names(names: list[str], path: Path) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        found = ", ".join(map(repr, twice))
        raise DataError(f"{path}: several columns named {found} found; rename all but one of each.")


@contextlib.contextmanager
def _seekable(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for random access, as the footer is read first; unpack a gzip file to disk."""
    with open_bytes(path) as file, tempfile.TemporaryFile() as unpacked:
        if not isinstance(file, gzip.GzipFile):
            yield file
            return
        shutil.copyfileobj(file, unpacked)
        unpacked.seek(0)
        yield unpacked
