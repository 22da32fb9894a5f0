"""Horizontal bars or dots with intervals, one row per task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from polytask.reports.charts.svg import Scale, chart, element, format_tick, label, mark, pad_range
from polytask.reports.formats import clip
from polytask.reports.wording import Text

_WIDTH = 340.0
_LEFT, _RIGHT = 6.0, 10.0
_ROW, _TOP, _BOTTOM = 34.0, 4.0, 24.0
_LETTERS = 38


@dataclass(frozen=True)
class Bar:
    """One row of a chart.

    :param shown: The value as text, to the right of the name.
    :param interval: Low and high, if known.
    :param dots: The values of single seeds.
    :param tone: ``good``, ``bad`` or ``plain``; the sign says the same without colour.
    """

    name: str
    value: float
    shown: str
    tip: Text
    interval: tuple[float, float] | None = None
    dots: Sequence[float] = field(default=())
    tone: str = "plain"


_Draw = Callable[[Bar, Scale, float], Iterator[Markup]]


def bar_chart(title: Text, bars: Sequence[Bar], limits: tuple[float, float]) -> Markup:
    """Draw bars from zero, with whiskers for intervals.

    :param limits: The range of the axis; charts side by side can share one.
    """
    return _rows(title, bars, limits, _bar)


def dot_chart(title: Text, bars: Sequence[Bar], limits: tuple[float, float]) -> Markup:
    """Draw dots with whiskers, for values without a meaningful zero."""
    return _rows(title, bars, limits, _dot)


def find_limits(bars: Sequence[Bar], *, zero: bool) -> tuple[float, float]:
    """Return a range that holds all values, dots and intervals."""
    values = [
        number for bar in bars for number in (bar.value, *bar.dots, *(bar.interval or ()))
    ] + ([0.0] if zero else [])
    return pad_range(values or [0.0])


def _rows(title: Text, bars: Sequence[Bar], limits: tuple[float, float], draw: _Draw) -> Markup:
    height = _TOP + _ROW * len(bars) + _BOTTOM
    x = Scale(*limits, _LEFT, _WIDTH - _RIGHT)
    rows = []
    for index, bar in enumerate(bars):
        top = _TOP + _ROW * index
        name = label(clip(bar.name, _LETTERS), _LEFT, top + 12, class_="name")
        value = label(bar.shown, _WIDTH - _RIGHT, top + 12, class_="value", text_anchor="end")
        hit = element("rect", x=0, y=top, width=_WIDTH, height=_ROW, class_="hit")
        rows.append(mark(bar.tip, hit, name, value, *draw(bar, x, top + 22)))
    return chart((_WIDTH, height), title, *_axis(x, height), *rows)


def _axis(x: Scale, height: float) -> Iterator[Markup]:
    bottom = height - _BOTTOM + 2
    for value in x.ticks(6):
        kind = "zero" if abs(value) < 1e-12 else "grid"
        yield element("line", x1=x(value), x2=x(value), y1=_TOP, y2=bottom, class_=kind)
        yield label(format_tick(value), x(value), height - 7, class_="tick", text_anchor="middle")


def _bar(bar: Bar, x: Scale, middle: float) -> Iterator[Markup]:
    start, end = sorted((x(0), x(bar.value)))
    yield element(
        "rect",
        x=start,
        y=middle - 4,
        width=max(1.0, end - start),
        height=8,
        rx=1.5,
        class_=f"bar {bar.tone}",
    )
    yield from _whisker(bar, x, middle)


def _dot(bar: Bar, x: Scale, middle: float) -> Iterator[Markup]:
    yield from _whisker(bar, x, middle)
    yield element("circle", cx=x(bar.value), cy=middle, r=4.5, class_=f"point {bar.tone}")


def _whisker(bar: Bar, x: Scale, middle: float) -> Iterator[Markup]:
    if bar.interval is not None:
        low, high = map(x, bar.interval)
        yield element("line", x1=low, x2=high, y1=middle, y2=middle, class_="whisker")
        for end in (low, high):
            yield element("line", x1=end, x2=end, y1=middle - 4, y2=middle + 4, class_="whisker")
    for value in bar.dots:
        yield element("circle", cx=x(value), cy=middle, r=2.6, class_="seed")
