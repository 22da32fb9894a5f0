"""Validation scores and losses of each task while the models learned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from polytask.reports import formats
from polytask.reports.charts.lines import Line, Points, line_chart
from polytask.reports.curves import Curves
from polytask.reports.report_data import Material
from polytask.reports.sections.base import Figure, Section, fill_template
from polytask.reports.wording import phrase

_POINTS = 40_000
"""Points of all curves of a section together, so that the page stays small."""
_FEWEST, _MOST = 16, 120


def learning_curves(material: Material) -> Section | None:
    """Validation scores over the epochs, a chart per task and a line per training."""
    charts = []
    for task in material.tasks:
        metric = _first_metric(material, task)
        if metric is not None:
            caption = f"{task} · {metric}"
            lines = list(_lines(material, partial(_score_points, task, metric)))
            charts.append(
                Figure(caption, line_chart(phrase("learning.title", name=caption), lines))
            )
    return _section("learning", charts, material)


def losses(material: Material) -> Section | None:
    """Training losses over the epochs: a chart for each task, and for each part of its loss."""
    most = _limit_lines(material)
    charts = []
    for task in material.tasks:
        for part in (None, *_parts(material, task)):
            caption = task if part is None else f"{task} · {part}"
            lines = list(_lines(material, partial(_loss_points, task, part, most)))
            if lines:
                title = phrase("losses.title", name=caption)
                charts.append(Figure(caption, line_chart(title, lines)))
    return _section("losses", charts, material)


def legend(material: Material) -> list[tuple[str, int]]:
    """Names and colours of the strategies that were trained, where there are several."""
    there = {one.strategy for one in material.trained}
    names = [(name, index) for index, name in enumerate(material.strategies) if name in there]
    return names if len(names) > 1 else []


def _section(key: str, charts: list[Figure], material: Material) -> Section | None:
    if not charts:
        return None
    seeds = max(len({one.seed for one in material.of(name)}) for name in material.strategies)
    body = fill_template(
        "curves.html", key=key, figures=charts, legend=legend(material), seeds=seeds
    )
    return Section(key, body)


def _lines(material: Material, points: Callable[[Curves], Points]) -> Iterator[Line]:
    first = 1 if material.record is None else 0  # grey is for what others are compared with
    for style, strategy in enumerate(material.strategies, start=first):
        for one in material.of(strategy):
            if found := points(one.curves):
                yield Line(_name(strategy, one.seed, material), found, style)


def _name(strategy: str, seed: int, material: Material) -> str:
    several = len({one.seed for one in material.of(strategy)}) > 1
    return f"{strategy} · {seed}" if several else strategy


def _first_metric(material: Material, task: str) -> str | None:
    found = (one.curves.validation.get(task) for one in material.trained)
    return next((next(iter(metrics)) for metrics in found if metrics), None)


def _score_points(task: str, metric: str, curves: Curves) -> Points:
    factor = formats.scale_of(metric)
    return [(x, factor * y) for x, y in curves.validation.get(task, {}).get(metric, ())]


def _parts(material: Material, task: str) -> list[str]:
    """Return the names of the parts of a task's loss in all trainings."""
    return list(
        dict.fromkeys(name for one in material.trained for name in one.curves.parts.get(task, ()))
    )


def _loss_points(task: str, part: str | None, most: int, curves: Curves) -> Points:
    track = curves.losses.get(task) if part is None else curves.parts.get(task, {}).get(part)
    return [] if track is None else track.points(most)


def _limit_lines(material: Material) -> int:
    curves = sum(
        len(one.curves.losses) + sum(map(len, one.curves.parts.values()))
        for one in material.trained
    )
    return max(_FEWEST, min(_MOST, _POINTS // max(1, curves)))
