"""Conflict-free inverse gradients.

Liu, Chu and Thuerey, "ConFIG: Towards Conflict-free Training of Physics Informed Neural
Networks", ICLR 2025, equation 2. https://arxiv.org/abs/2408.11104
"""

import torch
from torch import Tensor
from typing_extensions import override

from polytask.balancing.base import GramianBalancer, balancers

_ROUNDING = 1e-6


def conflict_free(gramian_tt: Tensor) -> Tensor:
    """Return the weights of ConFIG, weights_t.

    With U the unit gradients as rows, pinv(U)·1 = Uᵀ·pinv(U·Uᵀ)·1, so cosines are sufficient. For
    independent gradients, the direction's squared norm 1ᵀ·pinv(U·Uᵀ)·1 is at least one. If it is
    near zero, the tasks are opposite to each other and the weights are zero.
    """
    norm_t = gramian_tt.diagonal().clamp(min=0).sqrt()
    inverse_t = 1 / norm_t.where(norm_t > 0, torch.inf)
    cosine_tt = inverse_t.unsqueeze(1) * gramian_tt * inverse_t
    direction_t: Tensor = torch.linalg.pinv(cosine_tt, rtol=_ROUNDING, hermitian=True).sum(1)
    projection_t = cosine_tt @ direction_t
    squared_norm = direction_t @ projection_t
    if squared_norm < _ROUNDING:
        return torch.zeros_like(norm_t)
    return (norm_t @ projection_t) / squared_norm * direction_t * inverse_t


@balancers.register("config")
class ConFIG(GramianBalancer):
    """Goes equally far along every task's unit gradient, as long as all gradients project on it.

    Gradients within a thousandth of linear dependence count as dependent. The direction is then the
    least-squares solution, and tasks that are opposite to each other cancel.
    """

    @override
    def weights(self, gramian_tt: Tensor) -> Tensor:
        return conflict_free(gramian_tt.to("cpu", torch.float64)).to(gramian_tt)
