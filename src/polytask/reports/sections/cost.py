"""What the trainings took."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from polytask.reports import formats
from polytask.reports.material import Material
from polytask.reports.sections.base import Cell, Section, Table, filled
from polytask.reports.summary import Record, cost as mean_cost
from polytask.reports.wording import phrase

_COLUMNS = {
    "parameters": formats.amount,
    "trained_parameters": formats.amount,
    "tokens": formats.amount,
    "seconds": formats.seconds,
    "flops": formats.amount,
    "peak_memory_mb": formats.amount,
    "inference_parameters": formats.amount,
    "inference_flops_per_row": formats.amount,
}


_WORDS = {"precision": "precision_of_numbers"}  # not the precision of predictions


def cost(material: Material) -> Section | None:
    """Parameters, tokens and time of every strategy, or of the one training."""
    if material.record is not None:
        table = _compared(material.record)
    else:
        table = Table(
            "cost",
            [phrase("column.fact"), phrase("column.value")],
            list(_facts(material.trained[0].facts)),
        )
    return Section("cost", filled("cost.html", table=table)) if table.rows else None


def _compared(record: Record) -> Table:
    there = [
        name
        for name in _COLUMNS
        if any(result.get(name) is not None for result in record["results"])
    ]
    rows = [
        [Cell(strategy), *(_cell(record, strategy, name) for name in there)]
        for strategy in record["strategies"]
    ]
    head = [phrase("column.strategy"), *(phrase(f"column.{name}") for name in there)]
    return Table("cost", head, rows)


def _cell(record: Record, strategy: str, name: str) -> Cell:
    value = _mean(record, strategy, name)
    return Cell(_COLUMNS[name](value), -1.0 if value is None else value)


def _mean(record: Record, strategy: str, name: str) -> float | None:
    """None where some result does not say it."""
    own = [result for result in record["results"] if result["strategy"] == strategy]
    return mean_cost(record, strategy, name) if all(name in result for result in own) else None


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
