"""Tables on disk, in Arrow format.

Files are read once and kept as Arrow in a cache folder: ``$POLYTASK_CACHE``, or ``polytask`` in
``$XDG_CACHE_HOME``, or ``~/.cache/polytask``. The name of an entry is a hash of the content and of the
reader's options, so a changed file is a new entry. The folder can be deleted at any time.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from polytask.core.batch import Row
from polytask.core.columns import ColumnType
from polytask.core.errors import DataError
from polytask.core.files import sha256 as file_sha256
from polytask.core.scratch import scratch_folder
from polytask.data.arrow import FILE, LINE, read_metadata, write_rows
from polytask.data.arrow_types import CellError
from polytask.data.column_values import convert_rows
from polytask.data.tables import Origin, Table

if TYPE_CHECKING:
    import datasets

_FORMAT = 3
_CHECKSUM_BYTES = hashlib.sha256().digest_size


def cache_table(key: Mapping[str, Any], read: Callable[[], Iterable[Row]], origin: Origin) -> Table:
    """Return a table of rows; they are read only if the cache does not hold them yet.

    :param key: Reader and options: all that decides the rows besides the content of the files.
    :param read: Returns the rows, each from ``add_location``.
    :raises DataError: If a value does not fit its column; names its place.
    """
    types = dict(origin.types)
    content = json.dumps([_FORMAT, dict(key), types, origin.sha256], sort_keys=True)
    path = _cache_folder() / f"{hashlib.sha256(content.encode()).hexdigest()}.arrow"
    if not _is_intact(path):
        with _name_place(origin):
            _write_sealed(convert_rows(read(), types, origin.files), path, types)
    return _table(path, origin)


def spool_table(rows: Iterable[Row], origin: Origin) -> Table:
    """Return a table of rows that are in no file; it is deleted when the process ends.

    :param rows: The rows, each from ``add_location``.
    :raises DataError: If a value does not fit its column; names its place.
    """
    types = dict(origin.types)
    with _name_place(origin):
        path, _ = _write_temporary(
            convert_rows(rows, types, origin.files), _process_folder(), types
        )
    return _table(path, replace(origin, sha256=file_sha256(path)))


def _table(path: Path, origin: Origin) -> Table:
    types, found = read_metadata(path)
    conflicts = {
        name: f"{origin.place_at(file, line)}: {reason}"
        for name, (file, line, reason) in found.items()
    }
    known = {**vars(origin), "types": types}
    return Table(**known, rows=_map(path, types), conflicts=conflicts)


@contextlib.contextmanager
def _name_place(origin: Origin) -> Iterator[None]:
    try:
        yield
    except CellError as error:
        raise DataError(f"{origin.place_at(error.row[FILE], error.row[LINE])}: {error}") from error


def spool(rows: Iterable[Row], folder: Path) -> datasets.Dataset:
    """Write rows to a new Arrow file in a folder and memory-map it.

    Values may be numbers, texts, NumPy arrays, and lists and mappings of these.

    :raises CellError: If a value does not fit its column.
    """
    path, conflicts = _write_temporary(rows, folder)
    if conflicts:
        raise conflicts[0]
    return _map(path)


def _write_temporary(
    rows: Iterable[Row], folder: Path, types: Mapping[str, ColumnType] = MappingProxyType({})
) -> tuple[Path, list[CellError]]:
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder, suffix=".arrow")
    os.close(handle)
    return Path(name), write_rows(rows, Path(name), types)


def content_sha256(paths: Sequence[Path]) -> str:
    """Return the SHA-256 of a file; for several files, the SHA-256 of their joined hashes.

    :raises DataError: If a file cannot be read.
    """
    try:
        hashes = [file_sha256(path) for path in paths]
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}.") from error
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


@functools.cache
def _process_folder() -> Path:
    """Return a scratch folder that is deleted when the process ends."""
    kept = contextlib.ExitStack()
    atexit.register(kept.close)
    return kept.enter_context(scratch_folder())


def _cache_folder() -> Path:
    """Return the cache folder, or a scratch folder if the cache folder is not writable."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(os.environ.get("POLYTASK_CACHE") or f"{base}/polytask")
    try:
        folder = folder.expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError):
        return _process_folder()
    return folder


def _write_sealed(rows: Iterable[Row], path: Path, types: Mapping[str, ColumnType]) -> None:
    """Write rows and their checksum; the file is complete at any time, whoever else writes it.

    The checksum follows the end of the Arrow stream, which readers of Arrow ignore.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        write_rows(rows, temporary, types)
        checksum = hashlib.sha256(_bytes(temporary)).digest()
        with temporary.open("ab") as file:
            file.write(checksum)
        temporary.replace(path)  # atomic, as both are in one file system


def _is_intact(path: Path) -> bool:
    """Return whether a file with a checksum exists and matches its checksum."""
    if not path.is_file():
        return False
    content = _bytes(path)
    end = max(0, len(content) - _CHECKSUM_BYTES)
    return hashlib.sha256(content[:end]).digest() == bytes(content[end:])


def _bytes(path: Path) -> pa.Buffer:
    with pa.memory_map(str(path)) as source:
        return source.read_buffer()


def _map(path: Path, types: Mapping[str, ColumnType] = MappingProxyType({})) -> datasets.Dataset:
    import datasets  # slow to import, and most commands never read rows

    # Without ``decode=False`` a row would decode its image when read; encoders decode when drawn.
    files = {"image": datasets.Image(decode=False), "audio": datasets.Audio(decode=False)}
    mapped = datasets.Dataset.from_file(str(path))
    typed = {name: files[kind] for name, kind in types.items() if kind in files}
    if not typed.keys() & mapped.features.keys():
        return mapped
    features = datasets.Features({**mapped.features, **typed})
    return datasets.Dataset.from_file(str(path), info=datasets.DatasetInfo(features=features))
