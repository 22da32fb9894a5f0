"""Tchebycheff scalarisation, plain and smooth.

Bowman, "On the Relationship of the Tchebycheff Norm and the Efficient Frontier of
Multiple-Criteria Objectives", 1976; as in Zhang and Li, "MOEA/D", IEEE TEVC 2007, section II.B.
Both take 0, the least that a loss can be, as the ideal point.
"""

from __future__ import annotations

from typing import Any

from pydantic import PositiveFloat
from torch import Tensor
from typing_extensions import override

from polytask.balancing.base import balancers
from polytask.balancing.preference_balancer import PreferenceBalancer


@balancers.register("tchebycheff")
class Tchebycheff(PreferenceBalancer):
    """Minimises the largest weighted loss; every other task waits.

    Deviation: times the number of tasks present, so that equal losses weigh 1 each (equal losses
    share the gradient). https://doi.org/10.1109/TEVC.2007.892759
    """

    @override
    def objective(self, losses_t: Tensor) -> Tensor:
        return len(losses_t) * (self.weights_t * losses_t).amax()


@balancers.register("stch")
class SmoothTchebycheff(PreferenceBalancer):
    """Minimises a smooth maximum of the weighted losses.

    Lin et al., "Smooth Tchebycheff Scalarization for Multi-Objective Optimization", ICML 2024.
    https://arxiv.org/abs/2402.19078
    Deviations: times the number of tasks present, and weights that are 1 instead of summing to
    one, so that equal losses weigh 1 each; no logarithm of the losses and no warm-up epochs,
    which the authors' code adds for deep networks.

    :param mu: How smooth, in units of a loss: towards 0 the maximum, towards infinity the sum.
    """

    def __init__(self, num_tasks: int, /, *, mu: PositiveFloat = 1.0, **options: Any) -> None:
        super().__init__(num_tasks, **options)
        self.mu = mu

    @override
    def objective(self, losses_t: Tensor) -> Tensor:
        weighted_t = self.weights_t * losses_t
        return len(losses_t) * self.mu * (weighted_t / self.mu).logsumexp(0)
