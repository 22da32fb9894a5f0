"""Curves over the epochs or steps of a training."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from polytask.reports.charts.svg import (
    Scale,
    chart,
    element,
    format_tick,
    label,
    pad_range,
    path,
    series_class,
)
from polytask.reports.wording import LANGUAGES, Phrase, Text, in_language, phrase

Points = Sequence[tuple[float, float]]
_WIDTH, _HEIGHT = 340.0, 190.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 8.0, 10.0, 24.0
_DIGITS = 4


@dataclass(frozen=True)
class Line:
    """One curve.

    :param style: The number of the colour; several curves may share one.
    """

    name: str
    points: Points
    style: int


def line_chart(title: Text, lines: Sequence[Line], *, along: Phrase | None = None) -> Markup:
    """Draw curves over a common axis.

    :param along: The title of the x axis; epochs by default.
    """
    there = [line for line in lines if line.points]
    x, y = _scales(there)
    axis = along or phrase("axis.epoch")
    drawn = [
        path(
            [(x(a), y(b)) for a, b in line.points],
            class_=f"line {series_class(line.style)}",
        )
        if len(line.points) > 1
        else _dot(line, x, y)
        for line in there
    ]
    cross = element("g", class_="cross")
    return chart(
        (_WIDTH, _HEIGHT),
        title,
        *_axes(x, y),
        *drawn,
        cross,
        data_lines=_data(there, x, y),
        tabindex="0",
        **{f"data_along_{name}": in_language(axis, name) for name in LANGUAGES},
    )


def _scales(lines: Sequence[Line]) -> tuple[Scale, Scale]:
    xs = [a for line in lines for a, _ in line.points] or [0.0]
    ys = [b for line in lines for _, b in line.points] or [0.0]
    bottom, top = pad_range(ys)
    first, last = min(0.0, *xs), max(xs)
    return (
        Scale(first, last if last > first else first + 1, _LEFT, _WIDTH - _RIGHT),
        Scale(bottom, top, _HEIGHT - _BOTTOM, _TOP),
    )


def _axes(x: Scale, y: Scale) -> Iterator[Markup]:
    for value in y.ticks(6):
        yield element("line", x1=x.start, x2=x.end, y1=y(value), y2=y(value), class_="grid")
        yield label(
            format_tick(value), x.start - 6, y(value) + 3.5, class_="tick", text_anchor="end"
        )
    for value in x.ticks(5):
        yield label(format_tick(value), x(value), _HEIGHT - 7, class_="tick", text_anchor="middle")
    yield element("line", x1=x.start, x2=x.end, y1=y.start, y2=y.start, class_="axis")


def _dot(line: Line, x: Scale, y: Scale) -> Markup:
    [(a, b)] = line.points
    return element("circle", cx=x(a), cy=y(b), r=3, class_=f"dot {series_class(line.style)}")


def _data(lines: Sequence[Line], x: Scale, y: Scale) -> str:
    """Return the data from which the script reads values off the curves."""
    record = {
        "x": [x.low, x.high, x.start, x.end],
        "y": [y.low, y.high, y.start, y.end],
        "lines": [
            [line.name, series_class(line.style), [[_cut(a), _cut(b)] for a, b in line.points]]
            for line in lines
        ],
    }
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def _cut(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
