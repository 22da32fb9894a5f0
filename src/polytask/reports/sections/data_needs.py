"""The gain of sharing by the number of rows, from ``polytask analyse --curve``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from polytask.reports.analysis_tables import describe_end_of_gain
from polytask.reports.cells import UNKNOWN, Cell, SortableTable
from polytask.reports.charts.lines import Line, line_chart
from polytask.reports.formats import format_signed
from polytask.reports.report_data import ReportData
from polytask.reports.sections.base import Figure, Section, fill_template
from polytask.reports.wording import Phrase, Text, phrase

_STYLES = {"single": 0, "joint": 1}


def data_needs(report: ReportData) -> Section | None:
    """Return the gain of sharing by the number of training rows, and the scores of every task."""
    found = report.analysis("curve") or {}
    points = found.get("points", ())
    if not points:
        return None
    known = [point for point in points if point["gain"] is not None]
    gain = Line("Δm", [(point["rows"], 100 * point["gain"]) for point in known], 2)
    figures = [
        _figure(phrase("data.gain"), phrase("data.gain"), [gain]),
        *(
            _figure(task, phrase("data.title", name=task), _of(task, points))
            for task in map(str, found["tasks"])
        ),
    ]
    rows = [[Cell(f"{point['rows']}", point["rows"]), _gain(point)] for point in points]
    body = fill_template(
        "data_needs.html",
        figures=figures,
        names=[*_STYLES.items()],
        table=SortableTable("data_needs", [phrase("column.rows"), "Δm %"], rows),
        end=describe_end_of_gain(found) or "",
    )
    return Section("data", body)


def _figure(caption: Text, title: Phrase, lines: Sequence[Line]) -> Figure:
    return Figure(caption, line_chart(title, lines, along=phrase("axis.rows")))


def _of(task: str, points: Sequence[Mapping[str, Any]]) -> list[Line]:
    return [
        Line(way, [(x, y) for x, y in scores if y is not None], style)
        for way, style in _STYLES.items()
        if (scores := [(point["rows"], point[way][task]) for point in points])
    ]


def _gain(point: Mapping[str, Any]) -> Cell:
    """Return the gain, with the tasks that it lacks."""
    gain, error = point["gain"], point["error"]
    if gain is None:
        return UNKNOWN
    spread = "" if error is None else f" ± {100 * error:.1f}"
    shown = format_signed(100 * gain) + spread
    without = ", ".join(point.get("without", ()))
    return Cell(phrase("mean.without", value=shown, tasks=without) if without else shown, gain)
