"""Tables that know of each cell what it is sorted by, and whether it is the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from polytask.reports.wording import Text


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    :param order: The sorting key; the text if None.
    :param best: Whether it is the best of its column or row.
    :param tone: ``good`` or ``bad``; the sign of the number says the same.
    """

    text: Text
    order: float | str | None = None
    best: bool = False
    tone: str = ""


@dataclass(frozen=True)
class SortableTable:
    """A table that can be sorted; the first column names the rows.

    :param key: Its caption is the text ``table.KEY``.
    """

    key: str
    head: Sequence[Text]
    rows: Sequence[Sequence[Cell]]
    filtered: bool = False

    @property
    def texts(self) -> set[int]:
        """The columns that hold no numbers."""
        columns = enumerate(zip(*self.rows, strict=True))
        return {index for index, cells in columns if all(cell.order is None for cell in cells)}
