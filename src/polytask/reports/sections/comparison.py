"""All strategies in one table, and every task in another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from polytask.reports import formats
from polytask.reports.material import Material
from polytask.reports.sections.base import Cell, Section, Table, filled
from polytask.reports.summary import (
    FAMILIES,
    Estimate,
    Record,
    best,
    family_estimate,
    gain,
    main_estimate,
    standing,
    task_estimate,
    worst_task,
)
from polytask.reports.tested import (
    BETTER,
    detectable,
    mark,
    mean_rank,
    moved,
    statistics_of,
    tested_difference,
    tested_gain,
)
from polytask.reports.wording import Text, phrase


def comparison(material: Material) -> Section | None:
    """The tables of a comparison."""
    record = material.record
    if record is None:
        return None
    tables = [_summary(record), _by_task(record)]
    tested = statistics_of(record)
    if tested:
        tables.append(_differences(record, tested["baseline"]))
    body = filled("comparison.html", tables=tables, record=record, tested=tested)
    return Section("comparison", body)


def _summary(record: Record) -> Table:
    families = [
        name
        for name in FAMILIES
        if any(family_estimate(record, one, name) for one in record["strategies"])
    ]
    tested = bool(statistics_of(record))
    head: list[Text] = [
        phrase("column.strategy"),
        *(phrase(f"column.{name}") for name in families),
        phrase("column.mean"),
        "Δm %",
        *((phrase("column.rank"),) if tested else ()),
        phrase("column.worst"),
        *((phrase("column.hurt"),) if tested else ()),
    ]
    columns: list[list[Cell]] = [
        *(_estimates(record, partial(_family, record, name)) for name in families),
        _estimates(record, lambda one: main_estimate(record, one)),
        [_gain(record, one) for one in record["strategies"]],
        *([[_rank(record, one) for one in record["strategies"]]] if tested else ()),
        [_worst(record, one) for one in record["strategies"]],
        *([[_hurt(record, one) for one in record["strategies"]]] if tested else ()),
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
    """Δm with its interval; coloured where it is significant, or was not tested."""
    value, tested = gain(record, strategy), tested_gain(record, strategy)
    if value is None:
        return Cell(formats.NOTHING, -1e9)
    tone = "good" if value > 0.05 else "bad" if value < -0.05 else ""
    if tested is None:
        return Cell(formats.signed(value), value, tone=tone)
    low, high = (formats.signed(tested[end]) for end in ("low", "high"))
    p = tested["p_holm"]
    found = p is not None and p < statistics_of(record)["level"]
    shown = f"{formats.signed(value)} [{low}, {high}]"
    return Cell(shown, value, tone=tone if found else "")


def _rank(record: Record, strategy: str) -> Cell:
    rank = mean_rank(record, strategy)
    return Cell(formats.NOTHING, 1e9) if rank is None else Cell(f"{rank:.1f}", rank)


def _worst(record: Record, strategy: str) -> Cell:
    found = worst_task(record, strategy)
    if found is None:
        return Cell(formats.NOTHING, -1e9)
    return Cell(f"{found[0]} {formats.signed(found[1])}", found[1])


def _hurt(record: Record, strategy: str) -> Cell:
    """How many tasks are significantly worse, and how many are by their mean."""
    found = moved(record, strategy, "hurt")
    if found is None:
        return Cell(formats.NOTHING, -1)
    shown = f"{len(found.found)} ({len(found.seen)}) / {found.of}"
    return Cell(shown, len(found.found), tone="bad" if found.found else "")


def _by_task(record: Record) -> Table:
    head: list[Text] = [phrase("column.task"), phrase("column.metric"), *record["strategies"]]
    rows = [[Cell(task), *_task(record, task)] for task in standing(record)]
    return Table("tasks", head, rows, filtered=len(rows) > 3)


def _task(record: Record, task: str) -> Iterator[Cell]:
    metric, winner = standing(record)[task]["select"], best(record, task)
    yield Cell(metric)
    for strategy in record["strategies"]:
        found = task_estimate(record, strategy, task, metric)
        cell = _estimate(metric, found, best=strategy == winner)
        sign = mark(record, strategy, task)
        yield replace(cell, text=f"{cell.text} {sign}") if sign else cell


def _differences(record: Record, baseline: str) -> Table:
    """Every metric with its interval, task by task."""
    strategies = [name for name in record["strategies"] if name != baseline]
    rows = [
        [
            Cell(task),
            Cell(metric),
            *(_difference(record, one, task, metric) for one in strategies),
            _detectable(record, task, metric),
        ]
        for task, entry in standing(record).items()
        for metric in entry["metrics"]
    ]
    head: list[Text] = [phrase("column.task"), phrase("column.metric"), *strategies]
    head.append(phrase("column.detectable"))
    return Table("differences", head, rows, filtered=len(rows) > 3)


def _detectable(record: Record, task: str, metric: str) -> Cell:
    """Of the metric that is tested."""
    tested = metric == standing(record)[task]["select"]
    value = detectable(record, task) if tested else None
    return Cell("", -1e9) if value is None else Cell(formats.score(metric, value), value)


def _difference(record: Record, strategy: str, task: str, metric: str) -> Cell:
    """A difference with its interval; coloured where a test has found it."""
    tested = tested_difference(record, strategy, task) or {"others": {}}
    main = metric == standing(record)[task]["select"]
    found = tested if main else tested["others"].get(metric)
    if not found or "difference" not in found:
        return Cell(formats.NOTHING, -1e9)
    middle, low, high = (
        formats.difference(metric, found[end]).replace("-", "−")
        for end in ("difference", "low", "high")
    )
    sign = mark(record, strategy, task) if main else ""
    tone = ("good" if sign == BETTER else "bad") if sign else ""
    return Cell(f"{middle} [{low}, {high}]", found["difference"], tone=tone)
