"""The losses of the tasks in a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from polytask.core.batch import Batch
from polytask.data.augmentation import Mix
from polytask.tasks import Task
from polytask.tasks.losses import Loss, total


class Losses(dict[str, Tensor]):
    """The mean loss of every task; ``parts`` has the named parts of losses that have several."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: dict[str, Mapping[str, Tensor]] = {}

    def add(self, task: str, loss: Loss) -> None:
        """Add the loss of a task."""
        self[task] = total(loss)
        if not isinstance(loss, Tensor):
            self.parts[task] = loss


def losses_of(
    tasks: Mapping[str, Task], scores: Mapping[str, Any], batch: Batch, mixes: Mapping[str, Mix]
) -> Losses:
    """Return the losses of some tasks.

    :param scores: The scores of the rows that each task labels.
    :param mixes: How the rows of some tasks were mixed before they were scored.
    """
    found = Losses()
    for name, own in scores.items():
        targets = batch.targets[name]
        weights = () if targets.weights_b is None else (targets.weights_b,)
        loss = partial(_loss, tasks[name], own)
        found.add(name, _mix(loss, targets.values, weights, mixes.get(name)))
    return found


def _loss(task: Task, scores: Any, values: Any, *weights: Tensor) -> Loss:
    return task.weighted_loss(scores, values, *weights) if weights else task.loss(scores, values)


def _mix(
    loss: Callable[..., Loss], values: Any, weights: tuple[Tensor, ...], mix: Mix | None
) -> Loss:
    """Return a loss; of mixed rows, which have two targets each, without its parts."""
    if mix is None:
        return loss(values, *weights)
    return mix.loss(lambda own: total(loss(*own)), (values, *weights))
