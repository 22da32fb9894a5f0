"""Methods for one target task and auxiliary tasks."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from polytask.balancing.balancer import Share
from polytask.balancing.base import GramianBalancer, balancers
from polytask.balancing.solvers import compute_cosines, invert
from polytask.core.errors import RecipeError
from polytask.core.registry import ByTask

Position = Annotated[int, Field(ge=0), ByTask("one")]


@balancers.register("metabalance")
class MetaBalance(GramianBalancer):
    """Brings the lengths of auxiliary gradients nearer to the length of the target task's gradient.

    He et al., "MetaBalance: Improving Multi-Task Recommendations via Adapting Gradient Magnitudes
    of Auxiliary Tasks", WWW 2022, strategy C. https://arxiv.org/abs/2203.06801
    Deviation: one length for all shared parameters, not one per parameter.

    :param target: The target task: its name, or its position in the recipe, from 0.
    :param relax: 1 makes lengths equal, 0 leaves them as they are.
    :param decay: Decay of the moving averages of the lengths.
    :raises RecipeError: If there is no task at that position.
    """

    norm_T: Tensor
    count_T: Tensor

    def __init__(
        self,
        num_tasks: int,
        /,
        *,
        target: Position = 0,
        relax: Share = 0.7,
        decay: Annotated[float, Field(ge=0, lt=1)] = 0.9,
        **options: Any,
    ) -> None:
        super().__init__(num_tasks, **options)
        self.target = _task_at(target, "target", num_tasks)
        self.relax = relax
        self.decay = decay
        self.register_buffer("norm_T", torch.zeros(num_tasks))
        self.register_buffer("count_T", torch.zeros(num_tasks))

    @override
    def weights(self, gramian_TT: Tensor) -> Tensor:
        norms_t = gramian_TT.detach().diagonal().clamp(min=0).sqrt().to(self.norm_T)
        self.norm_T[self.active_t] = self.norm_T[self.active_t].lerp(norms_t, 1 - self.decay)
        self.count_T[self.active_t] += 1
        mean_T = self.norm_T * invert(1 - self.decay**self.count_T)
        ratio_T = mean_T[self.target] * invert(mean_T)
        known_T = (self.count_T > 0) & self.count_T[self.target].bool()
        weights_T = torch.where(known_T, 1 + self.relax * (ratio_T - 1), 1.0)
        return weights_T[self.active_t].to(gramian_TT)


@balancers.register("cosine")
class GradientCosine(GramianBalancer):
    """Weighs each auxiliary task by the cosine of its gradient with the main one, if positive.

    Du et al., "Adapting Auxiliary Losses Using Gradient Similarity", 2018, the weighted version.
    https://arxiv.org/abs/1812.02224 Where the main task is absent, the others count in full.

    :param main: The main task: its name, or its position in the recipe, from 0.
    :raises RecipeError: If there is no task at that position.
    """

    def __init__(self, num_tasks: int, /, *, main: Position = 0, **options: Any) -> None:
        super().__init__(num_tasks, **options)
        self.main = _task_at(main, "main", num_tasks)

    @override
    def weights(self, gramian_TT: Tensor) -> Tensor:
        is_main_t = (self.active_t == self.main).cpu()
        if not is_main_t.any():
            return torch.ones_like(gramian_TT.diagonal())
        cosines_TT, _ = compute_cosines(gramian_TT)
        return torch.where(is_main_t, 1.0, cosines_TT[is_main_t][0].clamp(min=0)).to(gramian_TT)


def _task_at(position: int, option: str, num_tasks: int) -> int:
    if position >= num_tasks:
        expected = f"expected a position from 0 to {num_tasks - 1}"
        raise RecipeError([f"balancing.{option}: found {position}, {expected}."])
    return position
