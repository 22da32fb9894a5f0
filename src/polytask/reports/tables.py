"""Results as tables: for the console, and as Markdown. Reads JSON records only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

from rich.console import Console
from rich.table import Table

from polytask.core.accounting import reasons
from polytask.reports import formats

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
        table = Table(box=None, pad_edge=False)
        for number, name in enumerate(self.head):
            table.add_column(name, justify="right" if number else "left", no_wrap=True)
        for row in self.rows:
            table.add_row(*(cell.removeprefix("*") for cell in row))
        out = StringIO()
        Console(file=out, width=_WIDTH, markup=False).print(table)
        lines = [self.title, *(line.rstrip() for line in out.getvalue().splitlines())]
        return "\n".join(lines) + "\n"

    def markdown(self) -> str:
        """For documents."""
        rule = ["---", *["---:"] * (len(self.head) - 1)]
        body = [[f"**{c[1:]}**" if c.startswith("*") else c for c in row] for row in self.rows]
        lines = [f"| {' | '.join(row)} |" for row in (self.head, rule, *body)]
        return "\n".join([f"**{self.title}**", "", *lines]) + "\n"


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
    return grid.text() + _average(scores) + "".join(_account_lines(scores.get("rows", {})))


def _average(scores: Mapping[str, Any]) -> str:
    """The mean over tasks; it names them if it is not over all."""
    without, over = scores.get("average_without", ()), scores.get("average_over", ())
    average = scores["average"]
    if not without:
        return "" if average is None else f"average {average:.4f}\n"
    missing = f"undefined or without labelled rows: {', '.join(without)}"
    if average is None:
        return f"average {formats.NOTHING} ({missing})\n"
    return f"average {average:.4f} over {', '.join(over)} ({missing})\n"


def _account_lines(accounts: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each task with rows that are left out or deserve a look."""
    for task, record in accounts.items():
        if found := "; ".join(reasons(record)):
            yield f"rows: {task}: {found}\n"


def _interval(metric: str, value: Mapping[str, float | None]) -> tuple[str, str]:
    middle, low, high = (formats.score(metric, value[end]) for end in ("value", "low", "high"))
    return middle, formats.NOTHING if value["low"] is value["high"] is None else f"{low} to {high}"
