"""The cost of the trainings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from polytask.reports.cells import Cell, SortableTable
from polytask.reports.comparison_tables import tabulate_costs
from polytask.reports.formats import format_amount, format_seconds, format_short
from polytask.reports.report_data import ReportData
from polytask.reports.sections.base import Section, fill_template
from polytask.reports.wording import phrase

_WORDS = {"precision": "precision_of_numbers"}  # not the precision of predictions


def cost(report: ReportData) -> Section | None:
    """Return parameters, tokens and time of every strategy or of the run."""
    if report.record is not None:
        table = tabulate_costs(report.record)
    else:
        table = SortableTable(
            "cost",
            [phrase("column.fact"), phrase("column.value")],
            list(_facts(report.trained[0].facts)),
        )
    return Section("cost", fill_template("cost.html", table=table)) if table.rows else None


def _facts(facts: dict[str, Any]) -> Iterator[list[Cell]]:
    shown: dict[str, Callable[[Any], str]] = {
        "parameters": format_amount,
        "trained_parameters": format_amount,
        "shared_parameters": format_amount,
        "steps": str,
        "epochs": format_short,
        "tokens": format_amount,
        "tokens_per_second": format_amount,
        "padding": lambda value: f"{value:.1%}",
        "seconds": format_seconds,
        "device": str,
        "precision": str,
        "processes": str,
        "task_gradients": str,
    }
    for name, show in shown.items():
        if facts.get(name) is not None:
            text = show(facts[name])
            yield [Cell(phrase(f"column.{_WORDS.get(name, name)}"), name), Cell(text)]
