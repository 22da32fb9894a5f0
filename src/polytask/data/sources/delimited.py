"""Tables of comma-separated and tab-separated values.

https://www.rfc-editor.org/rfc/rfc4180
https://www.iana.org/assignments/media-types/text/tab-separated-values

Every cell is read as text ("null", "NA" and "007" too); an empty cell is a missing value. Columns
without a name are skipped: the first ones are row numbers, as pandas writes them, and the last ones
come from a delimiter at the end of each line.
"""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeAlias

from pydantic import Field
from typing_extensions import override

from polytask.core.batch import Row
from polytask.core.errors import DataError
from polytask.data.sources.base import sources
from polytask.data.sources.text_files import TextFileSource

Delimiter: TypeAlias = Annotated[str, Field(min_length=1, max_length=1)]

_MAX_CELL = 1 << 27
"""Characters; the default of the standard library is 128 thousand, which is less than a book."""

_DELIMITERS = ",;\t|"
"""Common delimiters. If the only column name contains one, the delimiter of the recipe is wrong."""


@sources.register("csv")
class Csv(TextFileSource):
    """CSV files: the first line names the columns, cells may be quoted.

    :param delimiter: The character between two cells.
    :param quotes: True if cells may be wrapped in double quotes; if false, a quote is a character.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".csv",)

    def __init__(
        self,
        search: tuple[Path, ...],
        /,
        *,
        delimiter: Delimiter = ",",
        quotes: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(search, **options)
        self.delimiter = delimiter
        self.quotes = quotes

    @override
    def notes(self, path: Path) -> Iterator[str]:
        header = self._header(path)
        unnamed = [place for place, name in enumerate(header, start=1) if not name.strip()]
        if unnamed:
            places = ", ".join(map(str, unnamed))
            yield f"columns without a name in the first line are not read: {places}."

    @override
    def read(self, path: Path) -> Iterator[tuple[int, Row]]:
        header = self._header(path)
        names = {place: name for place, name in enumerate(header) if name.strip()}
        for line, cells in itertools.islice(self._records(path), 1, None):
            if len(cells) != len(header):
                wanted = ", ".join(name or "''" for name in header)
                found = f"{len(cells)} cells found, {len(header)} expected ({wanted})"
                raise DataError(f"{path}:{line}: {found}.{self._advice(len(cells))}")
            if extra := "".join(cells[max(names) + 1 :]).strip():
                raise DataError(
                    f"{path}:{line}: {extra[:40]!r} found in a column without a name; expected "
                    "nothing there. Name the column in the first line."
                )
            yield line, {name: cells[place] or None for place, name in names.items()}

    def _header(self, path: Path) -> list[str]:
        """Return the names of the columns.

        :raises DataError: If a name is missing or occurs twice, or the delimiter is wrong.
        """
        line, header = next(self._records(path), (1, []))
        mistake = _mistake(header) or self._other_delimiter(header)
        if mistake:
            raise DataError(f"{path}:{line}: {mistake}" if header else f"{path}: {mistake}")
        return header

    def _other_delimiter(self, header: Sequence[str]) -> str:
        """Return the message for a single name that contains another delimiter; empty if none."""
        other = next((one for one in _DELIMITERS if one in header[0]), None)
        if len(header) > 1 or not other:
            return ""
        told = "kind: tsv" if other == "\t" else f"kind: csv, delimiter: {other!r}"
        return (
            f"expected {self.delimiter!r} between the names of columns, found a single name, "
            f"{header[0]!r}. If the delimiter is {other!r}, write: {told}."
        )

    def _records(self, path: Path) -> Iterator[tuple[int, list[str]]]:
        """Yield the number of the first line and the cells of every record that is not blank."""
        csv.field_size_limit(_MAX_CELL)
        lines = (line for _, line in self.lines(path))
        reader = csv.reader(
            lines,
            delimiter=self.delimiter,
            quoting=csv.QUOTE_MINIMAL if self.quotes else csv.QUOTE_NONE,
            strict=True,
        )
        first = 1
        try:
            for cells in reader:
                if cells:
                    yield first, cells
                first = reader.line_num + 1
        except csv.Error as error:
            place = f"{path}:{first}"
            raise DataError(f"{place}: not a valid record: {error}.{self._advice(0)}") from error

    def _advice(self, found: int) -> str:
        if found == 1:
            return f" Is {self.delimiter!r} the right delimiter?"
        return " A quote opened on this line may not be closed." if self.quotes else ""


@sources.register("tsv")
class Tsv(Csv):
    """TSV files: the first line names the columns, a quote is a character like any other.

    https://www.iana.org/assignments/media-types/text/tab-separated-values

    :param delimiter: The character between two cells.
    :param quotes: True if cells may be wrapped in double quotes, as spreadsheets write them.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".tsv", ".tab")

    def __init__(
        self,
        search: tuple[Path, ...],
        /,
        *,
        delimiter: Delimiter = "\t",
        quotes: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(search, delimiter=delimiter, quotes=quotes, **options)


def _mistake(header: Sequence[str]) -> str:
    """Return the message for wrong names of columns; empty if the names are right."""
    if not header:
        return "the file is empty; expected a first line that names the columns."
    named = [place for place, name in enumerate(header) if name.strip()]
    if not named:
        return "none of the columns has a name; expected a first line that names the columns."
    twice = [name for name, number in Counter(header[at] for at in named).items() if number > 1]
    if twice:
        found = ", ".join(f"{name!r} in columns {_places(header, name)}" for name in twice)
        return f"expected a different name for every column, found {found}. Rename all but one of them."
    gap = next((at for at in range(named[0], named[-1]) if at not in named), None)
    if gap is None:
        return ""
    places = ", ".join(str(at + 1) for at in range(gap, named[-1]) if at not in named)
    return (
        f"expected a name for every column, found none for column {places} of {len(header)} "
        f"(after {header[gap - 1]!r}). Name it in this line, or remove the column."
    )


def _places(header: Sequence[str], name: str) -> str:
    return " and ".join(str(at) for at, other in enumerate(header, start=1) if other == name)
