"""Which labels are taken for which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from polytask.reports.charts.matrix import matrix_chart, sequential
from polytask.reports.predictions import PredictedRow, confusion
from polytask.reports.report_data import Material
from polytask.reports.sections.base import Figure, Section, fill_template
from polytask.reports.wording import phrase

_LABELS = 14
_STRATEGIES = 2


def confusions(material: Material) -> Section | None:
    """A matrix per task with one label per row, for the last strategies that were trained."""
    figures = [
        figure
        for task in material.tasks
        for strategy in choose_strategies(material)
        for figure in _figure(task, strategy, material.answers(strategy, task))
    ]
    if not figures:
        return None
    return Section("confusion", fill_template("confusion.html", figures=figures, most=_LABELS))


def choose_strategies(material: Material) -> list[str]:
    """The strategies whose answers are looked at: the first that were trained, single and joint
    unless the recipe says otherwise.
    """
    trained = {one.strategy for one in material.trained}
    return [name for name in material.strategies if name in trained][:_STRATEGIES]


def _figure(task: str, strategy: str, answers: Sequence[PredictedRow]) -> Iterator[Figure]:
    labels, counts = confusion(answers, _LABELS)
    if len(labels) > 1:
        name = " · ".join(filter(None, (task, strategy)))
        title = phrase("confusion.title", name=name)
        yield Figure(name, matrix_chart(title, labels, labels, _cells(labels, counts)))


def _cells(labels: Sequence[str], counts: Counter[tuple[str, str]]) -> dict[Any, Any]:
    """Counts, shaded by their share of the row."""
    cells = {}
    for row, label in enumerate(labels):
        total = sum(counts[label, other] for other in labels)
        for column, other in enumerate(labels):
            count = counts[label, other]
            share = count / total if total else 0.0
            tip = phrase(
                "confusion.tip", label=label, other=other, count=count, share=f"{share:.1%}"
            )
            kind = sequential(share) if row == column else _wrong(share)
            cells[row, column] = (str(count) if count else "·", kind, tip)
    return cells


def _wrong(share: float) -> str:
    """Mistakes have the other colour, and are as strong at a half as right answers at one."""
    return sequential(min(1.0, 2 * share)).replace("v", "w")
