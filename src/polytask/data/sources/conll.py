"""Columns of words and tags, sentences between blank lines, as in the CoNLL shared tasks.

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
    """Which cells of a line are which columns.

    :param positions: Columns with the positions of their cells; negative ones count from the end.
    :param cells: How many cells a line has; None for any number that has these positions.
    """

    positions: Mapping[str, int]
    cells: int | None

    @classmethod
    def of(cls, names: Sequence[str]) -> _Layout:
        """Return the layout of lines that hold these columns alone."""
        return cls({name: at for at, name in enumerate(names)}, len(names))

    def fits(self, cells: Sequence[str]) -> bool:
        """Whether a line with these cells is a word."""
        if self.cells is not None:
            return len(cells) == self.cells
        return all(-len(cells) <= place < len(cells) for place in self.positions.values())


def _names(columns: Columns) -> list[str]:
    return list(columns.values() if isinstance(columns, Mapping) else columns)


def _different(columns: Columns) -> Columns:
    names = _names(columns)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"expected a different name for every column, found {names}")
    return columns


@sources.register("conll")
class Conll(TextFileSource):
    """CoNLL files: a word and its tags per line, cells between tabs or spaces.

    A row is a sentence and every column a list with one entry per word. ``-DOCSTART-`` lines are
    left out. A line that starts with ``#`` before the first word of a sentence is a comment if it
    does not have the cells of a word, or has no tab and reads like ``# key = value``. A file to
    predict may lack the columns that are predicted: words alone are enough for a tagger.

    :param columns: Names of all columns, or of some by position: ``{0: tokens, -1: tags}``.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".conll", ".bio", ".iob", ".iob2")

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
            words = lines[_comments(lines, layouts) :]
            if words:
                first = _cells(words[0][1])
                layouts = [next((each for each in layouts if each.fits(first)), layouts[-1])]
                cells = [self._check_cells(line, layouts[0], f"{path}:{n}") for n, line in words]
                positions = layouts[0].positions.items()
                yield words[0][0], {name: [each[at] for each in cells] for name, at in positions}

    def _layouts(self) -> list[_Layout]:
        """The layouts that a file may have; the first word of a file decides.

        Training rows need all columns. New rows may lack those that are not needed: all of them,
        or those at the end of a line.
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
        """The cells of a word."""
        cells = _cells(line)
        if not layout.fits(cells):
            found = f"{len(cells)} cells found in {line[:40]!r}"
            expected = self.columns if isinstance(self.columns, Mapping) else layout.positions
            wanted = ", ".join(map(str, expected))
            raise DataError(f"{place}: {found}, expected columns {wanted}; see option 'columns'.")
        return cells


def _comments(lines: Block, layouts: Sequence[_Layout]) -> int:
    """How many lines before the first word are comments."""
    first = (at for at, (_, line) in enumerate(lines) if not _is_comment(line, layouts))
    return next(first, len(lines))


def _is_comment(line: str, layouts: Sequence[_Layout]) -> bool:
    if not line.startswith("#"):
        return False
    cells = _cells(line)
    return not any(each.fits(cells) for each in layouts) or ("\t" not in line and "=" in line)


def _cells(line: str) -> list[str]:
    """Cells between tabs where there are any, else between spaces; a word may be any other space."""
    return line.split("\t") if "\t" in line else _SPACES.split(line.rstrip(" "))
