"""Validation scores and losses of each task over the epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from polytask.reports.charts.lines import Line, Points, line_chart
from polytask.reports.curves import Curves
from polytask.reports.formats import scale_of
from polytask.reports.report_data import ReportData
from polytask.reports.sections.base import Figure, Section, fill_template
from polytask.reports.wording import phrase

_POINTS = 40_000
"""Largest number of points of all curves of a section, so that the page stays small."""
_FEWEST, _MOST = 16, 120


def learning_curves(report: ReportData) -> Section | None:
    """Return validation scores over the epochs: a chart per task, a line per training."""
    charts = []
    for task in report.tasks:
        metric = _first_metric(report, task)
        if metric is not None:
            caption = f"{task} · {metric}"
            lines = list(_lines(report, partial(_score_points, task, metric)))
            charts.append(
                Figure(caption, line_chart(phrase("learning.title", name=caption), lines))
            )
    return _section("learning", charts, report)


def losses(report: ReportData) -> Section | None:
    """Return training losses over the epochs: a chart per task and per part of its loss."""
    most = _limit_points(report)
    charts = []
    for task in report.tasks:
        found = [one.curves.parts.get(task, ()) for one in report.trained]
        for part in (None, *dict.fromkeys(name for names in found for name in names)):
            caption = task if part is None else f"{task} · {part}"
            lines = list(_lines(report, partial(_loss_points, task, part, most)))
            if lines:
                title = phrase("losses.title", name=caption)
                charts.append(Figure(caption, line_chart(title, lines)))
    return _section("losses", charts, report)


def legend(report: ReportData) -> list[tuple[str, int]]:
    """Return names and colours of the trained strategies; empty if there is only one."""
    there = {one.strategy for one in report.trained}
    names = [(name, index) for index, name in enumerate(report.strategies) if name in there]
    return names if len(names) > 1 else []


def _section(key: str, charts: list[Figure], report: ReportData) -> Section | None:
    if not charts:
        return None
    seeds = max(len({one.seed for one in report.of(name)}) for name in report.strategies)
    body = fill_template("curves.html", key=key, figures=charts, legend=legend(report), seeds=seeds)
    return Section(key, body)


def _lines(report: ReportData, points: Callable[[Curves], Points]) -> Iterator[Line]:
    first = 1 if report.record is None else 0  # style 0 is grey, for a baseline
    for style, strategy in enumerate(report.strategies, start=first):
        trained = report.of(strategy)
        several = len({one.seed for one in trained}) > 1
        for one in trained:
            if found := points(one.curves):
                yield Line(f"{strategy} · {one.seed}" if several else strategy, found, style)


def _first_metric(report: ReportData, task: str) -> str | None:
    found = (one.curves.validation.get(task) for one in report.trained)
    return next((next(iter(metrics)) for metrics in found if metrics), None)


def _score_points(task: str, metric: str, curves: Curves) -> Points:
    factor = scale_of(metric)
    return [(x, factor * y) for x, y in curves.validation.get(task, {}).get(metric, ())]


def _loss_points(task: str, part: str | None, most: int, curves: Curves) -> Points:
    track = curves.losses.get(task) if part is None else curves.parts.get(task, {}).get(part)
    return [] if track is None else track.points(most)


def _limit_points(report: ReportData) -> int:
    curves = sum(
        len(one.curves.losses) + sum(map(len, one.curves.parts.values())) for one in report.trained
    )
    return max(_FEWEST, min(_MOST, _POINTS // max(1, curves)))
