"""The layers that each task trains, from ``polytask describe``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from polytask.reports.cells import Cell, SortableTable
from polytask.reports.formats import format_amount
from polytask.reports.report_data import ReportData
from polytask.reports.sections.base import Figure, Section, fill_template
from polytask.reports.structure import block_title, blocks, svg
from polytask.reports.wording import Text, phrase

_MOST = 60


def describe(report: ReportData) -> Section | None:
    """Return a drawing and a table of layers; neighbours with the same tasks are one row."""
    found = report.analysis("describe")
    if not found or not found.get("layers"):
        return None
    tasks = [str(task) for task in found["tasks"]]
    rows = [_row(block, tasks) for block in blocks(found)[:_MOST]]
    head: list[Text] = [phrase("column.layer"), phrase("column.parameters"), *tasks]
    drawing = Figure(phrase("describe.caption"), Markup(svg(found)))  # escapes what it draws
    table = SortableTable("layers", head, rows)
    return Section("describe", fill_template("describe.html", figures=[drawing], table=table))


def _row(block: Mapping[str, Any], tasks: Sequence[str]) -> list[Cell]:
    return [
        Cell(block_title(block)),
        Cell(format_amount(block["parameters"]), block["parameters"]),
        *(Cell("●" if task in block["tasks"] else "·") for task in tasks),
    ]
