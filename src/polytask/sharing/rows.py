"""The rows of a batch, task by task.

A row that several tasks read appears once for each of them. So rows of different tasks can go
through different parameters in one pass. V is the number of rows counted like that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from polytask.core.features import Features


@dataclass(frozen=True)
class TaskRows:
    """The rows that the tasks present read, one task after the other.

    :param tasks: The tasks present, t of them.
    :param counts: The number of rows of each.
    :param rows_V: The positions of the rows in the batch.
    """

    tasks: tuple[str, ...]
    counts: tuple[int, ...]
    rows_V: Tensor

    @classmethod
    def of(cls, rows: Mapping[str, Tensor]) -> TaskRows:
        """Concatenate the rows of all tasks.

        :param rows: For each task present, the rows it reads.
        """
        # ``split`` undoes this order, so the tasks must not be sorted or filtered in between.
        counts = tuple(rows_b.shape[0] for rows_b in rows.values())
        return cls(tuple(rows), counts, torch.cat([*rows.values()]))

    @property
    def place_V(self) -> Tensor:
        """The task of each row, as a position among the tasks present."""
        # Counts are Python numbers: ``repeat_interleave`` of a tensor would wait for the GPU.
        device = self.rows_V.device
        places = [torch.full((n,), place, device=device) for place, n in enumerate(self.counts)]
        return torch.cat(places)

    def take(self, values_B: Tensor) -> Tensor:
        """Return these V rows of a tensor that has the B rows of the batch."""
        return values_B.index_select(0, self.rows_V)

    def select(self, features: Features) -> Features:
        """Return the features of these V rows.

        :param features: Features of the B rows of the batch.
        """
        return features.map(self.take)

    def split(self, features: Features) -> dict[str, Features]:
        """Return the features of each task.

        :param features: Features of all V rows.
        """
        return dict(zip(self.tasks, features.split(self.counts), strict=True))


def select_rows(features: Features, rows: Mapping[str, Tensor]) -> dict[str, Features]:
    """Return the features of each task, where every row of the batch was encoded once.

    :param features: Features of the B rows of the batch.
    :param rows: For each task present, the rows it reads.
    """
    return {task: features.select(rows_b) for task, rows_b in rows.items()}
