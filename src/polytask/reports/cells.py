"""Tables whose cells carry a sorting key and a mark of the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from polytask.reports.formats import NOTHING
from polytask.reports.wording import Text


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    :param order: The sorting key; the text if None.
    :param best: True for the best cell of its column or row.
    :param tone: ``good`` or ``bad``; the sign of the number says the same.
    """

    text: Text
    order: float | str | None = None
    best: bool = False
    tone: str = ""


UNKNOWN = Cell(NOTHING, -1e9)
"""The cell of an unknown number; it sorts below all numbers."""


@dataclass(frozen=True)
class SortableTable:
    """A table that readers can sort; the first column names the rows.

    :param key: The caption is the text ``table.KEY``.
    :param filtered: True to show a field that filters rows.
    """

    key: str
    head: Sequence[Text]
    rows: Sequence[Sequence[Cell]]
    filtered: bool = False

    @property
    def texts(self) -> set[int]:
        """The indices of the columns without numbers."""
        columns = enumerate(zip(*self.rows, strict=True))
        return {index for index, cells in columns if all(cell.order is None for cell in cells)}
