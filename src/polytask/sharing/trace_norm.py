"""Soft sharing by the trace norm.

Yang and Hospedales, "Trace Norm Regularised Deep Multi-Task Learning", ICLR 2017 workshop: the
trace norm of each parameter of all tasks, with the tensor flattened along its last axis, that of
the tasks. It is least, for the same lengths, where the tasks' weights are multiples of each other.
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
"""How many weights of each task are there in double precision at a time: what caches hold."""


@architectures.register("trace_norm")
class TraceNorm(TiedEncoders):
    """Every task has an encoder of its own; their weights are drawn towards few directions.

    :param weight: Of the sum of the trace norms of all parameters, in the objective.
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
    """The sum of the singular values.

    It is the inner product with the polar factor, which is its subgradient of the least norm. So
    nothing is differentiated through a decomposition, and equal weights give no trouble.
    """
    return (weights_TP * polar_factor(weights_TP.detach())).sum()


def polar_factor(weights_TP: Tensor) -> Tensor:
    """The matrix with all singular values set to one; those of zero stay.

    By the T x T Gramian, in double precision: tasks that differ by a ten-thousandth of their
    weights have eigenvalues below the rounding of single precision.
    """
    parts = weights_TP.split(_PART, dim=1)
    gramian_TT = torch.stack([exact @ exact.T for exact in map(Tensor.double, parts)]).sum(0)
    values_T, vectors_TT = torch.linalg.eigh(gramian_TT)
    # What is less than the rounding of the weights themselves is no difference.
    kept_T = values_T > values_T[-1] * torch.finfo(torch.float32).eps ** 2
    roots_T = torch.where(kept_T, values_T, 1.0).rsqrt() * kept_T
    factor_TT = (vectors_TT * roots_T) @ vectors_TT.T
    polar_TP = torch.empty_like(weights_TP)
    for room_Tp, part_Tp in zip(polar_TP.split(_PART, dim=1), parts, strict=True):
        room_Tp.copy_(factor_TT @ part_Tp.double())
    return polar_TP
