"""Up to how many rows sharing pays, as ``polytask analyse --curve`` has found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from polytask.reports import formats
from polytask.reports.cells import Cell, Table
from polytask.reports.charts.lines import Line, line_chart
from polytask.reports.material import Material
from polytask.reports.sections.base import Figure, Section, filled
from polytask.reports.wording import Phrase, Text, phrase

_STYLES = {"single": 0, "joint": 1}


def data_needs(material: Material) -> Section | None:
    """The gain of sharing by the number of training rows, and the scores of every task."""
    found = material.analysis("curve") or {}
    points = found.get("points", ())
    if not points:
        return None
    gain = Line("Δm", [(point["rows"], 100 * point["gain"]) for point in points], 2)
    figures = [
        _figure(phrase("data.gain"), phrase("data.gain"), [gain]),
        *(
            _figure(task, phrase("data.title", name=task), _of(task, points))
            for task in map(str, found["tasks"])
        ),
    ]
    body = filled(
        "data_needs.html",
        figures=figures,
        names=[*_STYLES.items()],
        table=_table(points),
        end=_end(found["stops_paying"], points[-1]),
    )
    return Section("data", body)


def _figure(caption: Text, title: Phrase, lines: Sequence[Line]) -> Figure:
    return Figure(caption, line_chart(title, lines, along=phrase("axis.rows")))


def _of(task: str, points: Sequence[Mapping[str, Any]]) -> list[Line]:
    return [
        Line(way, [(point["rows"], point[way][task]) for point in points], style)
        for way, style in _STYLES.items()
    ]


def _table(points: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        [Cell(f"{point['rows']}", point["rows"]), _gain(point["gain"], point["error"])]
        for point in points
    ]
    return Table("data_needs", [phrase("column.rows"), "Δm %"], rows)


def _gain(gain: float, error: float | None) -> Cell:
    spread = "" if error is None else f" ± {100 * error:.1f}"
    return Cell(formats.signed(100 * gain) + spread, gain)


def _end(rows: float | None, largest: Mapping[str, Any]) -> Phrase:
    if rows is not None:
        return phrase("data.stops", rows=f"{rows:.0f}")
    key = "data.pays" if largest["gain"] > 0 else "data.never"
    return phrase(key, rows=largest["rows"])
