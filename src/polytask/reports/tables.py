"""Results as tables: for the console, and as Markdown. Reads JSON records only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

from rich.console import Console
from rich.table import Table

from polytask.reports.formats import is_share
from polytask.reports.summary import (
    FAMILIES,
    Estimate,
    Record,
    best,
    cost,
    family_estimate,
    gain,
    main_estimate,
    standing,
    task_estimate,
    worst_task,
)

_NOTHING = "–"
_WIDTH = 1000  # no table is cut; it is as wide as it needs to be


@dataclass(frozen=True)
class Grid:
    """A table as texts.

    :param head: Names of the columns; the first one names the rows.
    :param rows: Cells; those that begin with ``*`` are the best of their row.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        """For the console."""
        table = Table(title=self.title, title_justify="left", box=None, pad_edge=False)
        for number, name in enumerate(self.head):
            table.add_column(name, justify="right" if number else "left", no_wrap=True)
        for row in self.rows:
            table.add_row(*(cell.removeprefix("*") for cell in row))
        out = StringIO()
        Console(file=out, width=_WIDTH, markup=False).print(table)
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"

    def markdown(self) -> str:
        """For documents."""
        rule = ["---", *["---:"] * (len(self.head) - 1)]
        body = [[f"**{c[1:]}**" if c.startswith("*") else c for c in row] for row in self.rows]
        lines = [f"| {' | '.join(row)} |" for row in (self.head, rule, *body)]
        return "\n".join([f"**{self.title}**", "", *lines]) + "\n"


def render_comparison(record: Record) -> str:
    """A comparison for the console."""
    return "\n".join([*(grid.text() for grid in _grids(record)), *_remarks(record)])


def comparison_markdown(record: Record) -> str:
    """A comparison as a Markdown document."""
    grids = [grid.markdown() for grid in _grids(record)]
    return "\n".join([f"# {record['name']}", "", *grids, *_remarks(record)]) + "\n"


def render_scores(scores: Mapping[str, Any]) -> str:
    """The scores of a run for the console, with their intervals."""
    rows = [
        [name, str(entry["rows"]), metric, *_interval(metric, value)]
        for section in ("tasks", "pooled")
        for name, entry in scores[section].items()
        for metric, value in entry.items()
        if metric != "rows"
    ]
    grid = Grid("Scores", ("task", "rows", "metric", "value", "interval"), rows)
    average = scores["average"]
    return grid.text() + ("" if average is None else f"average {average:.4f}\n")


def _grids(record: Record) -> list[Grid]:
    return [_summary(record), _by_task(record)]


def _summary(record: Record) -> Grid:
    families = [
        name
        for name in FAMILIES
        if any(family_estimate(record, s, name) for s in record["strategies"])
    ]
    head = ["strategy", *families, "mean", "Δm %", "worst task", "parameters", "seconds"]
    rows = [
        [
            strategy,
            *(_estimate(family_estimate(record, strategy, name)) for name in families),
            _estimate(main_estimate(record, strategy)),
            _signed(gain(record, strategy)),
            _worst(worst_task(record, strategy)),
            _size(cost(record, strategy, "parameters")),
            _shown(cost(record, strategy, "seconds"), "{:.1f}".format),
        ]
        for strategy in record["strategies"]
    ]
    return Grid(f"{record['name']}: means over {len(standing(record))} tasks", head, rows)


def _by_task(record: Record) -> Grid:
    strategies = record["strategies"]
    rows = []
    for task, entry in standing(record).items():
        winner = best(record, task)
        cells = []
        for strategy in strategies:
            found = task_estimate(record, strategy, task, entry["select"])
            share = is_share(entry["select"])
            mark = "*" if strategy == winner else ""
            cells.append(mark + _estimate(found, share=share))
        rows.append([task, entry["select"], *cells])
    return Grid("By task", ["task", "metric", *strategies], rows)


def _remarks(record: Record) -> list[str]:
    seeds = len(record["seeds"])
    remarks = [
        f"Scores on {record['split']} rows; selection on validation rows. {seeds} seed"
        f"{'s: mean ± standard deviation' if seeds > 1 else ''}; linear models do not depend on it.",
        "mean: of the metric that stands for each task. Δm: mean relative gain over single; "
        "positive is better.",
    ]
    remarks += [
        f"{name}: over the rows of {', '.join(entry['tasks'])} together, in place of their scores."
        for name, entry in record["pooled"].items()
    ]
    leaks = record.get("leaks")
    if leaks and any(leaks["train_rows"].values()):
        done = "dropped from train" if record["drop_leaks"] else "not dropped"
        remarks.append(f"Leaks: {leaks['summary']}; {done}.")
    return remarks


def _interval(metric: str, value: Mapping[str, float | None]) -> tuple[str, str]:
    share = is_share(metric)
    low, high = (_shown(value[end], _number(share=share)) for end in ("low", "high"))
    return _shown(value["value"], _number(share=share)), f"{low} to {high}"


def _estimate(found: Estimate | None, *, share: bool = True) -> str:
    if found is None:
        return _NOTHING
    show = _number(share=share)
    return show(found.mean) + ("" if found.spread is None else f" ± {show(found.spread)}")


def _number(*, share: bool) -> Callable[[float], str]:
    """Shares in percent with one decimal, other numbers with three."""
    return (lambda value: f"{100 * value:.1f}") if share else "{:.3f}".format


def _shown(value: float | None, show: Callable[[float], str]) -> str:
    return _NOTHING if value is None else show(value)


def _signed(value: float | None) -> str:
    return _shown(value, "{:+.1f}".format)


def _worst(found: tuple[str, float] | None) -> str:
    return _NOTHING if found is None else f"{found[0]} {found[1]:+.1f}"


def _size(value: float | None) -> str:
    return _shown(value, lambda number: f"{number / 1e6:.2f} M")
