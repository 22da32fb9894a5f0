"""Convergence balancer.

Gong et al., "CoBa: Convergence Balancer for Multitask Finetuning of Large Language Models",
EMNLP 2024. https://arxiv.org/abs/2410.06741
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor
from typing_extensions import override

from polytask.balancing.base import LossBalancer, balancers
from polytask.balancing.losses import EPSILON


@balancers.register("coba")
class ConvergenceBalancer(LossBalancer):
    """Slows down tasks that converge faster than others, and tasks that begin to diverge.

    Deviations: slopes are fitted to training losses instead of validation losses, one per step in
    which a task is present, so overfitting is not detected; the divergence factor looks back one
    window, not to the start; the weights sum to the number of tasks present instead of one, and
    are equal until each has been seen for half a window (the paper's W = M and N = 2M).

    :param window: Losses that a slope is fitted to, and slopes that it is compared with.
    :param temperature: Sharpness of the distinction of divergence from convergence; 5 in the paper.
    """

    first_T: Tensor
    count_T: Tensor
    ratio_TN: Tensor
    slope_TN: Tensor
    worst_N: Tensor

    def __init__(
        self,
        num_tasks: int,
        /,
        *,
        window: Annotated[int, Field(ge=4)] = 100,
        temperature: PositiveFloat = 5.0,
    ) -> None:
        super().__init__(num_tasks)
        self.window = window
        self.temperature = temperature
        self.register_buffer("first_T", torch.zeros(num_tasks, dtype=torch.float64))
        self.register_buffer("count_T", torch.zeros(num_tasks, dtype=torch.long))
        self.register_buffer("ratio_TN", torch.zeros(num_tasks, window, dtype=torch.float64))
        # infinite where there is no slope yet
        infinite_TN = torch.full((num_tasks, window), torch.inf, dtype=torch.float64)
        self.register_buffer("slope_TN", infinite_TN)
        self.register_buffer("worst_N", infinite_TN[0].clone())

    @override
    def objective(self, losses_t: Tensor) -> Tensor:
        weights_t = torch.ones_like(losses_t)
        if self.count_T[self.active_t].min() >= self.window // 2:
            divergence = divergence_factor(self.worst_N, self.temperature)
            weights_t = convergence_weights(self.slope_TN[self.active_t], divergence).to(losses_t)
        return (weights_t * losses_t).sum()

    @override
    def observe(self, record: Mapping[str, Any]) -> None:
        losses = record.get("losses", {})
        seen_t = [task for task in losses if losses[task] > EPSILON or self.count_T[task] > 0]
        if not seen_t:
            return
        losses_t = self.first_T.new_tensor([losses[task] for task in seen_t])
        self.first_T[seen_t] = torch.where(self.count_T[seen_t] > 0, self.first_T[seen_t], losses_t)
        self.count_T[seen_t] += 1
        self.ratio_TN[seen_t] = push(self.ratio_TN[seen_t], losses_t / self.first_T[seen_t])
        slope_t = slopes(self.ratio_TN[seen_t], self.count_T[seen_t])
        self.slope_TN[seen_t] = push(self.slope_TN[seen_t], slope_t)
        latest_t = self.slope_TN[:, -1]
        if latest_t.isfinite().any():
            self.worst_N.copy_(push(self.worst_N, latest_t[latest_t.isfinite()].max()))


def push(history_XN: Tensor, newest_X: Tensor) -> Tensor:
    """Drop the oldest value and add the newest."""
    return torch.cat([history_XN[..., 1:], newest_X[..., None]], dim=-1)


def slopes(values_tN: Tensor, count_t: Tensor) -> Tensor:
    """Return least squares slopes of the last ``count`` values; infinite for a single one."""
    at_N = torch.arange(values_tN.shape[1], device=values_tN.device)
    filled_tN = at_N >= len(at_N) - count_t[:, None]
    mean_t = (at_N * filled_tN).sum(1) / filled_tN.sum(1)
    centred_tN = (at_N - mean_t[:, None]) * filled_tN
    slope_t = (centred_tN * values_tN).sum(1) / centred_tN.square().sum(1).clamp(min=EPSILON)
    return torch.where(count_t > 1, slope_t, torch.inf)


def convergence_weights(slope_tN: Tensor, divergence: Tensor) -> Tensor:
    """Return DF · RCS + (1 - DF) · ACS, times the number of tasks."""
    latest_t, size_tN = slope_tN[:, -1], slope_tN.abs().nan_to_num(posinf=0)
    among_tasks_t = len(latest_t) * latest_t / size_tN[:, -1].sum().clamp(min=EPSILON)
    seen_t = slope_tN.isfinite().sum(1)
    among_steps_t = -seen_t * latest_t / size_tN.sum(1).clamp(min=EPSILON)
    relative_t, absolute_t = among_tasks_t.softmax(0), among_steps_t.softmax(0)
    return len(latest_t) * (divergence * relative_t + (1 - divergence) * absolute_t)


def divergence_factor(worst_N: Tensor, temperature: float) -> Tensor:
    """Return DF: near 1 while the slowest task converges as before, near 0 when it diverges."""
    worst_n = worst_N[worst_N.isfinite()]
    logits_n = -temperature * len(worst_n) * worst_n / worst_n.abs().sum().clamp(min=EPSILON)
    return (len(worst_n) * logits_n.softmax(0)[-1]).clamp(max=1)
