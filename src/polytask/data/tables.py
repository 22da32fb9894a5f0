"""Rows of one split, memory mapped, each knowing the file and line it came from.

Files are read once and kept as Arrow in a cache folder: ``$POLYTASK_CACHE``, or
``polytask`` in ``$XDG_CACHE_HOME``, or ``~/.cache/polytask``. An entry is named by what was read and how, so a
changed file is another entry, and deleting the folder costs nothing but time.
"""

from __future__ import annotations

import atexit
import contextlib
import difflib
import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from polytask.core.batch import Row
from polytask.core.columns import ColumnType, column_type
from polytask.core.errors import DataError
from polytask.core.files import sha256 as file_sha256
from polytask.core.scratch import scratch_folder
from polytask.data.arrow import FILE, LINE, conflicts_in, types_in, write_rows
from polytask.data.arrow_types import CellError
from polytask.data.column_values import typed_rows
from polytask.data.nested import nested_names, path_of, values_at

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import numpy.typing as npt

_FORMAT = 3
_BATCH = 10_000
_CHECKSUM_BYTES = hashlib.sha256().digest_size


class ConflictError(DataError):
    """A column whose values have no common type; the message names the first conflict's place."""


@dataclass(frozen=True)
class Origin:
    """Where the rows of a table come from; see ``Table``."""

    files: tuple[str, ...]
    place: str
    sha256: str = ""
    notes: tuple[str, ...] = ()
    types: Mapping[str, ColumnType] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """The rows of one split of one source.

    :param rows: The rows, on disk; ``rows[i]`` and ``rows[[i, j]]`` are quick.
    :param files: The files that the rows came from, as found.
    :param sha256: SHA-256 of the bytes of the file; of the hashes one after the other if several.
        A selection keeps the hash of what it was selected from.
    :param place: How a place is written, from ``file`` and ``line``.
    :param notes: Remarks on how the files were read, for people.
    :param conflicts: Columns that cannot be read, because their values have no common type, each
        with its error message.
    :param types: Types that were given for columns; ``type_of`` knows those of the others.
    """

    rows: datasets.Dataset
    files: tuple[str, ...]
    sha256: str
    place: str = "{file}:{line}"
    notes: tuple[str, ...] = ()
    conflicts: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, ColumnType] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def columns(self) -> list[str]:
        """The names of the columns, without the hidden ones.

        The values inside a mapping follow, with a dot: ``translation.en``.
        """
        shown = [name for name in self.rows.column_names if name not in (FILE, LINE)]
        inner = [name for name in nested_names(self.rows.features) if name not in shown]
        return [*shown, *inner, *self.conflicts]

    def path_to(self, name: str) -> tuple[str, ...] | None:
        """Return the names that lead to a column: several for a value inside a mapping.

        :raises ConflictError: If the values of the column have no common type.
        """
        found = path_of(self.rows.features, name)
        top = name if name in self.conflicts else name.partition(".")[0]
        if found is None and top in self.conflicts:
            raise ConflictError(self.conflicts[top])
        return found

    def type_of(self, name: str) -> ColumnType:
        """Return what a column holds.

        :raises DataError: If there is no such column, or it cannot be read.
        """
        self.require(name)
        feature = self.rows.features
        for part in self.path_to(name) or ():
            feature = feature[part]
        return self.types.get(name) or column_type(feature)

    def require(self, name: str) -> None:
        """Refuse a column that the table lacks or that cannot be read.

        :raises DataError: Names the nearest column, or the file and line of the conflict.
        """
        if self.path_to(name) is None:
            close = difflib.get_close_matches(name, self.columns, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            known = ", ".join(self.columns)
            raise DataError(f"{self.files[0]}: no column {name!r}.{hint} Columns: {known}.")

    def where(self, index: int) -> str:
        """The place of a row for messages: ``path:line``, or ``rows[3]`` if it has no file."""
        return self.place_of(self.rows[int(index)])

    def place_of(self, row: Mapping[str, Any]) -> str:
        """The place of a row that was read with its hidden columns."""
        return self.place.format(file=self.files[row[FILE]], line=row[LINE])

    def select(self, indices: Sequence[int] | npt.NDArray[np.integer]) -> Table:
        """The rows of these indices, in this order."""
        return replace(self, rows=self.rows.select(indices))

    def column(self, name: str) -> Iterator[Any]:
        """The values of one column, row by row, without reading the other columns.

        :raises DataError: If there is no such column, or it cannot be read.
        """
        self.require(name)
        top, *inner = self.path_to(name) or (name,)
        batches = self.rows.select_columns([top]).with_format("arrow").iter(_BATCH)
        for batch in batches:
            yield from values_at(batch[top], inner)


def located(row: Row, file: int, line: int) -> dict[str, Any]:
    """A row with the hidden columns that say where it came from.

    :raises CellError: If it has columns of those names already.
    """
    marked = {**row, FILE: file, LINE: line}
    if len(marked) < len(row) + 2:
        raise CellError(marked, f"{FILE} or {LINE}", "the name is reserved; expected another one")
    return marked


def cached_table(
    key: Mapping[str, Any], read: Callable[[], Iterable[Row]], origin: Origin
) -> Table:
    """A table of rows that are read only if the cache does not hold them yet.

    :param key: What decides the rows besides the content of the files: reader and options.
    :param read: Gives the rows, each ``located`` in its file.
    """
    types = dict(origin.types)
    path = _cache_folder() / f"{_digest([_FORMAT, dict(key), types, origin.sha256])}.arrow"
    if not _intact(path):
        with _naming_the_place(origin):
            _write_sealed(typed_rows(read(), types, origin.files), path, types)
    return _table(path, origin)


def spooled_table(rows: Iterable[Row], origin: Origin) -> Table:
    """A table of rows that no file holds; it lives as long as this process.

    :param rows: The rows, each ``located``.
    """
    types = dict(origin.types)
    with _naming_the_place(origin):
        path, _ = _spooled(typed_rows(rows, types, origin.files), _process_folder(), types)
    return _table(path, replace(origin, sha256=file_sha256(path)))


def _table(path: Path, origin: Origin) -> Table:
    conflicts = {
        name: f"{origin.place.format(file=origin.files[file], line=line)}: {reason}"
        for name, (file, line, reason) in conflicts_in(path).items()
    }
    found = origin.files, origin.sha256, origin.place, origin.notes
    return Table(_map(path), *found, conflicts, types_in(path))


@contextlib.contextmanager
def _naming_the_place(origin: Origin) -> Iterator[None]:
    try:
        yield
    except CellError as error:
        file, line = origin.files[error.row[FILE]], error.row[LINE]
        where = origin.place.format(file=file, line=line)
        raise DataError(f"{where}: {error}") from error


def spool(rows: Iterable[Row], folder: Path) -> datasets.Dataset:
    """Write rows to a new Arrow file in a folder and map it; for rows too many to hold.

    Values may be numbers, texts, lists and mappings of them, and NumPy arrays.

    :raises CellError: If a value does not fit its column.
    """
    path, conflicts = _spooled(rows, folder)
    if conflicts:
        raise conflicts[0]
    return _map(path)


def _spooled(
    rows: Iterable[Row], folder: Path, types: Mapping[str, ColumnType] = MappingProxyType({})
) -> tuple[Path, list[CellError]]:
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder, suffix=".arrow")
    os.close(handle)
    return Path(name), write_rows(rows, Path(name), types)


