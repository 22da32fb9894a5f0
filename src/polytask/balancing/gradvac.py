"""Gradient vaccine.

Wang, Tsvetkov, Firat and Cao, "Gradient Vaccine: Investigating and Improving Multi-task
Optimization in Massively Multilingual Models", ICLR 2021, algorithm 1.
https://arxiv.org/abs/2010.05874
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from polytask.balancing.balancer import Share
from polytask.balancing.base import GramianBalancer, balancers
from polytask.balancing.solvers import compute_cosines, invert


@balancers.register("gradvac")
class GradVac(GramianBalancer):
    """Turns gradients towards each other until their cosines reach past cosines.

    Deviation: one cosine for all shared parameters, not one per layer.

    :param decay: Weight of a new cosine in the moving average that is the target.
    """

    targets_TT: Tensor

    def __init__(self, num_tasks: int, /, *, decay: Share = 0.01, **options: Any) -> None:
        super().__init__(num_tasks, **options)
        self.decay = decay
        self.register_buffer("targets_TT", torch.zeros(num_tasks, num_tasks))

    @override
    def weights(self, gramian_TT: Tensor) -> Tensor:
        cosines_TT, norms_T = compute_cosines(gramian_TT)
        present = (self.active_t[:, None], self.active_t)
        targets_TT = self.targets_TT[present].to(cosines_TT)
        order_TT = torch.rand_like(cosines_TT).argsort(1)
        added_TT, met_TT = vaccinate(cosines_TT, targets_TT, order_TT)
        self.targets_TT[present] = targets_TT.lerp(met_TT, self.decay).to(self.targets_TT)
        return (1 + norms_T @ added_TT * invert(norms_T)).to(gramian_TT)


def vaccinate(cosines_TT: Tensor, targets_TT: Tensor, order_TT: Tensor) -> tuple[Tensor, Tensor]:
    """Return the changes of each unit gradient, as coefficients of all, and the cosines met.

    :param order_TT: For each task, the order in which it meets all tasks.
    """
    each_T = torch.arange(len(cosines_TT))
    rows_TT = torch.eye(len(cosines_TT), dtype=cosines_TT.dtype)
    met_TT = torch.eye(len(cosines_TT), dtype=cosines_TT.dtype)
    for other_T in order_TT.T:  # all tasks meet their k-th other at once
        norm_T = (rows_TT @ cosines_TT * rows_TT).sum(1).clamp(min=0).sqrt()
        cosine_T = (rows_TT * cosines_TT[other_T]).sum(1) * invert(norm_T)
        target_T = targets_TT[each_T, other_T]
        turn_T = norm_T * (target_T * _sine(cosine_T) / _sine(target_T) - cosine_T)
        needed_T = (cosine_T < target_T) & (other_T != each_T)
        rows_TT[each_T, other_T] += torch.where(needed_T, turn_T, 0.0)
        met_TT[each_T, other_T] = torch.where(other_T == each_T, 1.0, cosine_T)
    return rows_TT - torch.eye(len(cosines_TT), dtype=cosines_TT.dtype), met_TT


def _sine(cosine_T: Tensor) -> Tensor:
    """Return the sine, above zero: gradients that were equal so far have a target cosine of one."""
    return (1 - cosine_T.square()).clamp(min=1e-8).sqrt()
