"""Soft sharing by the trace norm.

Yang and Hospedales, "Trace Norm Regularised Deep Multi-Task Learning", ICLR 2017 workshop: the
trace norm of each parameter of all tasks, flattened along its last axis, the axis of the tasks. For
given lengths, it is smallest where the tasks' weights are multiples of each other.
https://arxiv.org/abs/1606.04038

Deviation: encoders start equal; the paper starts them at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat
from torch import Tensor
from typing_extensions import override

from polytask.core.encoder import Encoder
from polytask.sharing.base import architectures
from polytask.sharing.own_encoders import TiedEncoders

_PART = 2**14
"""Number of weights of each task that are in double precision at a time, so that they fit a cache."""


@architectures.register("trace_norm")
class TraceNorm(TiedEncoders):
    """Every task has a separate encoder; their weights are pulled towards few directions.

    :param weight: Weight of the sum of the trace norms of all parameters, in the objective.
    """

    cost: ClassVar[str] = (
        "an encoder per task; rows that several tasks read are encoded once for each; T x T "
        "products of all weights per batch, in double precision"
    )

    def __init__(
        self, encoder: Encoder, tasks: Sequence[str], /, *, weight: NonNegativeFloat = 1e-4
    ) -> None:
        super().__init__(encoder, tasks, weight=weight)

    @override
    def tie(self, copies: Sequence[Tensor]) -> Tensor:
        return trace_norm(torch.stack([*copies]))


def trace_norm(weights_TP: Tensor) -> Tensor:
    """Return the sum of the singular values, a scalar."""
    # It is the inner product with the polar factor, the subgradient of the smallest norm. So no
    # decomposition is differentiated, which would give infinite gradients for equal weights.
    return (weights_TP * polar_factor(weights_TP.detach())).sum()


def polar_factor(weights_TP: Tensor) -> Tensor:
    """Return the matrix with all singular values set to one; singular values of zero stay zero."""
    # By the T x T Gramian, in double precision: tasks that differ by a ten-thousandth of their
    # weights have eigenvalues below the rounding of single precision.
    parts = weights_TP.split(_PART, dim=1)
    gramian_TT = torch.stack([exact @ exact.T for exact in map(Tensor.double, parts)]).sum(0)
    values_T, vectors_TT = torch.linalg.eigh(gramian_TT)
    # A difference below the rounding of the weights themselves counts as zero.
    kept_T = values_T > values_T[-1] * torch.finfo(torch.float32).eps ** 2
    roots_T = torch.where(kept_T, values_T, 1.0).rsqrt() * kept_T
    factor_TT = (vectors_TT * roots_T) @ vectors_TT.T
    polar_TP = torch.empty_like(weights_TP)
    for room_Tp, part_Tp in zip(polar_TP.split(_PART, dim=1), parts, strict=True):
        room_Tp.copy_(factor_TT @ part_Tp.double())
    return polar_TP
