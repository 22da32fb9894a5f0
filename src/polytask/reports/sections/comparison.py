"""All strategies in one table, and every task in another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from polytask.reports import formats
from polytask.reports.material import Material
from polytask.reports.sections.base import Cell, Section, Table, filled
from polytask.reports.summary import (
    FAMILIES,
    Estimate,
    Record,
    best,
    cost,
    family_estimate,
    gain,
    gain_of_task,
    main_estimate,
    standing,
    task_estimate,
    worst_task,
)
from polytask.reports.wording import Text, phrase

_BASELINE = "single"


def comparison(material: Material) -> Section | None:
    """The tables of a comparison."""
    record = material.record
    if record is None:
        return None
    tables = [_summary(record), _by_task(record)]
    return Section("comparison", filled("comparison.html", tables=tables, record=record))


def _summary(record: Record) -> Table:
    families = [
        name
        for name in FAMILIES
        if any(family_estimate(record, one, name) for one in record["strategies"])
    ]
    head: list[Text] = [
        phrase("column.strategy"),
        *(phrase(f"column.{name}") for name in families),
        phrase("column.mean"),
        "Δm %",
        phrase("column.worst"),
        phrase("column.hurt"),
        phrase("column.parameters"),
        phrase("column.seconds"),
    ]
    columns: list[list[Cell]] = [
        *(_estimates(record, partial(_family, record, name)) for name in families),
        _estimates(record, lambda one: main_estimate(record, one)),
        [_gain(record, one) for one in record["strategies"]],
        [_worst(record, one) for one in record["strategies"]],
        [_hurt(record, one) for one in record["strategies"]],
        [_cost(cost(record, one, "parameters"), formats.amount) for one in record["strategies"]],
        [_cost(cost(record, one, "seconds"), formats.seconds) for one in record["strategies"]],
    ]
    rows = [
        [Cell(name), *cells] for name, *cells in zip(record["strategies"], *columns, strict=True)
    ]
    return Table("strategies", head, rows, filtered=len(rows) > 3)


def _family(record: Record, family: str, strategy: str) -> Estimate | None:
    return family_estimate(record, strategy, family)


def _estimates(record: Record, estimate: Callable[[str], Estimate | None]) -> list[Cell]:
    """A column of shares, in which the best is marked."""
    found = [estimate(name) for name in record["strategies"]]
    top = max((one.mean for one in found if one is not None), default=None)
    return [_estimate("accuracy", one, best=one is not None and one.mean == top) for one in found]


def _estimate(metric: str, found: Estimate | None, *, best: bool) -> Cell:
    if found is None:
        return Cell(formats.NOTHING, -1e9)
    spread = "" if found.spread is None else f" ± {formats.score(metric, found.spread)}"
    return Cell(formats.score(metric, found.mean) + spread, found.mean, best)


def _gain(record: Record, strategy: str) -> Cell:
    value = gain(record, strategy)
    return Cell(formats.NOTHING, -1e9) if value is None else _signed(value)


def _signed(value: float) -> Cell:
    tone = "good" if value > 0.05 else "bad" if value < -0.05 else ""
    return Cell(f"{value:+.1f}".replace("-", "−"), value, tone=tone)


def _worst(record: Record, strategy: str) -> Cell:
    found = worst_task(record, strategy)
    if found is None:
        return Cell(formats.NOTHING, -1e9)
    return Cell(f"{found[0]} {found[1]:+.1f}".replace("-", "−"), found[1])


def _hurt(record: Record, strategy: str) -> Cell:
    """How many tasks are below the single-task models, of those that have both."""
    gains = [gain_of_task(record, strategy, task, _BASELINE) for task in standing(record)]
    known = [value for value in gains if value is not None]
    hurt = sum(value < 0 for value in known)
    return Cell(f"{hurt} / {len(known)}" if known else formats.NOTHING, hurt if known else -1)


def _cost(value: float | None, show: Callable[[float | None], str]) -> Cell:
    return Cell(show(value), -1.0 if value is None else value)


def _by_task(record: Record) -> Table:
    head: list[Text] = [phrase("column.task"), phrase("column.metric"), *record["strategies"]]
    rows = [[Cell(task), *_task(record, task)] for task in standing(record)]
    return Table("tasks", head, rows, filtered=len(rows) > 3)


def _task(record: Record, task: str) -> Iterator[Cell]:
    metric, winner = standing(record)[task]["select"], best(record, task)
    yield Cell(metric)
    for strategy in record["strategies"]:
        found = task_estimate(record, strategy, task, metric)
        yield _estimate(metric, found, best=strategy == winner)
