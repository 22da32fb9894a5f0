"""Tables as text: what CSV and TSV have in common.

https://www.rfc-editor.org/rfc/rfc4180

Every cell stays the text that it is ("null", "NA" and "007" too); an empty cell is a missing value.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from polytask.core.batch import Row
from polytask.core.errors import DataError
from polytask.data.sources.files import FileSource, text_lines

_LONGEST_CELL = 1 << 27
"""Characters; the standard library stops at 128 thousand, which is less than a book."""

_DELIMITERS = ",;\t|"
"""Those in use, one of which in the name of an only column tells that another was expected."""


class Delimited(FileSource):
    """Rows of cells, the first of which names the columns.

    :param delimiter: The character between two cells.
    :param quotes: Whether a cell may be wrapped in quotes; otherwise a quote is a character.
    """

    def __init__(
        self, search: tuple[Path, ...], delimiter: str, quotes: bool, /, **options: Any
    ) -> None:
        super().__init__(search, **options)
        self.delimiter = delimiter
        self.quotes = quotes

    @override
    def read(self, path: Path) -> Iterator[tuple[int, Row]]:
        records = self._records(path)
        _, header = next(records, (1, []))
        self._check_header(header, path)
        for line, cells in records:
            if len(cells) != len(header):
                found = f"{len(cells)} cells found, {len(header)} expected ({', '.join(header)})"
                raise DataError(f"{path}:{line}: {found}.{self._advice(len(cells))}")
            yield line, {name: cell or None for name, cell in zip(header, cells, strict=True)}

    def _check_header(self, header: Sequence[str], path: Path) -> None:
        if not header:
            raise DataError(
                f"{path}: the file is empty; expected a first line that names the columns."
            )
        if "" in header or len(set(header)) < len(header):
            found = ", ".join(map(repr, header))
            raise DataError(f"{path}:1: expected a different name for every column, found {found}.")
        other = next((one for one in _DELIMITERS if one in header[0]), None)
        if len(header) == 1 and other:
            told = "kind: tsv" if other == "\t" else f"kind: csv, delimiter: {other!r}"
            raise DataError(
                f"{path}:1: expected {self.delimiter!r} between the names of columns, found a single "
                f"one, {header[0]!r}. Where it is {other!r}, write: {told}."
            )

    def _records(self, path: Path) -> Iterator[tuple[int, list[str]]]:
        """The cells of every record that is not blank, with the number of its first line."""
        csv.field_size_limit(_LONGEST_CELL)
        lines = (line for _, line in text_lines(path))
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
