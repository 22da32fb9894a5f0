"""How a task reads the rows of its sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from polytask.core.texts import ReadAs


@dataclass(frozen=True)
class InputSpec:
    """How a task reads rows; declared by its class as ``Task.inputs``.

    :param columns: The input columns of a recipe that names none.
    :param read_as: The texts of a row that are encoded; a head finds them in the order of the row.
    :param needs_offsets: Whether tokens carry their places in the last input column.
    :param rows: ``shared`` with all tasks that read the same columns alike; ``exclusive``, as the
        task changes its rows before they are encoded; ``prompts``: exclusive, and rendered by
        ``Task.texts``.
    :param json: Columns that are read as JSON, as their values differ in shape from row to row.
    """

    columns: tuple[str, ...] = ("text",)
    read_as: ReadAs = "joined"
    needs_offsets: bool = False
    rows: Literal["shared", "exclusive", "prompts"] = "shared"
    json: tuple[str, ...] = ()
