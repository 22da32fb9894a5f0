"""Parallel text files: line n of every file belongs to row n.

Examples are translations (https://aclanthology.org/W16-3210), and questions with slots and intents
(https://aclanthology.org/N18-2118).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from typing_extensions import override

from polytask.core.batch import Row
from polytask.core.errors import DataError, RecipeError
from polytask.data.sources.base import ALL, TEST, TRAIN, VALIDATION, Source, sources
from polytask.data.sources.files import check_splits
from polytask.data.sources.finding import find
from polytask.data.sources.text_files import Encoding, read_lines
from polytask.data.stored_tables import cache_table, content_sha256
from polytask.data.tables import Origin, Table, add_location

Files = dict[str, str]
"""The file of every column."""


class _EncodedSource(Source):
    """Rows in text of some encoding.

    :param encoding: How characters are stored: ``utf-8``, ``utf-16``, ``gb18030``, ``cp1252``, ...
    """

    def __init__(self, search: tuple[Path, ...], /, *, encoding: Encoding = "utf-8") -> None:
        super().__init__(search)
        self._encoding = encoding


@sources.register("parallel")
class Parallel(_EncodedSource):
    """Text files with one column each; line n is row n, and an empty line is a missing value.

    :param train: The file of every column, for the training rows.
    :param validation: The file of every column, for the validation rows.
    :param test: The file of every column, for the test rows.
    :param path: The file of every column, for rows that have not been split.
    :param words: Columns of words or tags between spaces; they are read as lists.
    """

    def __init__(
        self,
        search: tuple[Path, ...],
        /,
        *,
        train: Files | None = None,
        validation: Files | None = None,
        test: Files | None = None,
        path: Files | None = None,
        words: list[str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(search, **options)
        given = {TRAIN: train, VALIDATION: validation, TEST: test, ALL: path}
        self._files = {split: files for split, files in given.items() if files}
        self._words = frozenset(words or ())
        check_splits(self._files)
        unknown = self._words.difference(*self._files.values())
        if unknown:
            raise RecipeError([f"words: no file is given for column {min(unknown)!r}"])

    @override
    def load(self) -> dict[str, Table]:
        return {
            split: self._table({column: find(name, self.search) for column, name in files.items()})
            for split, files in self._files.items()
        }

    @override
    def find_missing_files(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        for split, files in self._files.items():
            for column, name in files.items():
                try:
                    find(name, self.search)
                except DataError as error:
                    yield ("path" if split == ALL else split, column), str(error)

    def _table(self, files: Mapping[str, Path]) -> Table:
        paths = [*files.values()]
        words = sorted(self._words)
        return cache_table(
            {
                "reader": "Parallel",
                "columns": [*files],
                "words": words,
                "encoding": self._encoding,
            },
            lambda: self._rows(files),
            Origin(tuple(map(str, paths)), "{file}:{line}", content_sha256(paths)),
        )

    def _rows(self, files: Mapping[str, Path]) -> Iterator[Row]:
        paths = [*files.values()]
        number = 0
        columns = [read_lines(path, self._encoding) for path in paths]
        for number, lines in enumerate(zip_longest(*columns), start=1):
            if None in lines:
                raise DataError(
                    f"{paths[lines.index(None)]}: ends after line {number - 1}, before another file of "
                    f"these rows; expected as many lines in each of {', '.join(map(str, paths))}."
                )
            row = {
                column: text.split() if column in self._words else text.strip() or None
                for column, (_, text) in zip(files, lines, strict=True)
            }
            yield add_location(row, 0, number)
        if not number:
            raise DataError(f"{', '.join(map(str, paths))}: no lines found.")
