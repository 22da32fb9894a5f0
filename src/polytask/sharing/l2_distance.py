"""Soft sharing by squared distance.

Duong, Cohn, Bird and Cook, "Low Resource Dependency Parsing: Cross-lingual Parameter Sharing in a
Neural Network Parser", ACL 2015, section 3. https://aclanthology.org/P15-2139

Deviations: the paper pulls the weights of one parser towards the weights of another; here T encoders
are pulled towards their mean, which for two is half of their squared distance. All trainable
parameters are tied, word vectors too, as the tasks read the same vocabulary. Encoders start equal.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat
from torch import Tensor
from torch.nn.functional import mse_loss
from typing_extensions import override

from polytask.core.encoder import Encoder
from polytask.sharing.base import architectures
from polytask.sharing.own_encoders import TiedEncoders


@architectures.register("l2_distance")
class L2Distance(TiedEncoders):
    """Every task has a separate encoder; their weights are pulled towards each other.

    :param weight: Weight of the sum of squared distances to the mean, in the objective.
    """

    cost: ClassVar[str] = (
        "an encoder per task; rows that several tasks read are encoded once for each; a pass over "
        "all weights per batch"
    )

    def __init__(
        self, encoder: Encoder, tasks: Sequence[str], /, *, weight: NonNegativeFloat = 0.01
    ) -> None:
        super().__init__(encoder, tasks, weight=weight)

    @override
    def tie(self, copies: Sequence[Tensor]) -> Tensor:
        return sum_squared_distances(copies)


def sum_squared_distances(copies: Sequence[Tensor]) -> Tensor:
    """Return the sum over T vectors of the squared distance to their mean, a scalar."""
    # Differences to the mean sum to zero, so the gradient through the mean is zero: skip it.
    with torch.no_grad():
        mean_P = functools.reduce(torch.add, copies) / len(copies)
    return torch.stack([mse_loss(each_P, mean_P, reduction="sum") for each_P in copies]).sum()
