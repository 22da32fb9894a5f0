"""The proposed groups of tasks, and the gains after training them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from polytask.reports.cells import UNKNOWN, Cell, SortableTable
from polytask.reports.formats import format_short
from polytask.reports.report_data import ReportData
from polytask.reports.sections.base import Section, fill_template
from polytask.reports.wording import phrase


def groups(report: ReportData) -> Section | None:
    """Return the proposed groups, their recipes, and their measured gains."""
    found = report.analysis("groups") or {}
    proposed = found.get("proposed") or {}
    sets = [[str(task) for task in group] for group in proposed.get("groups", ())]
    if not sets:
        return None
    body = fill_template(
        "groups.html",
        groups=sets,
        recipes=[str(recipe) for recipe in found.get("recipes", ())],
        table=_table(proposed.get("gains", {}), found.get("verified") or {}),
        held=(found.get("verified") or {}).get("held"),
    )
    return Section("groups", body)


def _table(gains: Mapping[str, float], verified: Mapping[str, Any]) -> SortableTable:
    """Return the predicted gain of each task, and the measured gain if groups were trained."""
    trained = verified.get("tasks", {})
    names = ["grouped", "joint"] if trained else []
    head = [phrase(f"column.{name}") for name in ("task", "predicted", *names)]
    rows = [
        [Cell(task), _cell(value), *(_cell(trained.get(task, {}).get(name)) for name in names)]
        for task, value in gains.items()
    ]
    return SortableTable("groups", head, rows)


def _cell(value: float | None) -> Cell:
    if value is None:
        return UNKNOWN
    sign = "+" if value > 0 else ""
    tone = "good" if value > 0 else "bad" if value < 0 else ""
    return Cell(sign + format_short(value).replace("-", "−"), value, tone=tone)
