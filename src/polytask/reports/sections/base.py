"""What a section is, and how its template is filled in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from polytask.reports.charts.svg import series_class
from polytask.reports.wording import Text, phrase


@dataclass(frozen=True)
class Section:
    """A part of the page.

    :param key: Its anchor; its heading is the text ``section.KEY``.
    """

    key: str
    body: Markup


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    :param order: What the table is sorted by; the text if there is none.
    :param best: Whether it is the best of its column or row.
    :param tone: ``good`` or ``bad``; the sign of the number says the same.
    """

    text: Text
    order: float | str | None = None
    best: bool = False
    tone: str = ""


@dataclass(frozen=True)
class Table:
    """A table that can be sorted; the first column names the rows.

    :param key: Its caption is the text ``table.KEY``.
    """

    key: str
    head: Sequence[Text]
    rows: Sequence[Sequence[Cell]]
    filtered: bool = False

    @property
    def texts(self) -> set[int]:
        """The columns that hold no numbers."""
        columns = enumerate(zip(*self.rows, strict=True))
        return {index for index, cells in columns if all(cell.order is None for cell in cells)}


@dataclass(frozen=True)
class Figure:
    """A chart with its caption."""

    caption: Text
    chart: Markup


def filled(template: str, **values: Any) -> Markup:
    """A template with its values, all of them escaped."""
    return Markup(environment().get_template(template).render(**values))


@cache
def environment() -> Environment:
    """Where templates are found, and what they can call."""
    made = Environment(
        loader=PackageLoader("polytask.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(t=phrase, series_class=series_class)
    return made


def resource(name: str) -> str:
    """A file that is put into pages as it is."""
    return files("polytask.reports").joinpath("templates", name).read_text(encoding="utf-8")
