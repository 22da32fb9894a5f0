"""SVG elements, scales and ticks of all charts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from polytask.reports.wording import LANGUAGES, Phrase, Text, in_language

SERIES = 8
"""Number of colours of series; further series repeat them with dashes. See ``style.css``."""

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_EM = 6.6
"""Width of a letter of a label in user units, rounded up."""


def element(name: str, *children: object, **attributes: object) -> Markup:
    """Return an element with escaped texts and attributes.

    :param attributes: ``class_`` is class, ``data_tip`` is data-tip; None is left out.
    """
    written = Markup("").join(
        Markup(' {}="{}"').format(
            key.rstrip("_").replace("_", "-"),
            _number(value) if isinstance(value, float) else _plain(value),
        )
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(_child(child) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(name, written, inner)


def chart(
    size: tuple[float, float], title: Text, *children: Markup, **attributes: object
) -> Markup:
    """Return a drawing that scales with its column.

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
    """Return a text at a point."""
    content = text.tspans() if isinstance(text, Phrase) else text
    return element("text", content, x=x, y=y, **attributes)


def mark(tip: Text, *children: Markup) -> Markup:
    """Return a group with a tip for the pointer and the keyboard."""
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
    """Return a line through points."""
    steps = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
    return element("polyline", points=steps, fill="none", **attributes)


def series_class(index: int) -> str:
    """Return the CSS classes for the colour and dash of a series."""
    return f"s{index % SERIES + 1} d{index // SERIES % 3}"


def estimate_width(texts: Sequence[str], *, most: float) -> float:
    """Return the width of the longest label, at most ``most``; wide characters count twice."""
    widths = [sum(2 if ord(letter) > 0x2E7F else 1 for letter in text) for text in texts]
    return min(most, _EM * max(widths, default=0))


@dataclass(frozen=True)
class Scale:
    """A linear map from values to coordinates of the drawing."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the coordinate of a value."""
        span = self.high - self.low
        share = (value - self.low) / span if span else 0.5
        return self.start + share * (self.end - self.start)

    def ticks(self, about: int) -> Iterator[float]:
        """Yield round values inside the range, about so many."""
        step = _round_step((self.high - self.low) / max(1, about))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        for index in range(first, last + 1):
            yield index * step


def pad_range(values: Sequence[float], share: float = 0.05) -> tuple[float, float]:
    """Return a range that holds values with a margin, and is never empty."""
    low, high = min(values), max(values)
    margin = share * (high - low) or share * abs(high) or 1.0
    return low - margin, high + margin


def format_tick(value: float) -> str:
    """Format a value at an axis."""
    return "0" if abs(value) < 1e-12 else f"{value:.6g}".replace("-", "−")


def _round_step(step: float) -> float:
    """Return the next number that is 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step)) if step > 0 else 1.0
    return next(power * factor for factor in (1, 2, 5, 10, 20) if power * factor >= step * 0.999)


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _child(child: object) -> Markup:
    return child if isinstance(child, Markup) else escape(_plain(child))


def _plain(value: object) -> object:
    """Remove characters that XML forbids."""
    return _FORBIDDEN.sub("�", value) if isinstance(value, str) else value
