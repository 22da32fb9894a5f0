"""The tables of a comparison, for the page, the console and Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from polytask.evaluation.coverage import select_counted
from polytask.reports.cells import UNKNOWN, Cell, SortableTable
from polytask.reports.formats import (
    NOTHING,
    format_amount,
    format_difference,
    format_p_value,
    format_score,
    format_seconds,
    format_signed,
)
from polytask.reports.significance import (
    BETTER,
    get_detectable,
    get_difference,
    get_gain,
    get_mean_rank,
    get_moved_tasks,
    get_statistics,
    mark,
)
from polytask.reports.summary import (
    FAMILIES,
    Estimate,
    Record,
    best,
    cost,
    family_estimate,
    gain_estimate,
    main_estimate,
    results_of,
    task_estimate,
    values_of,
    worst_task,
)
from polytask.reports.wording import Text, phrase

_COSTS: dict[str, Callable[[float | None], str]] = {
    "parameters": format_amount,
    "trained_parameters": format_amount,
    "tokens": format_amount,
    "seconds": format_seconds,
    "flops": format_amount,
    "peak_memory_mb": format_amount,
    "inference_parameters": format_amount,
    "inference_flops_per_row": format_amount,
}


def tabulate_scores(record: Record) -> list[SortableTable]:
    """Return the tables of strategies and of tasks and, if they were tested, of differences."""
    tested = [_tabulate_differences(record)] if get_statistics(record) else []
    return [_tabulate_means(record), _tabulate_tasks(record), *tested]


def _tabulate_means(record: Record) -> SortableTable:
    """Return a row per strategy: means of metrics over tasks, and gains over single-task models."""
    families = [
        name
        for name in FAMILIES
        if any(family_estimate(record, one, name) for one in record["strategies"])
    ]
    tested = bool(get_statistics(record))
    columns: list[tuple[Text, Callable[[Record, str], Cell]]] = [
        ("Δm %", _gain),
        *([(phrase("column.chance"), _chance), (phrase("column.rank"), _rank)] if tested else []),
        (phrase("column.worst"), _worst),
        *([(phrase("column.hurt"), _hurt)] if tested else []),
    ]
    shares = [
        *(_shares(record, partial(family_estimate, record, family=name)) for name in families),
        _shares(record, partial(main_estimate, record)),
    ]
    head = [
        phrase("column.strategy"),
        *(phrase(f"column.{name}") for name in (*families, "mean")),
        *(name for name, _ in columns),
    ]
    rows = [
        [Cell(strategy), *reached, *(cell(record, strategy) for _, cell in columns)]
        for strategy, *reached in zip(record["strategies"], *shares, strict=True)
    ]
    return SortableTable("strategies", head, rows, filtered=len(rows) > 3)


def _tabulate_tasks(record: Record) -> SortableTable:
    """Return a row per task: its main metric for every strategy."""
    head: list[Text] = [phrase("column.task"), phrase("column.metric"), *record["strategies"]]
    rows = [[Cell(task), *_task(record, task)] for task in select_counted(record)]
    return SortableTable("tasks", head, rows, filtered=len(rows) > 3)


def _tabulate_differences(record: Record) -> SortableTable:
    """Return the difference of every metric to the baseline; only main metrics were tested."""
    baseline = get_statistics(record)["baseline"]
    strategies = [name for name in record["strategies"] if name != baseline]
    rows = [
        [
            Cell(task),
            Cell(metric),
            *(_difference(record, one, task, metric) for one in strategies),
            _detectable(record, task, metric),
        ]
        for task, entry in select_counted(record).items()
        for metric in entry["metrics"]
    ]
    head = [phrase("column.task"), phrase("column.metric"), *strategies]
    return SortableTable(
        "differences", [*head, phrase("column.detectable")], rows, filtered=len(rows) > 3
    )


def tabulate_costs(record: Record) -> SortableTable:
    """Return a row per strategy: parameters, tokens, time and memory of its trainings."""
    there = [
        name for name in _COSTS if any(result.get(name) is not None for result in record["results"])
    ]
    rows = [
        [Cell(strategy), *(_cost(record, strategy, name) for name in there)]
        for strategy in record["strategies"]
    ]
    head = [phrase("column.strategy"), *(phrase(f"column.{name}") for name in there)]
    return SortableTable("cost", head, rows)


def _shares(record: Record, estimate: Callable[[str], Estimate | None]) -> list[Cell]:
    """Return a column of means, with the best one marked."""
    found = [estimate(name) for name in record["strategies"]]
    # a mean over fewer tasks does not compete: it may lack the difficult ones
    whole = (one.mean for one in found if one is not None and not one.without)
    top = max(whole, default=None)
    return [
        _estimate("accuracy", one, best=one is not None and not one.without and one.mean == top)
        for one in found
    ]


def _estimate(metric: str, found: Estimate | None, *, best: bool) -> Cell:
    if found is None:
        return UNKNOWN
    half = "" if found.half is None else f" ± {format_score(metric, found.half)}"
    return Cell(_whole(format_score(metric, found.mean) + half, found), found.mean, best)


def _whole(shown: str, found: Estimate) -> Text:
    """Return the text of a mean, with the tasks that it lacks."""
    tasks = ", ".join(found.without)
    return phrase("mean.without", value=shown, tasks=tasks) if tasks else shown


def _gain(record: Record, strategy: str) -> Cell:
    """Return Δm with its interval; the cell is coloured if Δm is significant or was not tested."""
    found, tested = gain_estimate(record, strategy), get_gain(record, strategy)
    if found is None:
        return UNKNOWN
    value = found.mean
    tone = "good" if value > 0.05 else "bad" if value < -0.05 else ""
    if tested is None:
        return Cell(_whole(format_signed(value), found), value, tone=tone)
    low, high = (format_signed(tested[end]) for end in ("low", "high"))
    p = tested["p_holm"]
    significant = p is not None and p < get_statistics(record)["level"]
    shown = _whole(f"{format_signed(value)} [{low}, {high}]", found)
    return Cell(shown, value, tone=tone if significant else "")


def _chance(record: Record, strategy: str) -> Cell:
    p = (get_gain(record, strategy) or {}).get("p_holm")
    return Cell(format_p_value(p), 2.0 if p is None else p)


def _rank(record: Record, strategy: str) -> Cell:
    rank = get_mean_rank(record, strategy)
    return Cell(NOTHING, 1e9) if rank is None else Cell(f"{rank:.1f}", rank)


def _worst(record: Record, strategy: str) -> Cell:
    found = worst_task(record, strategy)
    if found is None:
        return UNKNOWN
    return Cell(f"{found[0]} {format_signed(found[1])}", found[1])


def _hurt(record: Record, strategy: str) -> Cell:
    """Return the number of significantly worse tasks and, in brackets, of tasks with a worse mean."""
    found = get_moved_tasks(record, strategy, "hurt")
    if found is None:
        return Cell(NOTHING, -1)
    shown = f"{len(found.found)} ({len(found.seen)}) / {found.of}"
    return Cell(shown, len(found.found), tone="bad" if found.found else "")


def _task(record: Record, task: str) -> Iterator[Cell]:
    metric, winner = select_counted(record)[task]["select"], best(record, task)
    yield Cell(metric)
    for strategy in record["strategies"]:
        found = task_estimate(record, strategy, task, metric)
        cell = _estimate(metric, found, best=strategy == winner)
        shown = " ".join(filter(None, (str(cell.text), mark(record, strategy, task))))
        values = values_of(record, strategy, task, metric)
        known = sum(value is not None for value in values)
        partly = phrase("mean.seeds", value=shown, known=known, all=len(values))
        yield replace(cell, text=partly if 0 < known < len(values) else shown)


def _difference(record: Record, strategy: str, task: str, metric: str) -> Cell:
    """Return a difference with its interval; the cell is coloured if it is significant."""
    tested = get_difference(record, strategy, task) or {"others": {}}
    main = metric == select_counted(record)[task]["select"]
    found = tested if main else tested["others"].get(metric)
    if not found or "difference" not in found:
        return UNKNOWN
    middle, low, high = (
        format_difference(metric, found[end]).replace("-", "−")
        for end in ("difference", "low", "high")
    )
    sign = mark(record, strategy, task) if main else ""
    tone = ("good" if sign == BETTER else "bad") if sign else ""
    return Cell(f"{middle} [{low}, {high}]", found["difference"], tone=tone)


def _detectable(record: Record, task: str, metric: str) -> Cell:
    """Return the detectable difference of the main metric; empty for other metrics."""
    tested = metric == select_counted(record)[task]["select"]
    value = get_detectable(record, task) if tested else None
    return Cell("", -1e9) if value is None else Cell(format_score(metric, value), value)


def _cost(record: Record, strategy: str, name: str) -> Cell:
    """Return a cost cell; it is empty if a result of the strategy lacks the cost."""
    complete = all(name in result for result in results_of(record, strategy))
    value = cost(record, strategy, name) if complete else None
    return Cell(_COSTS[name](value), -1.0 if value is None else value)
