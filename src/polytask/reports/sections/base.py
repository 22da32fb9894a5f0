"""Sections, figures and templates of the page."""

from __future__ import annotations

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
    """A section of the page.

    :param key: The anchor; the heading is the text ``section.KEY``.
    """

    key: str
    body: Markup


@dataclass(frozen=True)
class Figure:
    """A chart with its caption."""

    caption: Text
    chart: Markup


def fill_template(template: str, **values: Any) -> Markup:
    """Render a template; all values are escaped."""
    return Markup(environment().get_template(template).render(**values))


@cache
def environment() -> Environment:
    """Return the Jinja environment with the templates and the functions they call."""
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
    """Return the text of a file that pages include unchanged."""
    return files("polytask.reports").joinpath("templates", name).read_text(encoding="utf-8")
