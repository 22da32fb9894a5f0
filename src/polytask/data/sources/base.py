"""The interface of a source of rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from polytask.core.registry import Registry
from polytask.data.column_values import Types
from polytask.data.tables import Table

TRAIN, VALIDATION, TEST, ALL = "train", "validation", "test", "all"


class Source(ABC):
    """A source of rows in one or more splits.

    :param search: Folders in which relative paths are looked up, first match wins.
    :param types: Types of columns that cannot be inferred from values, as in
        ``{photo: image, age: number}``. Paths of images and sounds are relative to the data file.
    """

    def __init__(self, search: tuple[Path, ...], /, *, types: Types | None = None) -> None:
        self.search = search
        self.types = types or {}

    @abstractmethod
    def load(self) -> dict[str, Table]:
        """Return the rows by split: ``train``, ``validation``, ``test``, or ``all`` if unsplit.

        :raises DataError: If a file is missing, empty or broken; names file and line.
        """

    def find_missing_files(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Yield each option that names a missing file, as keys of a recipe, with a message.

        Files are looked up, not read. Sources without files yield nothing.
        """
        yield from ()


sources: Registry[Source] = Registry("source", Source)
