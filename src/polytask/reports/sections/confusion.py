"""Confusion matrices: labels against predictions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from polytask.reports.charts.matrix import get_sequential_style, matrix_chart
from polytask.reports.predictions import PredictedRow, confusion
from polytask.reports.report_data import ReportData
from polytask.reports.sections.base import Figure, Section, fill_template
from polytask.reports.wording import phrase

_LABELS = 14
_STRATEGIES = 2


def confusions(report: ReportData) -> Section | None:
    """Return a matrix per strategy and task with one label per row."""
    figures = [
        figure
        for task in report.tasks
        for strategy in choose_strategies(report)
        for figure in _figure(task, strategy, report.answers(strategy, task))
    ]
    if not figures:
        return None
    return Section("confusion", fill_template("confusion.html", figures=figures, most=_LABELS))


def choose_strategies(report: ReportData) -> list[str]:
    """Return the first trained strategies: single and joint in the default order."""
    trained = {one.strategy for one in report.trained}
    return [name for name in report.strategies if name in trained][:_STRATEGIES]


def _figure(task: str, strategy: str, answers: Sequence[PredictedRow]) -> Iterator[Figure]:
    labels, counts = confusion(answers, _LABELS)
    if len(labels) > 1:
        name = " · ".join(filter(None, (task, strategy)))
        title = phrase("confusion.title", name=name)
        yield Figure(name, matrix_chart(title, labels, labels, _cells(labels, counts)))


def _cells(labels: Sequence[str], counts: Counter[tuple[str, str]]) -> dict[Any, Any]:
    """Return counts, shaded by their share of the row."""
    cells = {}
    for row, label in enumerate(labels):
        total = sum(counts[label, other] for other in labels)
        for column, other in enumerate(labels):
            count = counts[label, other]
            share = count / total if total else 0.0
            tip = phrase(
                "confusion.tip", label=label, other=other, count=count, share=f"{share:.1%}"
            )
            # a mistake is as dark at one half as a right answer at one, so that it is seen
            wrong = get_sequential_style(min(1.0, 2 * share)).replace("v", "w")
            kind = get_sequential_style(share) if row == column else wrong
            cells[row, column] = (str(count) if count else "·", kind, tip)
    return cells
