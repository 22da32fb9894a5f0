"""Tables as text for the console or as Markdown, and the table of a run's scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

from rich.console import Console
from rich.table import Table

from polytask.core.accounting import reasons
from polytask.reports.formats import NOTHING, format_score

_WIDTH = 1000  # wider than any table, so that rich cuts no column


@dataclass(frozen=True)
class Grid:
    """A table of texts.

    :param head: Names of the columns; the first one names the rows.
    :param rows: Cells; a leading ``*`` marks the best cell.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        """Return the table as text for the console."""
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
        """Return the table as Markdown."""
        rule = ["---", *["---:"] * (len(self.head) - 1)]
        body = [[f"**{c[1:]}**" if c.startswith("*") else c for c in row] for row in self.rows]
        lines = [f"| {' | '.join(row)} |" for row in (self.head, rule, *body)]
        return "\n".join([f"**{self.title}**", "", *lines]) + "\n"


def render_scores(scores: Mapping[str, Any]) -> str:
    """Return the scores of a run with their intervals, as text for the console."""
    rows = [
        [name, str(entry["rows"]), metric, *_interval(metric, value)]
        for section in ("tasks", "pooled")
        for name, entry in scores[section].items()
        for metric, value in entry.items()
        if metric != "rows"
    ]
    grid = Grid("Scores", ("task", "rows", "metric", "value", "interval"), rows)
    remarks = {task: "; ".join(reasons(rows)) for task, rows in scores.get("rows", {}).items()}
    lines = [f"rows: {task}: {text}\n" for task, text in remarks.items() if text]
    return "".join([grid.text(), _average(scores), *lines])


def _average(scores: Mapping[str, Any]) -> str:
    """Return the line of the mean over tasks; it names the tasks if some are missing."""
    without, over = scores.get("average_without", ()), scores.get("average_over", ())
    average = scores["average"]
    if not without:
        return "" if average is None else f"average {average:.4f}\n"
    missing = f"undefined or without labelled rows: {', '.join(without)}"
    if average is None:
        return f"average {NOTHING} ({missing})\n"
    return f"average {average:.4f} over {', '.join(over)} ({missing})\n"


def _interval(metric: str, value: Mapping[str, float | None]) -> tuple[str, str]:
    middle, low, high = (format_score(metric, value[end]) for end in ("value", "low", "high"))
    return middle, NOTHING if value["low"] is value["high"] is None else f"{low} to {high}"
