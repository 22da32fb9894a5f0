"""Improvable gap balancing.

Dai, Fei and Lu, "Improvable Gap Balancing for Multi-Task Learning", UAI 2023 (IGBv1).
https://arxiv.org/abs/2307.15429
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import NonNegativeInt
from torch import Tensor
from typing_extensions import override

from polytask.balancing.base import LossBalancer, balancers
from polytask.balancing.losses import EPSILON, is_positive


@balancers.register("igb_v1")
class ImprovableGap(LossBalancer):
    """Gives more weight to the log losses of tasks that are further from the loss 0.

    The gap is the loss over its mean in one early epoch; before that epoch is over, and for tasks
    that were absent from it, the gap counts as 1. Deviation: a task whose loss is at most 1e-12 is
    left out of that step.

    :param base_epoch: The epoch that gaps are measured against, counted from 0.
    """

    sum_T: Tensor
    count_T: Tensor
    base_T: Tensor

    def __init__(self, num_tasks: int, /, *, base_epoch: NonNegativeInt = 1) -> None:
        super().__init__(num_tasks)
        self.base_epoch = base_epoch
        for name in ("sum_T", "count_T", "base_T"):
            self.register_buffer(name, torch.zeros(num_tasks, dtype=torch.float64))

    @override
    def objective(self, losses_t: Tensor) -> Tensor:
        kept_t = is_positive(losses_t)
        base_t = self.base_T[self.active_t][kept_t]
        return gap_weights(losses_t.detach()[kept_t], base_t) @ losses_t[kept_t].log()

    @override
    def observe(self, record: Mapping[str, Any]) -> None:
        epoch = math.floor(record["epoch"])
        if epoch > self.base_epoch:
            self.base_T.copy_(self.sum_T / self.count_T.clamp(min=1))
        elif epoch == self.base_epoch:
            for task, loss in record.get("losses", {}).items():
                self.sum_T[task] += loss
                self.count_T[task] += 1


def gap_weights(losses_t: Tensor, base_t: Tensor) -> Tensor:
    """Return the softmax of the gaps, scaled to sum to the number of tasks, as in the paper."""
    gap_t = torch.where(base_t > EPSILON, losses_t / base_t.clamp(min=EPSILON), 1.0)
    return len(losses_t) * gap_t.softmax(0).to(losses_t)
