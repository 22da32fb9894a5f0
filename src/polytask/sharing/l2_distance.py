"""Soft sharing by squared distance.

Duong, Cohn, Bird and Cook, "Low Resource Dependency Parsing: Cross-lingual Parameter Sharing in a
Neural Network Parser", ACL 2015, section 3. https://aclanthology.org/P15-2139

Deviations: the paper draws the weights of one parser towards those of another; here T encoders draw
each other towards their mean, which for two is half of their squared distance. All trainable
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
    """Every task has an encoder of its own; their weights are drawn towards each other.

    :param weight: Of the sum of squared distances to the mean, in the objective.
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
        return squared_distance(copies)


def squared_distance(copies: Sequence[Tensor]) -> Tensor:
    """The sum over T vectors of the squared distance to their mean.

    Distances to the mean sum to zero, so nothing would come back through it.
    """
    with torch.no_grad():
        mean_P = functools.reduce(torch.add, copies) / len(copies)
    return torch.stack([mse_loss(each_P, mean_P, reduction="sum") for each_P in copies]).sum()
