"""Gradient normalisation.

Chen, Badrinarayanan, Lee and Rabinovich, "GradNorm: Gradient Normalization for Adaptive Loss
Balancing in Deep Multitask Networks", ICML 2018, equations 1 and 2, algorithm 1.
https://arxiv.org/abs/1711.02257
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor
from typing_extensions import override

from polytask.balancing.base import GramianBalancer, balancers
from polytask.balancing.solvers import invert


@balancers.register("gradnorm")
class GradNorm(GramianBalancer):
    """Learns weights under which gradients are equally long, longer for tasks that learn slowly.

    Deviations: gradient lengths are taken over all shared parameters, and the rule divides them by
    their mean, so that its step size fits losses of any scale; a weight stays above 0.001.

    :param alpha: How strongly slow tasks are pushed; 0 makes gradients equally long.
    :param learning_rate: Learning rate of the weights.
    """

    weights_T: Tensor
    first_T: Tensor

    def __init__(
        self,
        num_tasks: int,
        /,
        *,
        alpha: NonNegativeFloat = 1.5,
        learning_rate: PositiveFloat = 0.025,
        **options: Any,
    ) -> None:
        super().__init__(num_tasks, **options)
        self.alpha = alpha
        self.learning_rate = learning_rate
        self.register_buffer("weights_T", torch.ones(num_tasks))
        self.register_buffer("first_T", torch.zeros(num_tasks))

    @override
    def weights(self, gramian_TT: Tensor) -> Tensor:
        weights_t = self.weights_T[self.active_t].to("cpu", torch.float64)
        norms_t = gramian_TT.detach().diagonal().to(weights_t).clamp(min=0).sqrt()
        slope_t = balance_slope(weights_t, norms_t, self._push().to(weights_t))
        moved_t = (weights_t - self.learning_rate * slope_t).clamp(min=1e-3)
        moved_t *= weights_t.sum() / moved_t.sum()
        self.weights_T[self.active_t] = moved_t.to(self.weights_T)
        return weights_t.to(gramian_TT)

    def _push(self) -> Tensor:
        """Return relative inverse training rates to the power of alpha."""
        losses_t = self.losses_t.detach().to(self.first_T).clamp(min=0)
        first_t = self.first_T[self.active_t]
        first_t = torch.where(first_t > 0, first_t, losses_t)
        self.first_T[self.active_t] = first_t
        ratio_t = torch.where(first_t > 0, losses_t * invert(first_t), 1.0)
        return (ratio_t * invert(ratio_t.mean())) ** self.alpha


def balance_slope(weights_t: Tensor, norms_t: Tensor, push_t: Tensor) -> Tensor:
    """Return the derivative of equation 2 by the weights, over the mean weighted norm.

    :param push_t: How much longer than the mean each gradient should be.
    """
    weighted_t = weights_t * norms_t
    target_t = weighted_t.mean() * push_t
    return norms_t * (weighted_t - target_t).sign() * invert(weighted_t.mean())
