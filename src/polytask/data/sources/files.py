"""Sources that read files: where files are looked up, how they are opened, what is cached."""

from __future__ import annotations

import contextlib
import copy
import difflib
import gzip
import os
import zlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, ClassVar, Self

from typing_extensions import override

from polytask.core.batch import Row
from polytask.core.errors import DataError, RecipeError
from polytask.data.sources.base import ALL, TEST, TRAIN, VALIDATION, Source
from polytask.data.tables import Table, cached_table, content_sha256, located

Value = str | int | float | bool
Paths = str | list[str] | None
"""One file, or several that are read one after the other."""

_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"


class FileSource(Source):
    """Rows in files. A format implements ``read`` alone; ``.gz`` files are unpacked on the way.

    :param train: File or files of the training rows.
    :param validation: File or files of the validation rows.
    :param test: File or files of the test rows.
    :param path: File or files of rows that have not been split.
    :param where: Read only rows with these values in these columns.
    """

    version: ClassVar[int] = 1
    """To be raised whenever ``read`` gives other rows for the same file, so that none are stale."""

    place: ClassVar[str] = "{file}:{line}"
    """How messages name a row."""

    def __init__(
        self,
        search: tuple[Path, ...],
        /,
        *,
        train: Paths = None,
        validation: Paths = None,
        test: Paths = None,
        path: Paths = None,
        where: dict[str, Value] | None = None,
    ) -> None:
        super().__init__(search)
        self.where = where or {}
        given = {TRAIN: train, VALIDATION: validation, TEST: test, ALL: path}
        self.paths = {
            split: [paths] if isinstance(paths, str) else paths
            for split, paths in given.items()
            if paths
        }
        check_splits(self.paths)

    @abstractmethod
    def read(self, path: Path) -> Iterator[tuple[int, Row]]:
        """The rows of one file, each with the number of its first line, from 1.

        :raises DataError: If the file is broken; names file and line.
        """

    @override
    def load(self) -> dict[str, Table]:
        return {
            split: self._table([find(path, self.search) for path in paths])
            for split, paths in self.paths.items()
        }

    def read_new(self, path: Path, needed: Sequence[str]) -> Table:
        """Read another file with the same options, for prediction; ``where`` is not applied.

        :param needed: The columns that the file must hold; others may be absent.
        :raises DataError: If the file is missing, empty or broken; names file and line.
        """
        return self._for_new(needed)._table([path])

    def _for_new(self, needed: Sequence[str]) -> Self:
        """Return a copy that reads files with the needed columns alone."""
        other = copy.copy(self)
        other.where = {}
        return other

    def _table(self, paths: list[Path]) -> Table:
        return cached_table(
            {"reader": type(self).__qualname__, "version": self.version, **self._options()},
            lambda: self._rows(paths),
            files=tuple(map(str, paths)),
            sha256=sha256_of(paths),
            place=self.place,
        )

    def _options(self) -> dict[str, str]:
        """The attributes that a format sets in its constructor: they decide how a file is read."""
        shared = ("search", "paths")
        return {name: repr(value) for name, value in vars(self).items() if name not in shared}

    def _rows(self, paths: list[Path]) -> Iterator[Row]:
        for file, path in enumerate(paths):
            rows = 0
            for line, row in self.read(path):
                if all(row.get(column) == value for column, value in self.where.items()):
                    rows += 1
                    yield located(row, file, line)
            if not rows:
                which = "".join(f" whose {name} is {value!r}" for name, value in self.where.items())
                raise DataError(f"{path}: the file holds no rows{which}; expected at least one.")


def check_splits(given: dict[str, Any]) -> None:
    """Refuse a source that names no rows, or the training rows twice.

    :raises RecipeError: If it does.
    """
    if not given:
        raise RecipeError(["no rows are named; expected train (validation, test), or path"])
    if TRAIN in given and ALL in given:
        raise RecipeError(["train and path are both given; expected one of them"])


def sha256_of(paths: Sequence[Path]) -> str:
    """SHA-256 of the content of files.

    :raises DataError: If one cannot be read.
    """
    try:
        return content_sha256(paths)
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}.") from error


def find(name: str, search: tuple[Path, ...]) -> Path:
    """The first file of that name in the folders to look in.

    :raises DataError: If there is none; lists the folders and the nearest name.
    """
    wanted = Path(name).expanduser()
    candidates = [folder / wanted for folder in search] or [wanted]
    for path in candidates:
        if path.is_file():
            return path
    if any(path.is_dir() for path in candidates):
        raise DataError(f"{name}: a folder was found where a file was expected.")
    raise DataError(f"{name}: no such file.{_nearest(candidates)}{_looked_in(wanted, search)}")


def _looked_in(wanted: Path, search: tuple[Path, ...]) -> str:
    if wanted.is_absolute():
        return ""
    folders = ", ".join(map(str, search)) or str(Path.cwd())
    unset = "POLYTASK_DATA" not in os.environ
    hint = " Set POLYTASK_DATA to the folder that holds your data." if unset else ""
    return f" Looked in {folders}.{hint}"


def _nearest(candidates: list[Path]) -> str:
    """A question about the name that is closest to the first part of a path that does not exist."""
    for path in candidates:
        missing = next((p for p in [*reversed(path.parents), path] if not p.exists()), path)
        if not missing.parent.is_dir():
            continue
        names = sorted(entry.name for entry in missing.parent.iterdir())
        close = difflib.get_close_matches(missing.name, names, n=3, cutoff=0.7)
        if close:
            return f" Did you mean {' or '.join(str(missing.with_name(n)) for n in close)}?"
    return ""


@contextlib.contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """The bytes of a file, unpacked if it was packed with gzip, whatever its name.

    :raises DataError: If the packed file is cut off or damaged, or the file cannot be read.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(len(_GZIP)) == _GZIP
            raw.seek(0)
            with gzip.open(raw) if packed else contextlib.nullcontext(raw) as file:
                yield file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        message = f"{path}: a damaged gzip file ({error}); expected a whole one. Fetch it again."
        raise DataError(message) from error


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    r"""The lines of a UTF-8 file with their numbers, from 1; only ``\n`` ends a line.

    Texts may hold other characters that Python takes for line ends, such as U+2028.

    :raises DataError: If a line is not UTF-8; names it.
    """
    with open_bytes(path) as file:
        for number, line in enumerate(file, start=1):
            content = line.removeprefix(_BOM) if number == 1 else line
            try:
                yield number, content.decode("utf-8")
            except UnicodeDecodeError as error:
                message = f"{path}:{number}: not UTF-8 text ({error.reason} at byte {error.start})"
                raise DataError(f"{message}; expected a file saved as UTF-8.") from error


def text_of(path: Path) -> str:
    """All of a UTF-8 file.

    :raises DataError: If a line is not UTF-8; names it.
    """
    return "".join(line for _, line in text_lines(path))
