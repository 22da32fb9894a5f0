"""First-order multi-objective bilevel optimisation.

Ye et al., "A First-Order Multi-Gradient Algorithm for Multi-Objective Bi-Level Optimization",
ECAI 2024, algorithm 1. https://arxiv.org/abs/2401.09257
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import NonNegativeFloat
from torch import Tensor
from typing_extensions import override

from polytask.balancing.base import GramianBalancer, balancers
from polytask.balancing.simplex import project_to_simplex
from polytask.balancing.state import TaskAverage

_STEPS = 300
_TOLERANCE = 1e-8


@dataclass(frozen=True)
class Problem:
    """Lower all validation losses F while the gap q of the training problem closes.

    :param gramian_tt: Inner products of the gradients of F.
    :param overlap_t: Their inner products with the gradient of q.
    :param squared: The squared norm of the gradient of q.
    :param rho: The gap is to close at the rate ρ/2 times its squared gradient norm.
    """

    gramian_tt: Tensor
    overlap_t: Tensor
    squared: Tensor
    rho: float

    def multiplier(self, lambda_t: Tensor) -> Tensor:
        """Return the weight ν of the gap for given weights λ of the validation losses."""
        if self.squared == 0:
            return torch.zeros_like(self.squared)
        return (self.rho / 2 - lambda_t @ self.overlap_t / self.squared).clamp(min=0)

    def solve(self) -> Tensor:
        """Return the weights λ: the dual problem by projected gradients.

        They are accelerated, with a restart where that leads uphill (O'Donoghue and Candès, 2015).
        """
        lambda_t = ahead_t = torch.full_like(self.overlap_t, 1 / len(self.overlap_t))
        curvature = torch.linalg.eigvalsh(self.gramian_tt)[-1]
        if curvature <= 0:
            return lambda_t
        momentum = 0
        for _ in range(_STEPS):
            slope_t = self.gramian_tt @ ahead_t + self.multiplier(ahead_t) * self.overlap_t
            next_t = project_to_simplex(ahead_t - slope_t / curvature)
            moved_t = next_t - lambda_t
            momentum = 0 if slope_t @ moved_t > 0 else momentum
            ahead_t, lambda_t = next_t + momentum / (momentum + 3) * moved_t, next_t
            momentum += 1
            if moved_t.abs().max() < _TOLERANCE:
                break
        return lambda_t


@balancers.register("forum")
class Forum(GramianBalancer):
    """Learns task weights so that training on them lowers all validation losses.

    The lower level trains on the softmax-weighted sum of the losses; the upper level are the
    validation losses, one objective per task. Deviations:

    * The inner loop is linear: training losses are assumed to fall along their gradients at its
      start. It is exact in the limit of small steps.
    * The model follows its training gradients with the weights λ + ν·softmax(α). In the paper, λ
      weighs the validation gradients; here, nothing is learned from validation rows but weights.
    * Averages of λ are counted for each task and start at its first.

    :param rho: How fast the gap to the trained model must close.
    :param lookahead: Length of the inner loop: the number of its steps times their size.
    :param rate: Learning rate of the task weights α.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"validation"})
    alpha_T: Tensor

    def __init__(
        self,
        num_tasks: int,
        /,
        *,
        rho: NonNegativeFloat = 0.1,
        lookahead: NonNegativeFloat = 0.5,
        rate: NonNegativeFloat = 1e-3,
        **options: Any,
    ) -> None:
        super().__init__(num_tasks, **options)
        self.rho, self.lookahead, self.rate = rho, lookahead, rate
        self.register_buffer("alpha_T", torch.zeros(num_tasks))
        self.average = TaskAverage(num_tasks)

    @override
    def weights(self, gramian_tt: Tensor) -> Tensor:
        gramian_ss = gramian_tt.to("cpu", torch.float64)
        share_t = self.alpha_T[self.active_t].to(gramian_ss).softmax(0)
        slope_t, problem = self._pose(gramian_ss, share_t)
        lambda_t = self._average(problem.solve().to(gramian_tt)).to(gramian_ss)
        multiplier = problem.multiplier(lambda_t)
        self.alpha_T[self.active_t] -= (self.rate * multiplier * slope_t).to(self.alpha_T)
        return (lambda_t + multiplier * share_t).to(gramian_tt)

    def _average(self, lambda_t: Tensor) -> Tensor:
        rows_t1 = lambda_t.unsqueeze(1)
        return self.average.update(rows_t1, self.active_t, lambda n_t: n_t**-0.75).squeeze(1)

    def _pose(self, gramian_ss: Tensor, share_t: Tensor) -> tuple[Tensor, Problem]:
        """Return the gradient of the gap for α, and the problem to solve.

        The gap is the weighted training loss now, minus the one after the inner loop.
        """
        num_tasks = len(share_t)
        training_tt = gramian_ss[:num_tasks, :num_tasks]
        fall_t = self.lookahead * training_tt @ share_t
        slope_t = share_t * (fall_t - share_t @ fall_t)
        squared = share_t @ training_tt @ share_t + slope_t @ slope_t
        overlap_t = share_t @ gramian_ss[:num_tasks, num_tasks:]
        validation_tt = gramian_ss[num_tasks:, num_tasks:]
        return slope_t, Problem(validation_tt, overlap_t, squared, self.rho)
