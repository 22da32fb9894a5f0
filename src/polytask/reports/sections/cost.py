"""The cost of the trainings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from polytask.reports import formats
from polytask.reports.cells import Cell, SortableTable
from polytask.reports.comparison_tables import costs
from polytask.reports.report_data import Material
from polytask.reports.sections.base import Section, fill_template
from polytask.reports.wording import phrase

_WORDS = {"precision": "precision_of_numbers"}  # not the precision of predictions


def cost(material: Material) -> Section | None:
    """Return parameters, tokens and time of every strategy or of the run."""
    if material.record is not None:
        table = costs(material.record)
    else:
        table = SortableTable(
            "cost",
            [phrase("column.fact"), phrase("column.value")],
            list(_facts(material.trained[0].facts)),
        )
    return Section("cost", fill_template("cost.html", table=table)) if table.rows else None


def _facts(facts: dict[str, Any]) -> Iterator[list[Cell]]:
    shown: dict[str, Callable[[Any], str]] = {
        "parameters": formats.amount,
        "trained_parameters": formats.amount,
        "shared_parameters": formats.amount,
        "steps": str,
        "epochs": formats.short,
        "tokens": formats.amount,
        "tokens_per_second": formats.amount,
        "padding": lambda value: f"{value:.1%}",
        "seconds": formats.seconds,
        "device": str,
        "precision": str,
        "processes": str,
        "task_gradients": str,
    }
    for name, show in shown.items():
        if facts.get(name) is not None:
            text = show(facts[name])
            yield [Cell(phrase(f"column.{_WORDS.get(name, name)}"), name), Cell(text)]
