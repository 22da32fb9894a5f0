"""The weight of every label in a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from polytask.core.batch import Batch, Targets
from polytask.core.distributed import sum_over_ranks
from polytask.tasks import Task


class Shares:
    """The shares of losses with which every row of a step counts the same.

    It does not matter which batch, part or process a row is in. The loss of a task is weighted by
    the share of the step's rows that the task labels. Within the task all labels weigh the same, so
    rows with many words weigh more. A row with weight 2 counts as if it occurred twice.

    :param parts: All batches that go through the model on this rank in the step.
    """

    rows: float
    """The summed weight of the step's rows with a label, over all ranks."""

    def __init__(
        self, parts: Sequence[Batch], tasks: Mapping[str, Task], device: torch.device
    ) -> None:
        self._tasks, self._names = tasks, list(tasks)
        counts_2T = torch.zeros(2, len(tasks) + 1, dtype=torch.float64)
        for part in parts:
            counts_2T[0, -1] += part.labelled
            for task in part.targets.keys() & tasks.keys():
                own = part.targets[task]
                labels = _labels(tasks[task], own)
                counted = torch.tensor([own.weight, labels], dtype=torch.float64)
                counts_2T[:, self._names.index(task)] += counted
        rows_S, labels_S = sum_over_ranks(counts_2T.to(device)).cpu()
        self.rows = float(rows_S[-1])
        labels_S = labels_S.where(labels_S > 0, 1.0)
        self._per_label_T = (rows_S / rows_S[-1] / labels_S)[:-1]

    def of(self, part: Batch, tasks: Sequence[str]) -> Tensor:
        """Return shares_t, the shares of some tasks' losses in one part."""
        labels_t = [_labels(self._tasks[task], part.targets[task]) for task in tasks]
        places_t = [self._names.index(task) for task in tasks]
        shares_t: Tensor = self._per_label_T[places_t] * torch.tensor(labels_t, dtype=torch.float64)
        return shares_t.float()


def _labels(task: Task, own: Targets) -> float:
    """Return the number of labels of a task in a part; each counts by the weight of its row."""
    counts_b = task.label_counts(own.values)
    return float(counts_b.sum() if own.weights_b is None else (own.weights_b * counts_b).sum())
