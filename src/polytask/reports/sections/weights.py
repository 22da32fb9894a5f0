"""What the balancer did: weights of the tasks, and how their gradients disagree."""

from __future__ import annotations

from collections.abc import Mapping

from polytask.reports.charts.lines import Line, line_chart
from polytask.reports.curves import Track
from polytask.reports.material import Material, Trained
from polytask.reports.sections.base import Figure, Section, filled
from polytask.reports.wording import Text, phrase


def weights(material: Material) -> Section | None:
    """A chart per strategy that trains several tasks in one model, of its first seed."""
    firsts = _firsts(material)
    charts = [chart for name, one in firsts.items() for chart in _charts(name, one)]
    if not charts:
        return None
    names = [(name, index) for index, name in enumerate(_names(firsts))]
    return Section("weights", filled("weights.html", figures=charts, legend=names))


def _firsts(material: Material) -> dict[str, Trained]:
    """The first training of each strategy whose model has several tasks."""
    found: dict[str, Trained] = {}
    for one in material.trained:
        if len(one.curves.weights) > 1:
            found.setdefault(one.strategy, one)
    return found


def _names(firsts: Mapping[str, Trained]) -> list[str]:
    return list(dict.fromkeys(task for one in firsts.values() for task in one.curves.weights))


def _charts(name: str, one: Trained) -> list[Figure]:
    balancer = one.recipe.get("balancing", {}).get("kind", "")
    caption = " · ".join(filter(None, (name, balancer)))
    found = [_figure(phrase("weights.figure", name=caption), one.curves.weights)]
    if one.curves.conflict:
        found.append(_figure(phrase("conflict.figure", name=caption), one.curves.conflict))
    return found


def _figure(caption: Text, tracks: Mapping[str, Track]) -> Figure:
    lines = [
        Line(name, track.points(), style) for style, (name, track) in enumerate(tracks.items())
    ]
    return Figure(caption, line_chart(caption, lines))
