"""Columns of words and tags, sentences between blank lines, as in the CoNLL shared tasks.

https://www.clips.uantwerpen.be/conll2000/chunking/
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator
from typing_extensions import override

from polytask.core.batch import Row
from polytask.core.errors import DataError
from polytask.data.sources.base import sources
from polytask.data.sources.files import FileSource
from polytask.data.sources.sentences import blocks

Columns = Sequence[str] | Mapping[int, str]
_SPACES = re.compile(" +")
_DOCUMENT = "-DOCSTART-"


def _names(columns: Columns) -> list[str]:
    return list(columns.values() if isinstance(columns, Mapping) else columns)


def _different(columns: Columns) -> Columns:
    names = _names(columns)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"expected a different name for every column, found {names}")
    return columns


@sources.register("conll")
class Conll(FileSource):
    """CoNLL files: a word and its tags per line, cells between tabs or spaces.

    A row is a sentence and every column a list with one entry per word. ``-DOCSTART-`` lines are
    left out. A line that starts with ``#`` before the first word of a sentence is a comment if it
    does not have the cells of a word, or has no tab and reads like ``# key = value``.

    :param columns: Names of all columns, or of some by position: ``{0: tokens, -1: tags}``.
    """

    def __init__(
        self,
        search: tuple[Path, ...],
        /,
        *,
        columns: Annotated[Columns, AfterValidator(_different)] = ("tokens", "tags"),
        **options: Any,
    ) -> None:
        super().__init__(search, **options)
        self.columns = columns

    @override
    def read(self, path: Path) -> Iterator[tuple[int, Row]]:
        names = _names(self.columns)
        for block in blocks(path):
            lines = [(number, line) for number, line in block if not line.startswith(_DOCUMENT)]
            words = list(itertools.dropwhile(lambda numbered: self._is_comment(numbered[1]), lines))
            if words:
                cells = [self._picked(line, f"{path}:{number}") for number, line in words]
                entries = zip(names, zip(*cells, strict=True), strict=True)
                yield words[0][0], {name: list(values) for name, values in entries}

    def _is_comment(self, line: str) -> bool:
        if not line.startswith("#"):
            return False
        return not self._fits(_cells(line)) or ("\t" not in line and "=" in line)

    def _fits(self, cells: list[str]) -> bool:
        if isinstance(self.columns, Mapping):
            return all(-len(cells) <= position < len(cells) for position in self.columns)
        return len(cells) == len(self.columns)

    def _picked(self, line: str, place: str) -> list[str]:
        """The cells of a word that have a name."""
        cells = _cells(line)
        if not self._fits(cells):
            found = f"{len(cells)} cells found in {line[:40]!r}"
            wanted = ", ".join(map(str, self.columns))
            raise DataError(f"{place}: {found}, expected columns {wanted}; see option 'columns'.")
        if isinstance(self.columns, Mapping):
            return [cells[position] for position in self.columns]
        return cells


def _cells(line: str) -> list[str]:
    """Cells between tabs where there are any, else between spaces; a word may be any other space."""
    return line.split("\t") if "\t" in line else _SPACES.split(line.rstrip(" "))
