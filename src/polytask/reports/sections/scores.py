"""The scores of a run on held-out rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from polytask.reports.cells import Cell, SortableTable
from polytask.reports.charts.bars import Bar, dot_chart, find_limits
from polytask.reports.formats import NOTHING, format_score, scale_of
from polytask.reports.report_data import ReportData
from polytask.reports.sections.base import Figure, Section, fill_template
from polytask.reports.wording import phrase


def scores(report: ReportData) -> Section | None:
    """Return the scores of a run, with their intervals."""
    found = report.scores
    if not found:
        return None
    entries = {**found["tasks"], **found.get("pooled", {})}
    figures = [
        Figure(
            phrase("scores.figure", metric=metric),
            dot_chart(phrase("scores.title", metric=metric), bars, find_limits(bars, zero=False)),
        )
        for metric, bars in _by_metric(entries).items()
    ]
    head = [phrase(f"column.{name}") for name in ("task", "metric", "value", "interval", "rows")]
    table = SortableTable("scores", head, list(_rows(entries)), filtered=len(entries) > 3)
    return Section("scores", fill_template("scores.html", table=table, figures=figures))


def _by_metric(entries: Mapping[str, Any]) -> dict[str, list[Bar]]:
    """Return the main metric of each task, grouped by metric."""
    found: dict[str, list[Bar]] = {}
    for task, entry in entries.items():
        metric = next((name for name in entry if name != "rows"), None)
        if metric is not None and entry[metric]["value"] is not None:
            found.setdefault(metric, []).append(_bar(task, metric, entry[metric]))
    return found


def _bar(task: str, metric: str, value: Mapping[str, float | None]) -> Bar:
    factor = scale_of(metric)
    low, high, middle = value["low"], value["high"], value["value"] or 0.0
    shown = format_score(metric, middle)
    interval = None if low is None or high is None else (factor * low, factor * high)
    tip = f"{task} · {metric} {shown} {_interval(metric, value)}"
    return Bar(task, factor * middle, shown, tip, interval)


def _interval(metric: str, value: Mapping[str, float | None]) -> str:
    if value["low"] is None:
        return ""
    return f"[{format_score(metric, value['low'])}, {format_score(metric, value['high'])}]"


def _rows(entries: Mapping[str, Any]) -> Iterator[list[Cell]]:
    for task, entry in entries.items():
        for metric, value in entry.items():
            if metric != "rows":
                number = value["value"]
                yield [
                    Cell(task),
                    Cell(metric),
                    Cell(format_score(metric, number), -1e9 if number is None else number),
                    Cell(_interval(metric, value) or NOTHING),
                    Cell(f"{entry['rows']}", entry["rows"]),
                ]
