"""Selection of the best model, and early stopping of the training and of single tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from polytask.evaluation.merit import Merit, merit
from polytask.tasks import Metric

Scores = Mapping[str, Any]
"""Validation scores as ``evaluation.score`` gives them: ``tasks``, ``pooled``, ``average``, ..."""


@dataclass(frozen=True)
class Criterion:
    """The validation metrics that select models.

    :param higher_is_better: For each task and each pooling of tasks, its metrics and whether a
        higher value is better; the first metric of a task represents it.
    :param select: ``average`` of all tasks, or one ``TASK.METRIC``, also of a pooling.
    """

    higher_is_better: Mapping[str, Mapping[str, bool]]
    select: str = "average"

    @classmethod
    def of(cls, metrics: Mapping[str, Sequence[Metric]], select: str = "average") -> Criterion:
        """Return the criterion of tasks and poolings with these metrics."""
        higher = {name: {m.name: m.higher_is_better for m in own} for name, own in metrics.items()}
        return cls(higher, select)

    def by_task(self, scores: Scores) -> dict[str, float]:
        """Return the first metric of each task, higher is better; undefined ones are left out."""
        values = {task: self._values(scores, task)[:1] for task in scores["tasks"]}
        return {task: own[0] for task, own in values.items() if own and own[0] is not None}

    def task_merits(self, scores: Scores) -> dict[str, Merit]:
        """Return how good each task is by itself."""
        return {task: merit([self._values(scores, task)]) for task in scores["tasks"]}

    def merit(self, scores: Scores) -> Merit:
        """Return the merit that selects the best model; greater is better."""
        if self.select == "average":
            names = [*scores["average_over"], *scores["average_without"]]
            known = [name for name in names if name in self.higher_is_better]
            return merit(self._values(scores, name) for name in known)
        name, metric = self.select.rsplit(".", 1)
        return merit([self._values(scores, name, metric)])

    def _values(self, scores: Scores, name: str, *metrics: str) -> list[float | None]:
        """Return the named metrics of a task or a pooling, or all; lower-is-better ones negated."""
        entry, higher = {**scores["tasks"], **scores["pooled"]}[name], self.higher_is_better[name]
        values = {metric: entry[metric]["value"] for metric in metrics or higher}
        return [
            value if value is None or higher[metric] else -value for metric, value in values.items()
        ]


@dataclass
class Selection:
    """The best validation so far of the model and of each task.

    Undefined metrics are never better. Patience counts from the first defined one.

    :param patience: Validations without improvement before training stops; None for never.
    :param task_patience: Validations without improvement before a single task stops.
    """

    criterion: Criterion
    patience: int | None = None
    task_patience: int | None = None
    best: Merit = field(default_factory=list)
    since_best: int = 0
    task_best: dict[str, Merit] = field(default_factory=dict)
    task_since_best: dict[str, int] = field(default_factory=dict)

    def update(self, scores: Scores) -> bool:
        """Add the scores of a validation; return whether it is the best so far."""
        found = self.criterion.merit(scores) if scores["tasks"] else []
        improved = found > self.best
        self.best = max(self.best, found)
        self.since_best = 0 if improved or not self.best else self.since_best + 1
        stopped = self.stopped_tasks
        for task, own in self.criterion.task_merits(scores).items():
            best = self.task_best.get(task, [])
            if task not in stopped and (own or best):
                self.task_best[task] = max(own, best)
                self.task_since_best[task] = 0 if own > best else self.task_since_best[task] + 1
        return improved

    @property
    def keeps_last(self) -> bool:
        """True if the model of the last validation is the one to keep."""
        return self.since_best == 0

    @property
    def improved_tasks(self) -> frozenset[str]:
        """The tasks whose best validation so far is the last one."""
        return frozenset(task for task, since in self.task_since_best.items() if since == 0)

    @property
    def stopped_tasks(self) -> frozenset[str]:
        """The tasks without improvement for ``task_patience`` validations; they stay stopped."""
        if self.task_patience is None:
            return frozenset()
        return frozenset(
            task for task, since in self.task_since_best.items() if since >= self.task_patience
        )

    @property
    def finished(self) -> bool:
        """True if patience has run out."""
        return self.patience is not None and self.since_best >= self.patience

    def state(self) -> dict[str, Any]:
        """Return the best merits and the counts since them."""
        names = ("best", "since_best", "task_best", "task_since_best")
        return {name: getattr(self, name) for name in names}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the values that ``state`` returned."""
        for name, value in state.items():
            setattr(self, name, value)