def content_sha256(paths: Sequence[Path]) -> str:
    """SHA-256 of a file, or of the hashes of several files one after the other."""
    hashes = [file_sha256(path) for path in paths]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


@functools.cache
def _process_folder() -> Path:
    """A scratch folder that lives as long as this process."""
    kept = contextlib.ExitStack()
    atexit.register(kept.close)
    return kept.enter_context(scratch_folder())


def _cache_folder() -> Path:
    """Where converted files are kept; a scratch folder if that place cannot be written."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(os.environ.get("POLYTASK_CACHE") or f"{base}/polytask")
    try:
        folder = folder.expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError):
        return _process_folder()
    return folder


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _write_sealed(rows: Iterable[Row], path: Path, types: Mapping[str, ColumnType]) -> None:
    """Write rows and their checksum; whoever else writes the same file, it is whole at any time.

    The checksum follows the end of the Arrow stream, where readers of Arrow do not look.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        write_rows(rows, temporary, types)
        checksum = hashlib.sha256(_bytes(temporary)).digest()
        with temporary.open("ab") as file:
            file.write(checksum)
        temporary.replace(path)


def _intact(path: Path) -> bool:
    """Whether a sealed file is there, and as it was written."""
    if not path.is_file():
        return False
    content = _bytes(path)
    end = max(0, len(content) - _CHECKSUM_BYTES)
    return hashlib.sha256(content[:end]).digest() == bytes(content[end:])


def _bytes(path: Path) -> pa.Buffer:
    with pa.memory_map(str(path)) as source:
        return source.read_buffer()


def _map(path: Path) -> datasets.Dataset:
    import datasets  # slow: most commands never read rows

    return datasets.Dataset.from_file(str(path))
