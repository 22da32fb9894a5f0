"""Impartial multi-task learning.

Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021, algorithm 1.
https://openreview.net/forum?id=IMPnRXEWpvr
"""

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from polytask.balancing.balancer import LossMethod
from polytask.balancing.base import GramianBalancer, balancers
from polytask.balancing.solvers import invert, regularise_cosines


@balancers.register("imtl_g")
class IMTLG(GramianBalancer):
    """Takes the direction whose projections onto all task gradients are equal.

    Deviation: the absolute values of the weights sum to the number of tasks present. In the paper
    the weights sum to one, which reverses or blows up the update where some are negative.
    """

    @override
    def weights(self, gramian_TT: Tensor) -> Tensor:
        return equal_projections(gramian_TT)


@balancers.register("imtl")
class IMTL(GramianBalancer):
    """Balances the losses by learnt scales, then their gradients by equal projections.

    This is ``imtl_l`` inside of ``imtl_g``, with its deviation.

    :param losses: The loss method.
    """

    def __init__(self, num_tasks: int, /, *, losses: LossMethod = "imtl_l", **options: Any) -> None:
        super().__init__(num_tasks, losses=losses, **options)

    @override
    def weights(self, gramian_TT: Tensor) -> Tensor:
        return equal_projections(gramian_TT)


def equal_projections(gramian_TT: Tensor) -> Tensor:
    """Return weights_T of the direction that projects equally onto all gradients (IMTL-G)."""
    cosines_TT, norms_T = regularise_cosines(gramian_TT)
    weights_T = torch.linalg.solve(cosines_TT, torch.ones_like(norms_T)) * invert(norms_T)
    share_T: Tensor = weights_T * invert(weights_T.abs().sum())
    return (len(share_T) * share_T).to(gramian_TT)
