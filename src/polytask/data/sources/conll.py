"""The format of the CoNLL shared tasks: columns of words and tags, blank lines between sentences.

https://www.clips.uantwerpen.be/conll2000/chunking/
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator
from typing_extensions import override

from polytask.core.batch import Row
from polytask.core.errors import DataError
from polytask.data.sources.base import sources
from polytask.data.sources.sentences import Block, blocks
from polytask.data.sources.text_files import TextFileSource

Columns = Sequence[str] | Mapping[int, str]
_SPACES = re.compile(" +")
_DOCUMENT = "-DOCSTART-"


@dataclass(frozen=True)
class _Layout:
    """The columns of the cells of a line.

    :param positions: Position of the cell of each column; negative positions count from the end.
    :param cells: Number of cells of a line; None for any number that has these positions.
    """

    positions: Mapping[str, int]
    cells: int | None

    @classmethod
    def of(cls, names: Sequence[str]) -> _Layout:
        """Return the layout of lines with exactly these columns."""
        return cls({name: at for at, name in enumerate(names)}, len(names))

    def fits(self, cells: Sequence[str]) -> bool:
        """Return whether a line with these cells has this layout."""
        if self.cells is not None:
            return len(cells) == self.cells
        return all(-len(cells) <= place < len(cells) for place in self.positions.values())


def _names(columns: Columns) -> list[str]:
    return list(columns.values() if isinstance(columns, Mapping) else columns)


def _check_names(columns: Columns) -> Columns:
    names = _names(columns)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"expected a different name for every column, found {names}")
    return columns


@sources.register("conll")
class Conll(TextFileSource):
    """CoNLL files: a word and its tags per line, cells between tabs or spaces.

    A row is a sentence, and a column is a list with one entry per word. ``-DOCSTART-`` lines are
    skipped. A line with ``#`` before the first word of a sentence is a comment in two cases: it has
    another number of cells than a word, or it has no tab and reads like ``# key = value``. A file for
    prediction may lack the predicted columns: words alone are enough for a tagger.

    :param columns: Names of all columns, or of some by position: ``{0: tokens, -1: tags}``.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".conll", ".bio", ".iob", ".iob2")

    def __init__(
        self,
        search: tuple[Path, ...],
        /,
        *,
        columns: Annotated[Columns, AfterValidator(_check_names)] = ("tokens", "tags"),
        **options: Any,
    ) -> None:
        super().__init__(search, **options)
        self.columns = columns
        self.needed: list[str] = []

    @override
    def _for_new(self, needed: Sequence[str]) -> Self:
        other = super()._for_new(needed)
        other.needed = [name for name in _names(self.columns) if name in needed]
        return other

    @override
    def read(self, path: Path) -> Iterator[tuple[int, Row]]:
        layouts = self._layouts()
        for block in blocks(self.lines(path)):
            lines = [(number, line) for number, line in block if not line.startswith(_DOCUMENT)]
            words = lines[_count_comments(lines, layouts) :]
            if words:
                first = _cells(words[0][1])
                layouts = [next((each for each in layouts if each.fits(first)), layouts[-1])]
                cells = [self._check_cells(line, layouts[0], f"{path}:{n}") for n, line in words]
                positions = layouts[0].positions.items()
                yield words[0][0], {name: [each[at] for each in cells] for name, at in positions}

    def _layouts(self) -> list[_Layout]:
        """Return the layouts that a file may have; the first word of the file selects one.

        Training rows need all columns. New rows may lack columns that are not needed: all of them,
        or columns at the end of a line.
        """
        names = _names(self.columns)
        alone = _Layout.of(self.needed)
        if isinstance(self.columns, Mapping):
            full = _Layout({name: at for at, name in self.columns.items()}, None)
            needed = {name: at for name, at in full.positions.items() if name in self.needed}
            layouts = [alone, full, _Layout(needed, None)]
        else:
            full = _Layout.of(names)
            least = max(map(names.index, self.needed), default=0) + 1
            parts = [_Layout.of(names[:count]) for count in range(least, len(names))]
            layouts = [alone, *parts, full]
        return layouts if self.needed and self.needed != names else [full]

    def _check_cells(self, line: str, layout: _Layout, place: str) -> list[str]:
        """Return the cells of a word.

        :raises DataError: If the line does not have the layout.
        """
        cells = _cells(line)
        if not layout.fits(cells):
            found = f"{len(cells)} cells found in {line[:40]!r}"
            expected = self.columns if isinstance(self.columns, Mapping) else layout.positions
            wanted = ", ".join(map(str, expected))
            raise DataError(f"{place}: {found}, expected columns {wanted}; see option 'columns'.")
        return cells


def _count_comments(lines: Block, layouts: Sequence[_Layout]) -> int:
    """Return the number of comment lines before the first word."""
    first = (at for at, (_, line) in enumerate(lines) if not _is_comment(line, layouts))
    return next(first, len(lines))


def _is_comment(line: str, layouts: Sequence[_Layout]) -> bool:
    if not line.startswith("#"):
        return False
    cells = _cells(line)
    return not any(each.fits(cells) for each in layouts) or ("\t" not in line and "=" in line)


def _cells(line: str) -> list[str]:
    """Return the cells between tabs if there are any, else between spaces.

    Only U+0020 separates cells: a word may be another space character, such as U+00A0.
    """
    return line.split("\t") if "\t" in line else _SPACES.split(line.rstrip(" "))
