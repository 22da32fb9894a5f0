"""Numbers that a data file may hold as numbers or as text."""

from __future__ import annotations

import math
import re
from typing import Any

from polytask.core.errors import DataError
from polytask.tasks.labels import is_blank

_COMMA = re.compile(r"[+-]?\d+,\d+")


def number_of(value: Any) -> float | None:
    """Return a number, or None where it is missing: null, blank text or "nan".

    Text is read alike in all file formats: "3.5", " 3.5 " and "3e-2" are numbers.

    :raises DataError: If the value is no finite number.
    """
    if is_blank(value):
        return None
    number = math.inf
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        number = _parse(value)
    if math.isinf(number):
        raise DataError(f"expected a finite number, found {value!r}{_advice(value)}")
    return None if math.isnan(number) else number


def numbers_of(value: Any) -> list[float] | None:
    """Return numbers of 0 or more, from a list or from text with white space between them.

    A list may also hold true and false, for 1 and 0.

    :return: None where they are missing: null, blank text, or an empty list.
    :raises DataError: If the value is no list of such numbers.
    """
    if is_blank(value) or (isinstance(value, list | tuple) and not value):
        return None
    items = value.split() if isinstance(value, str) else value
    if isinstance(items, list | tuple):
        try:
            numbers = [number_of(int(one) if isinstance(one, bool) else one) for one in items]
        except DataError:
            numbers = [None]
        found = [number for number in numbers if number is not None and number >= 0]
        if len(found) == len(items):
            return found
    raise DataError(f"expected a list with a number of 0 or more for every item, found {value!r}")


def _parse(value: float | str) -> float:
    """Return a number, infinite where there is none."""
    if isinstance(value, str) and "_" in value:
        return math.inf
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.inf


def _advice(value: Any) -> str:
    if isinstance(value, bool):
        return ". Truth values are predicted by kind: classification"
    if isinstance(value, str) and _COMMA.fullmatch(value.strip()):
        return f". Write {value.strip().replace(',', '.')}, with a decimal point"
    if isinstance(value, str) and re.fullmatch(r"[+-]?[\d\s'_.,]+", value):
        return ". Write digits without separators and a decimal point"
    return ""
