"""The groups of rows that metrics ask for, such as the answers to one question."""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from typing import Any

from polytask.assembly.data.views import View
from polytask.data.tables import Table
from polytask.tasks.labels import is_blank


def groups_of(
    parts: Sequence[tuple[View, Table]], places: Sequence[Hashable]
) -> dict[str, list[int]]:
    """Return the number of the group of each row, by column.

    Rows of different sources are in different groups. A row without a value is a group of one.

    :param parts: All rows of a task, by view.
    :param places: Source and position of the rows that count.
    """
    columns = [set(view.groups) for view, _ in parts]
    shared = sorted(set.intersection(*columns)) if columns else []
    return {column: _number(parts, column, places) for column in shared}


def _number(
    parts: Sequence[tuple[View, Table]], column: str, places: Sequence[Hashable]
) -> list[int]:
    groups: dict[Hashable, Hashable] = {
        (view.source, at): (view.source, _key(at, value))
        for view, table in parts
        for at, value in enumerate(table.column(column))
    }
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(groups[place], len(numbers)) for place in places]


def _key(at: int, value: Any) -> Hashable:
    """Return something equal for equal values, also for lists and mappings."""
    return at if is_blank(value) else json.dumps(value, sort_keys=True, default=str)
