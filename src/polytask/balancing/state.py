"""State with one number per parameter, allocated with the first gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

Rate = Callable[[Tensor], Tensor]
"""Maps the number of rows that a task has had to the step of its average, from 0 to 1."""


def make_unbiased_rate(decay: float) -> Rate:
    """Return the rate of an exponential average with the bias correction of Adam."""
    return lambda count_t: (1 - decay) / (1 - decay**count_t)


class TaskAverage(nn.Module):
    """A running average of one row of numbers per task, kept in checkpoints.

    :param num_tasks: Number of tasks, T.
    """

    count_T: Tensor
    mean_TP: Tensor | None

    def __init__(self, num_tasks: int, /) -> None:
        super().__init__()
        self.register_buffer("count_T", torch.zeros(num_tasks, dtype=torch.long))
        self.register_buffer("mean_TP", None)

    def update(self, rows_tP: Tensor, active_t: Tensor, rate: Rate) -> Tensor:
        """Move the averages of the tasks present towards their new rows, and return them.

        The first row of a task becomes its average. Averages of float16 and bfloat16 are float32.

        :param rate: Called with the number of rows of each task, including the new one.
        """
        rows_tP = rows_tP.to(torch.promote_types(rows_tP.dtype, torch.float32))
        count_t = self.count_T[active_t] + 1
        rate_t = torch.where(count_t == 1, 1.0, rate(count_t.double()))
        mean_TP = self._like(rows_tP)
        # Indexing copies, so the change in place leaves the stored averages alone until they are set.
        mean_tP = mean_TP[active_t].lerp_(rows_tP, rate_t.to(rows_tP).unsqueeze(1))
        self.count_T[active_t] = count_t
        mean_TP[active_t] = mean_tP
        return mean_tP

    def _like(self, rows_tP: Tensor) -> Tensor:
        """Return the averages on the device of the rows; a checkpoint may be on another one."""
        if self.mean_TP is None:
            self.mean_TP = rows_tP.new_zeros(len(self.count_T), rows_tP.shape[1])
        self.mean_TP = self.mean_TP.to(rows_tP)
        return self.mean_TP

    @override
    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        """Allocate the averages before they are loaded; drop them if the checkpoint has none."""
        stored = state_dict.get(f"{prefix}mean_TP")
        self.mean_TP = None if stored is None else stored.new_empty(stored.shape)
        super()._load_from_state_dict(state_dict, prefix, *rest)
