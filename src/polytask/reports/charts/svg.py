"""Elements, scales and ticks: what all charts are made of."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from polytask.reports.wording import LANGUAGES, Phrase, Text, in_language

SERIES = 8
"""Colours of series; further ones repeat them with other dashes. See ``style.css``."""

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_EM = 6.6
"""Width of a letter of a label, in user units, on the generous side."""


def element(name: str, *children: object, **attributes: object) -> Markup:
    """An element whose texts and attributes are escaped.

    :param attributes: ``class_`` is class, ``data_tip`` is data-tip; None is left out.
    """
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _value(value))
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(_child(child) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(name, written, inner)


def chart(
    size: tuple[float, float], title: Text, *children: Markup, **attributes: object
) -> Markup:
    """A whole drawing that scales with its column.

    :param size: Width and height in user units; one is about one CSS pixel.
    :param title: The description for screen readers.
    """
    width, height = size
    names = [
        element("title", in_language(title, language), lang=language)
        for language in (LANGUAGES if isinstance(title, Phrase) else ["en"])
    ]
    return element(
        "svg",
        *names,
        *children,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_number(width)} {_number(height)}",
        role="group",
        class_="chart",
        **attributes,
    )


def label(text: Text, x: float, y: float, **attributes: object) -> Markup:
    """A text at a place."""
    content = text.tspans() if isinstance(text, Phrase) else text
    return element("text", content, x=x, y=y, **attributes)


def mark(tip: Text, *children: Markup) -> Markup:
    """A group that shows a tip when it is pointed at or reached with the keyboard."""
    tips = {f"data_tip_{name}": in_language(tip, name) for name in LANGUAGES}
    alike = isinstance(tip, str)
    named: dict[str, object] = {"data_tip": tip} if alike else dict(tips)
    return element(
        "g",
        *children,
        class_="mark",
        role="img",
        tabindex="-1",
        aria_label=in_language(tip, "en"),
        **named,
    )


def path(points: Sequence[tuple[float, float]], **attributes: object) -> Markup:
    """A line through points."""
    steps = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
    return element("polyline", points=steps, fill="none", **attributes)


def series_class(index: int) -> str:
    """The classes of the colour and dash of a series."""
    return f"s{index % SERIES + 1} d{index // SERIES % 3}"


def room_for(texts: Sequence[str], *, most: float) -> float:
    """Width that the longest of some labels needs; wide characters count twice."""
    widths = [sum(2 if ord(letter) > 0x2E7F else 1 for letter in text) for text in texts]
    return min(most, _EM * max(widths, default=0))


@dataclass(frozen=True)
class Scale:
    """A linear map from a range of values to a stretch of the drawing."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of a value."""
        span = self.high - self.low
        share = (value - self.low) / span if span else 0.5
        return self.start + share * (self.end - self.start)

    def ticks(self, about: int) -> Iterator[float]:
        """Round values inside of the range."""
        step = _round_step((self.high - self.low) / max(1, about))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        for index in range(first, last + 1):
            yield index * step


def pad_range(values: Sequence[float], share: float = 0.05) -> tuple[float, float]:
    """A range that holds values with a margin, and is never empty."""
    low, high = min(values), max(values)
    margin = share * (high - low) or share * abs(high) or 1.0
    return low - margin, high + margin


def tick_text(value: float) -> str:
    """A value at an axis."""
    return "0" if abs(value) < 1e-12 else f"{value:.6g}".replace("-", "−")


def _round_step(step: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step)) if step > 0 else 1.0
    return next(power * factor for factor in (1, 2, 5, 10, 20) if power * factor >= step * 0.999)


def _value(value: object) -> object:
    return _number(value) if isinstance(value, float) else _plain(value)


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _child(child: object) -> Markup:
    return child if isinstance(child, Markup) else escape(_plain(child))


def _plain(value: object) -> object:
    """Without characters that no XML may hold."""
    return _FORBIDDEN.sub("�", value) if isinstance(value, str) else value
