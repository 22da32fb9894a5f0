"""The rows of a batch, task by task.

A row that several tasks read is there once for each of them, so that rows of different tasks can go
through parameters of their own in one pass. V is the number of rows counted like that.
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
    :param rows_V: Their positions in the batch.
    """

    tasks: tuple[str, ...]
    counts: tuple[int, ...]
    rows_V: Tensor

    @classmethod
    def of(cls, rows: Mapping[str, Tensor]) -> TaskRows:
        """Put the rows of all tasks into one line.

        :param rows: For each task present, the rows it reads.
        """
        counts = tuple(rows_b.shape[0] for rows_b in rows.values())
        return cls(tuple(rows), counts, torch.cat([*rows.values()]))

    @property
    def place_V(self) -> Tensor:
        """For each row its task, as a position among the tasks present."""
        device = self.rows_V.device
        places = [torch.full((n,), place, device=device) for place, n in enumerate(self.counts)]
        return torch.cat(places)

    def take(self, values_B: Tensor) -> Tensor:
        """These rows of a tensor with the rows of the batch."""
        return values_B.index_select(0, self.rows_V)

    def features(self, features: Features) -> Features:
        """Return the features of these rows."""
        return features.map(self.take)

    def split(self, features: Features) -> dict[str, Features]:
        """Give every task the features of its rows.

        :param features: Those of all V rows.
        """
        return dict(zip(self.tasks, features.split(self.counts), strict=True))
