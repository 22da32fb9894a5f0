"""Group optimisation for multi-task alignment.

Shen et al., "GO4Align: Group Optimization for Multi-Task Alignment", NeurIPS 2024 (adaptive group
risk minimisation). https://arxiv.org/abs/2404.06486
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor
from typing_extensions import override

from polytask.balancing.base import LossBalancer, balancers
from polytask.balancing.losses import is_positive


@balancers.register("go4align")
class GroupAlignment(LossBalancer):
    """Evens out the scales of the losses, and gives tasks of like risk one weight.

    Deviations: the groups are the exact optimum of k-means on a line, instead of a local one
    from a random start; a task whose loss is at most 1e-12 is left out of that step.

    :param groups: Number of groups; with as many as tasks, each has its own weight.
    :param step_size: How fast weight moves to tasks whose losses have added up to less.
    """

    total_T: Tensor

    def __init__(
        self, num_tasks: int, /, *, groups: PositiveInt = 2, step_size: NonNegativeFloat = 1e-4
    ) -> None:
        super().__init__(num_tasks)
        self.groups = groups
        self.step_size = step_size
        self.register_buffer("total_T", torch.zeros(num_tasks, dtype=torch.float64))

    @override
    def objective(self, losses_t: Tensor) -> Tensor:
        kept_t = is_positive(losses_t)
        total_t = self.total_T[self.active_t][kept_t] + losses_t.detach()[kept_t]
        share_t = (-self.step_size * total_t).softmax(0)
        risk_t = share_t * losses_t.detach()[kept_t].sum() / losses_t.detach()[kept_t]
        return group_means(risk_t, self.groups).to(losses_t) @ losses_t[kept_t]

    @override
    def observe(self, record: Mapping[str, Any]) -> None:
        for task, loss in record.get("losses", {}).items():
            self.total_T[task] += loss


def group_means(values_N: Tensor, groups: int) -> Tensor:
    """Replace every number by the mean of its group in the best k-means clustering.

    On a line, groups are intervals of the sorted numbers. So the best ones follow from dynamic
    programming over their upper ends.
    """
    sorted_N, order_N = values_N.detach().double().cpu().sort()
    cost_EE = _spread(sorted_N)
    best_E, starts = cost_EE[0], []
    for _ in range(min(groups, len(sorted_N)) - 1):
        best_E, start_E = (best_E[:, None] + cost_EE).min(0)
        starts.append(start_E)
    means_N, end = torch.empty_like(sorted_N), len(sorted_N)
    for start_E in reversed(starts):
        start = int(start_E[end])
        means_N[start:end] = sorted_N[start:end].mean()
        end = start
    means_N[:end] = sorted_N[:end].mean()
    return torch.empty_like(means_N).scatter(0, order_N, means_N)


def _spread(sorted_N: Tensor) -> Tensor:
    """Return the squared distances to the mean, summed, for every interval; infinite if empty."""
    sum_E, square_E = (
        torch.cat([values_N.new_zeros(1), values_N.cumsum(0)])
        for values_N in (sorted_N, sorted_N.square())
    )
    size_EE = torch.arange(len(sum_E))[None, :] - torch.arange(len(sum_E))[:, None]
    sum_EE = sum_E[None, :] - sum_E[:, None]
    cost_EE = square_E[None, :] - square_E[:, None] - sum_EE.square() / size_EE.clamp(min=1)
    return cost_EE.clamp(min=0).masked_fill(size_EE < 1, torch.inf)
