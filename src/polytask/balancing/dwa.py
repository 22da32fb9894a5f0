"""Dynamic weight average.

Liu, Johns and Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019, equation 7.
https://arxiv.org/abs/1803.10704
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import PositiveFloat
from torch import Tensor
from typing_extensions import override

from polytask.balancing.base import LossBalancer, balancers


@balancers.register("dwa")
class DynamicWeightAverage(LossBalancer):
    """Gives more weight to tasks whose loss fell more slowly over the last two epochs.

    :param temperature: Evens the weights out; the paper uses 2.
    """

    weights_T: Tensor
    mean_2T: Tensor
    sum_T: Tensor
    count_T: Tensor
    epoch: Tensor

    def __init__(self, num_tasks: int, /, *, temperature: PositiveFloat = 2.0) -> None:
        super().__init__(num_tasks)
        self.temperature = temperature
        self.register_buffer("weights_T", torch.ones(num_tasks))
        self.register_buffer("mean_2T", torch.zeros(2, num_tasks))
        self.register_buffer("sum_T", torch.zeros(num_tasks, dtype=torch.float64))
        self.register_buffer("count_T", torch.zeros(num_tasks, dtype=torch.float64))
        self.register_buffer("epoch", torch.zeros((), dtype=torch.long))

    @override
    def objective(self, losses_T: Tensor) -> Tensor:
        return (self.weights_T[self.active_t] * losses_T).sum()

    @override
    def observe(self, record: Mapping[str, Any]) -> None:
        if "losses" not in record:
            return
        epoch = math.floor(record["epoch"])
        if epoch > int(self.epoch):
            self._close_epoch()
            self.epoch.fill_(epoch)
        for task, loss in record["losses"].items():
            self.sum_T[task] += loss
            self.count_T[task] += 1

    def _close_epoch(self) -> None:
        """Shift the epoch means; tasks that were absent from one of the two keep weight 1."""
        mean_T = (self.sum_T / self.count_T.clamp(min=1)).float()
        self.mean_2T.copy_(torch.stack([self.mean_2T[1], mean_T]))
        self.sum_T.zero_()
        self.count_T.zero_()
        known_T = (self.mean_2T > 0).all(0)
        ratio_t = self.mean_2T[1, known_T] / self.mean_2T[0, known_T]
        self.weights_T.fill_(1.0)
        self.weights_T[known_T] = len(ratio_t) * (ratio_t / self.temperature).softmax(0)
