"""The base of sources that read files: finds, opens and caches them."""

from __future__ import annotations

import contextlib
import copy
import gzip
import zlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, ClassVar, Self

from typing_extensions import override

from polytask.core.batch import Row
from polytask.core.errors import DataError, RecipeError
from polytask.data.sources.base import ALL, TEST, TRAIN, VALIDATION, Source
from polytask.data.sources.filtering import Filter, Wanted
from polytask.data.sources.finding import find_all
from polytask.data.stored_tables import cache_table, content_sha256
from polytask.data.tables import Origin, Table, add_location

Paths = str | list[str] | None
"""A file, a folder of files or a pattern such as ``part-*.jsonl``; or a list of these, in order."""

_GZIP = b"\x1f\x8b"


class FileSource(Source):
    """Rows in files. A format implements ``read`` alone; gzip files are unpacked.

    :param train: Files of the training rows: a name, a folder, a pattern (``part-*``), or a list.
    :param validation: Files of the validation rows.
    :param test: Files of the test rows.
    :param path: Files of rows that have not been split.
    :param where: Read only rows that have the given value, or one of the values, in each column.
    """

    version: ClassVar[int] = 2
    """Cache version. Increment it when ``read`` returns different rows for the same file."""

    suffixes: ClassVar[tuple[str, ...]] = ("",)
    """Endings of file names of this format; other files in a folder are skipped."""

    place: ClassVar[str] = "{file}:{line}"
    """The format of the place of a row in messages."""

    def __init__(
        self,
        search: tuple[Path, ...],
        /,
        *,
        train: Paths = None,
        validation: Paths = None,
        test: Paths = None,
        path: Paths = None,
        where: Wanted | None = None,
        **options: Any,
    ) -> None:
        super().__init__(search, **options)
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
        """Yield the rows of a file, each with the number of its first line, from 1.

        :raises DataError: If the file is broken; names file and line.
        """

    def notes(self, path: Path) -> Iterator[str]:
        """Yield remarks for the user on how a file is read."""
        yield from ()

    @override
    def load(self) -> dict[str, Table]:
        return {split: self._table(paths, self.search) for split, paths in self.paths.items()}

    @override
    def find_missing_files(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        for split, names in self.paths.items():
            option = "path" if split == ALL else split
            for index, name in enumerate(names):
                try:
                    find_all(name, self.search, self.suffixes)
                except DataError as error:
                    yield (option, index) if len(names) > 1 else (option,), str(error)

    def read_new(self, path: Path, needed: Sequence[str]) -> Table:
        """Read another file with the same options, for prediction; ``where`` is not applied.

        :param needed: The columns that the file must have; others may be missing.
        :raises DataError: If the file is missing, empty or broken; names file and line.
        """
        return self._for_new(needed)._table([str(path)], ())

    def _for_new(self, needed: Sequence[str]) -> Self:
        """Return a copy of this source that requires the needed columns alone."""
        other = copy.copy(self)
        other.where = {}
        return other

    def _table(self, names: list[str], search: tuple[Path, ...]) -> Table:
        paths = [path for name in names for path in find_all(name, search, self.suffixes)]
        return cache_table(
            {
                "reader": type(self).__qualname__,
                "version": self.version,
                **self._options(),
                **self._folders(paths),
            },
            lambda: self._rows(paths),
            Origin(
                tuple(map(str, paths)),
                self.place,
                content_sha256(paths),
                tuple(f"{path}: {note}" for path in paths for note in self.notes(path)),
                self.types,
            ),
        )

    def _folders(self, paths: Sequence[Path]) -> dict[str, list[str]]:
        """Return the folders of the data files if rows name images or sounds relative to them.

        They belong in the cache key: a copy of a data file in another folder has other images.
        """
        if not {"image", "audio"} & {*self.types.values()}:
            return {}
        return {"folders": [str(path.resolve().parent) for path in paths]}

    def _options(self) -> dict[str, str]:
        """Return the attributes set by the constructor; they decide how a file is read."""
        shared = ("search", "paths")
        return {name: repr(value) for name, value in vars(self).items() if name not in shared}

    def _rows(self, paths: list[Path]) -> Iterator[Row]:
        chosen = Filter(self.where)
        for file, path in enumerate(paths):
            before = chosen.seen
            yield from (
                add_location(row, file, line) for line, row in self.read(path) if chosen.keeps(row)
            )
            if chosen.seen == before:
                raise DataError(f"{path}: the file holds no rows; expected at least one.")
        if not chosen.kept:
            raise DataError(f"{', '.join(map(str, paths))}: {chosen.mistake()}")


def check_splits(given: dict[str, Any]) -> None:
    """Check the splits that a source names.

    :raises RecipeError: If it names no rows, or both ``train`` and ``path``.
    """
    if not given:
        raise RecipeError(["no rows are given; expected train (validation, test), or path"])
    if TRAIN in given and ALL in given:
        raise RecipeError(["train and path are both given; expected one of them"])


@contextlib.contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """Open a file, unpacked if it is a gzip file, whatever its name.

    :raises DataError: If a gzip file is truncated or damaged.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(len(_GZIP)) == _GZIP
            raw.seek(0)
            with gzip.open(raw) if packed else contextlib.nullcontext(raw) as file:
                yield file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        message = f"{path}: a damaged gzip file ({error}); expected a whole file. Fetch it again."
        raise DataError(message) from error
