"""Matrices of numbers in coloured cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from markupsafe import Markup

from polytask.reports.charts.svg import chart, element, estimate_width, label, mark
from polytask.reports.formats import clip
from polytask.reports.wording import Text

_CELL, _GAP, _MOST = 40.0, 2.0, 150.0
_STEPS = 4
_LETTERS = 22

Cells = Mapping[tuple[int, int], tuple[str, str, Text]]
"""Row and column to text, CSS class and tip; a missing cell stays empty."""


def matrix_chart(title: Text, rows: Sequence[str], columns: Sequence[str], cells: Cells) -> Markup:
    """Draw cells with numbers, names on the left and slanted names on top."""
    left = estimate_width([clip(name, _LETTERS) for name in rows], most=_MOST) + 12
    top = 0.75 * estimate_width([clip(name, _LETTERS) for name in columns], most=_MOST) + 18
    wide = left + _CELL * len(columns) + top  # slanted names reach to the right of the last column
    size = (wide, top + _CELL * len(rows) + 4)
    body = [
        _cell(left + _CELL * column, top + _CELL * row, *found)
        for (row, column), found in cells.items()
    ]
    style = f"min-width:{round(0.85 * wide)}px;max-width:{round(1.15 * wide)}px"
    return chart(size, title, *_names(rows, columns, left, top), *body, style=style)


def get_diverging_style(value: float, largest: float) -> str:
    """Return the CSS class of a value: positive is good, negative is bad."""
    step = round(_STEPS * min(1.0, abs(value) / largest)) if largest else 0
    return f"v{step}" if value >= 0 else f"w{step}"


def get_sequential_style(share: float) -> str:
    """Return the CSS class of a share from 0 to 1."""
    return f"v{min(_STEPS, round(_STEPS * share + 0.2))}" if share else "v0"


def _cell(x: float, y: float, text: str, kind: str, tip: Text) -> Markup:
    side, middle = _CELL - _GAP, (_CELL - _GAP) / 2
    square = element("rect", x=x, y=y, width=side, height=side, rx=3, class_=f"cell {kind}")
    number = label(text, x + middle, y + middle + 4, class_=f"in {kind}", text_anchor="middle")
    return mark(tip, square, number)


def _names(
    rows: Sequence[str], columns: Sequence[str], left: float, top: float
) -> Iterator[Markup]:
    for index, name in enumerate(rows):
        y = top + _CELL * index + _CELL / 2 + 3
        yield label(clip(name, _LETTERS), left - 8, y, class_="name", text_anchor="end")
    for index, name in enumerate(columns):
        x, y = left + _CELL * index + _CELL / 2, top - 8
        turned = f"rotate(-38 {x:.1f} {y:.1f})"
        yield label(clip(name, _LETTERS), x, y, class_="name", transform=turned)
