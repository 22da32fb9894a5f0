"""Tasks in a circle, with arrows to the tasks that they help or hurt."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from markupsafe import Markup

from polytask.reports.charts.svg import chart, element, label, mark
from polytask.reports.formats import clip
from polytask.reports.wording import Text

_WIDTH, _HEIGHT = 460.0, 380.0
_RADIUS, _NODE, _HEAD = 128.0, 9.0, 9.0
_LETTERS = 18
_BEND = 16.0

Arrows = Mapping[tuple[int, int], tuple[float, Text]]
"""Source and target to an effect and a tip; a positive effect helps, a negative one hurts."""


def graph_chart(title: Text, names: Sequence[str], arrows: Arrows) -> Markup:
    """Draw solid arrows for help and dashed arrows for harm; a thicker arrow is a larger effect."""
    places = [_place(index, len(names)) for index in range(len(names))]
    largest = max((abs(value) for value, _ in arrows.values()), default=0.0) or 1.0
    drawn = [
        mark(tip, *_arrow(places[source], places[target], value / largest))
        for (source, target), (value, tip) in arrows.items()
    ]
    nodes = [part for name, place in zip(names, places, strict=True) for part in _node(name, place)]
    return chart((_WIDTH, _HEIGHT), title, *drawn, *nodes)


def _place(index: int, count: int) -> tuple[float, float]:
    angle = 2 * math.pi * index / max(1, count) - math.pi / 2
    return _WIDTH / 2 + _RADIUS * math.cos(angle), _HEIGHT / 2 + _RADIUS * math.sin(angle)


def _arrow(start: tuple[float, float], end: tuple[float, float], share: float) -> Iterator[Markup]:
    """Yield the parts of a bent arrow; the bend keeps both directions of a pair apart."""
    (x1, y1), (x2, y2) = start, end
    length = math.hypot(x2 - x1, y2 - y1) or 1.0
    across = ((y1 - y2) / length, (x2 - x1) / length)
    bend = ((x1 + x2) / 2 + _BEND * across[0], (y1 + y2) / 2 + _BEND * across[1])
    tip, base = _towards(end, bend, _NODE + 3), _towards(end, bend, _NODE + 3 + _HEAD)
    first = _towards(start, bend, _NODE + 3)
    curve = f"M{_pair(first)} Q{_pair(bend)} {_pair(base)}"
    kind = "helps" if share >= 0 else "hurts"
    yield element("path", d=curve, class_="wide")
    yield element(
        "path", d=curve, class_=f"arrow {kind}", stroke_width=1 + 3.5 * abs(share), fill="none"
    )
    yield element("path", d=_head(base, tip), class_=f"head {kind}")


def _towards(
    start: tuple[float, float], end: tuple[float, float], by: float
) -> tuple[float, float]:
    length = math.hypot(end[0] - start[0], end[1] - start[1]) or 1.0
    share = by / length
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])


def _head(base: tuple[float, float], tip: tuple[float, float]) -> str:
    dx, dy = (tip[0] - base[0]) / 2, (tip[1] - base[1]) / 2
    sides = (base[0] - dy, base[1] + dx), (base[0] + dy, base[1] - dx)
    return f"M{_pair(tip)} L{_pair(sides[0])} L{_pair(sides[1])} Z"


def _node(name: str, place: tuple[float, float]) -> Iterator[Markup]:
    x, y = place
    yield element("circle", cx=x, cy=y, r=_NODE, class_="node")
    side = "middle" if abs(x - _WIDTH / 2) < 20 else "start" if x > _WIDTH / 2 else "end"
    out = {"middle": 0.0, "start": _NODE + 6, "end": -_NODE - 6}[side]
    up = 0.0 if side != "middle" else (-_NODE - 10 if y < _HEIGHT / 2 else _NODE + 12)
    yield label(clip(name, _LETTERS), x + out, y + up + 4, class_="name", text_anchor=side)


def _pair(place: tuple[float, float]) -> str:
    return f"{place[0]:.1f} {place[1]:.1f}"
