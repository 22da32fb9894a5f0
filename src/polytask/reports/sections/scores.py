"""How good one training is on held-out rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from polytask.reports import formats
from polytask.reports.cells import Cell, SortableTable
from polytask.reports.charts.bars import Bar, dot_chart, limits_of
from polytask.reports.report_data import Material
from polytask.reports.sections.base import Figure, Section, fill_template
from polytask.reports.wording import phrase


def scores(material: Material) -> Section | None:
    """The scores of a training by itself, with their intervals."""
    found = material.scores
    if not found:
        return None
    entries = {**found["tasks"], **found.get("pooled", {})}
    figures = [
        Figure(phrase("scores.figure", metric=metric), _chart(metric, bars))
        for metric, bars in _by_metric(entries).items()
    ]
    return Section("scores", fill_template("scores.html", table=_table(entries), figures=figures))


def _by_metric(entries: Mapping[str, Any]) -> dict[str, list[Bar]]:
    """The metric that stands for each task, tasks with the same one together."""
    found: dict[str, list[Bar]] = {}
    for task, entry in entries.items():
        metric = next((name for name in entry if name != "rows"), None)
        if metric is not None and entry[metric]["value"] is not None:
            found.setdefault(metric, []).append(_bar(task, metric, entry[metric]))
    return found


def _bar(task: str, metric: str, value: Mapping[str, float | None]) -> Bar:
    factor = formats.scale_of(metric)
    low, high, middle = value["low"], value["high"], value["value"] or 0.0
    shown = formats.score(metric, middle)
    interval = None if low is None or high is None else (factor * low, factor * high)
    tip = f"{task} · {metric} {shown} {_interval(metric, value)}"
    return Bar(task, factor * middle, shown, tip, interval)


def _chart(metric: str, bars: list[Bar]) -> Any:
    return dot_chart(
        phrase("scores.title", metric=metric), bars, limits=limits_of(bars, zero=False)
    )


def _interval(metric: str, value: Mapping[str, float | None]) -> str:
    if value["low"] is None:
        return ""
    return f"[{formats.score(metric, value['low'])}, {formats.score(metric, value['high'])}]"


def _table(entries: Mapping[str, Any]) -> SortableTable:
    head = [phrase(f"column.{name}") for name in ("task", "metric", "value", "interval", "rows")]
    return SortableTable("scores", head, list(_rows(entries)), filtered=len(entries) > 3)


def _rows(entries: Mapping[str, Any]) -> Iterator[list[Cell]]:
    for task, entry in entries.items():
        for metric, value in entry.items():
            if metric != "rows":
                number = value["value"]
                yield [
                    Cell(task),
                    Cell(metric),
                    Cell(formats.score(metric, number), -1e9 if number is None else number),
                    Cell(_interval(metric, value) or formats.NOTHING),
                    Cell(f"{entry['rows']}", entry["rows"]),
                ]
