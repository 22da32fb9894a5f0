"""Which model is kept, and when training, or a single task, has had enough."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Scores = Mapping[str, Any]
"""Validation scores as ``evaluation.score`` gives them: ``tasks``, ``pooled``, ``average``."""


@dataclass(frozen=True)
class Criterion:
    """The validation metric that stands for each task.

    :param higher_is_better: For each task and each pooling of tasks, its metrics and whether a
        higher value is better; the first metric of a task stands for it.
    :param select: ``average`` of all tasks, or one ``TASK.METRIC``, also of a pooling.
    """

    higher_is_better: Mapping[str, Mapping[str, bool]]
    select: str = "average"

    def by_task(self, scores: Scores) -> dict[str, float]:
        """One number per task, higher is better; an undefined metric counts as 0."""
        return {
            task: self._signed(entry, task, next(iter(self.higher_is_better[task])))
            for task, entry in scores["tasks"].items()
            if entry["rows"]
        }

    def value(self, scores: Scores) -> float:
        """The number that picks the best model, higher is better."""
        if self.select == "average":
            return float(scores["average"] or 0.0)
        name, metric = self.select.rsplit(".", 1)
        return self._signed({**scores["tasks"], **scores["pooled"]}[name], name, metric)

    def _signed(self, entry: Mapping[str, Any], name: str, metric: str) -> float:
        value = entry[metric]["value"]
        return 0.0 if value is None else value * (1 if self.higher_is_better[name][metric] else -1)


@dataclass
class Selection:
    """Remembers the best validation of the model and of each task.

    :param patience: Validations without improvement before training stops; None for never.
    :param task_patience: The same for each task alone.
    """

    criterion: Criterion
    patience: int | None = None
    task_patience: int | None = None
    best: float = -math.inf
    since_best: int = 0
    task_best: dict[str, float] = field(default_factory=dict)
    task_since_best: dict[str, int] = field(default_factory=dict)

    def update(self, scores: Scores) -> bool:
        """Take in a validation; True if it is the best so far."""
        value = self.criterion.value(scores)
        improved = value > self.best
        self.best = max(self.best, value)
        self.since_best = 0 if improved else self.since_best + 1
        for task, own in self.criterion.by_task(scores).items():
            if task in self.stopped_tasks:
                continue
            better = own > self.task_best.get(task, -math.inf)
            self.task_best[task] = max(own, self.task_best.get(task, -math.inf))
            self.task_since_best[task] = 0 if better else self.task_since_best.get(task, 0) + 1
        return improved

    @property
    def improved_tasks(self) -> frozenset[str]:
        """Tasks whose best validation so far is the last one."""
        return frozenset(task for task, since in self.task_since_best.items() if since == 0)

    @property
    def stopped_tasks(self) -> frozenset[str]:
        """Tasks that have not improved for ``task_patience`` validations; they stay stopped."""
        if self.task_patience is None:
            return frozenset()
        return frozenset(
            task for task, since in self.task_since_best.items() if since >= self.task_patience
        )

    @property
    def finished(self) -> bool:
        """Whether patience has run out."""
        return self.patience is not None and self.since_best >= self.patience

    def state(self) -> dict[str, Any]:
        """All that is remembered."""
        names = ("best", "since_best", "task_best", "task_since_best")
        return {name: getattr(self, name) for name in names}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Undo ``state``."""
        for name, value in state.items():
            setattr(self, name, value)
