"""Coefficient-of-variation weighting.

Groenendijk et al., "Multi-Loss Weighting with Coefficient of Variations", WACV 2021 (CoV-Weighting
with full means). https://arxiv.org/abs/2009.01717
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from polytask.balancing.base import LossBalancer, balancers
from polytask.balancing.losses import EPSILON


@balancers.register("cov")
class CoefficientOfVariation(LossBalancer):
    """Gives more weight to losses that, set against their own mean, still vary a lot.

    Deviations: the weights sum to the number of tasks present instead of one, and are equal while
    one of these has been seen less than twice; the statistics of a task begin with its first loss
    above 0.
    """

    count_T: Tensor
    loss_T: Tensor
    ratio_T: Tensor
    squares_T: Tensor

    def __init__(self, num_tasks: int, /) -> None:
        super().__init__(num_tasks)
        for name in ("count_T", "loss_T", "ratio_T", "squares_T"):
            self.register_buffer(name, torch.zeros(num_tasks, dtype=torch.float64))

    @override
    def objective(self, losses_t: Tensor) -> Tensor:
        count_t, ratio_t, squares_t = (
            values_T[self.active_t] for values_T in (self.count_T, self.ratio_T, self.squares_T)
        )
        weights_t = torch.ones_like(losses_t)
        if count_t.min() >= 2:
            weights_t = variation_weights((squares_t / count_t).sqrt(), ratio_t).to(losses_t)
        return (weights_t * losses_t).sum()

    @override
    def observe(self, record: Mapping[str, Any]) -> None:
        """Update the mean loss, and mean and variance of loss over mean loss, by Welford's method."""
        for task, loss in record.get("losses", {}).items():
            if self.count_T[task] == 0 and loss <= EPSILON:
                continue
            ratio = loss / self.loss_T[task] if self.count_T[task] > 0 else 1.0
            self.count_T[task] += 1
            before = ratio - self.ratio_T[task]
            self.ratio_T[task] += before / self.count_T[task]
            self.squares_T[task] += before * (ratio - self.ratio_T[task])
            self.loss_T[task] += (loss - self.loss_T[task]) / self.count_T[task]


def variation_weights(deviation_t: Tensor, mean_t: Tensor) -> Tensor:
    """Return standard deviation over mean, scaled to sum to the number of tasks; 1 if nothing varies."""
    variation_t = deviation_t / mean_t
    total = variation_t.sum()
    if total <= EPSILON:
        return torch.ones_like(variation_t)
    return len(variation_t) * variation_t / total
