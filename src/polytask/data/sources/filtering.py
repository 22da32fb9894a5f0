"""Selects rows by the values of their columns."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from polytask.core.batch import Row
from polytask.data.nested_columns import list_nested_names, value_of

Value = str | int | float | bool
Wanted = dict[str, Value | list[Value]]
"""The value, or the values, that a column must have."""

_MAX_COUNTED = 1000
"""Number of different values of a column that are counted for the message."""

_SHOWN = 5


class Filter:
    """Selects the rows with the wanted values, and counts values for the message if there are none.

    Text formats have no numbers, so a number also equals its text: 1, "1" and "1.0" are equal.
    """

    def __init__(self, wanted: Mapping[str, Value | list[Value]]) -> None:
        self._wanted = {
            name: value if isinstance(value, list) else [value] for name, value in wanted.items()
        }
        self._found = {name: Counter[Any]() for name in wanted}
        self._columns: dict[str, None] = {}
        self.seen = self.kept = 0

    def keeps(self, row: Row) -> bool:
        """Return whether a row has the wanted values."""
        self.seen += 1
        matching = [self._matches(row, name, wanted) for name, wanted in self._wanted.items()]
        if not self.kept and matching:
            self._columns |= dict.fromkeys([*row, *list_nested_names(row)])
        self.kept += all(matching)
        return all(matching)

    def _matches(self, row: Row, name: str, wanted: list[Value]) -> bool:
        value = value_of(row, name)
        found = self._found[name]
        key = value if isinstance(value, Value) or value is None else repr(value)
        if not self.kept and (key in found or len(found) < _MAX_COUNTED):
            found[key] += 1
        return any(is_same(value, each) for each in wanted)

    def mistake(self) -> str:
        """Return the message for no rows: the wanted values, and the values found."""
        asked = " and ".join(
            f"{name} is {' or '.join(map(repr, wanted))}" for name, wanted in self._wanted.items()
        )
        found = " ".join(map(self._values_of, self._wanted))
        return f"holds no rows whose {asked}; expected at least one. {found}"

    def _values_of(self, name: str) -> str:
        if name not in self._columns:
            close = difflib.get_close_matches(name, self._columns, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            return f"There is no column {name!r}.{hint} Columns: {', '.join(self._columns)}."
        found = self._found[name]
        shown = ", ".join(f"{value!r} ({n})" for value, n in found.most_common(_SHOWN))
        return (
            f"Values of {name}, with their rows: {shown}{', ...' if len(found) > _SHOWN else ''}."
        )


def is_same(value: Any, wanted: Value) -> bool:
    """Return whether a value of a file equals the wanted value, also as a number or truth value."""
    if isinstance(value, bool) or isinstance(wanted, bool):
        return str(value).lower() == str(wanted).lower()
    if value == wanted or isinstance(value, str) == isinstance(wanted, str):
        return bool(value == wanted)
    number = _number(value)
    return number is not None and number == _number(wanted)


def _number(value: Any) -> Decimal | None:
    if not isinstance(value, str | int | float):
        return None
    try:
        found = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return found if found.is_finite() else None
