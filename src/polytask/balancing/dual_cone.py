"""Projections onto the dual cone: the directions that conflict with no task gradient.

Quinton and Rey, "Jacobian Descent for Multi-Objective Optimization", 2024, proposition 1: the
projection of Jᵀu is Jᵀv, where v ≥ u minimises vᵀGv. https://arxiv.org/abs/2406.16232
"""

from torch import Tensor
from typing_extensions import override

from polytask.balancing.base import GramianBalancer, balancers
from polytask.balancing.solvers import invert, minimise_nonnegative, regularise_cosines


@balancers.register("upgrad")
class UPGrad(GramianBalancer):
    """Projects each gradient onto the directions that conflict with no gradient, then adds up.

    Deviation: the projections are added, not averaged; without conflicts this is the plain sum.
    """

    @override
    def weights(self, gramian_TT: Tensor) -> Tensor:
        cosines_TT, norms_T = regularise_cosines(gramian_TT)
        added_TT = minimise_nonnegative(cosines_TT, cosines_TT)
        return (1 + norms_T @ added_TT * invert(norms_T)).to(gramian_TT)


@balancers.register("dualproj")
class DualProj(GramianBalancer):
    """Projects the plain sum onto the directions that conflict with no gradient.

    Lopez-Paz and Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017,
    equation 11. https://arxiv.org/abs/1706.08840 Deviation: what is projected is the sum of all
    gradients, not the one of the newest task.
    """

    @override
    def weights(self, gramian_TT: Tensor) -> Tensor:
        cosines_TT, norms_T = regularise_cosines(gramian_TT)
        added_T = minimise_nonnegative(cosines_TT, (cosines_TT @ norms_T)[None])[0]
        return (1 + added_T * invert(norms_T)).to(gramian_TT)
