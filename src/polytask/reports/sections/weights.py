"""The weight of each task over the training."""

from __future__ import annotations

from polytask.reports.charts.lines import Line, line_chart
from polytask.reports.report_data import ReportData, Trained
from polytask.reports.sections.base import Figure, Section, fill_template
from polytask.reports.wording import phrase


def weights(report: ReportData) -> Section | None:
    """Return a chart per strategy that trains several tasks in one model, for its first seed."""
    firsts = _firsts(report)
    charts = [_figure(name, one) for name, one in firsts.items()]
    if not charts:
        return None
    tasks = dict.fromkeys(task for one in firsts.values() for task in one.curves.weights)
    names = [(name, index) for index, name in enumerate(tasks)]
    return Section("weights", fill_template("weights.html", figures=charts, legend=names))


def _firsts(report: ReportData) -> dict[str, Trained]:
    """Return the first training of each strategy whose model has several tasks."""
    found: dict[str, Trained] = {}
    for one in report.trained:
        if len(one.curves.weights) > 1:
            found.setdefault(one.strategy, one)
    return found


def _figure(name: str, one: Trained) -> Figure:
    balancer = one.recipe.get("balancing", {}).get("kind", "")
    caption = phrase("weights.figure", name=" · ".join(filter(None, (name, balancer))))
    tracks = one.curves.weights.items()
    lines = [Line(task, track.points(), style) for style, (task, track) in enumerate(tracks)]
    return Figure(caption, line_chart(caption, lines))
