"""Soft sharing by squared distance.

Duong, Cohn, Bird and Cook, "Low Resource Dependency Parsing: Cross-lingual Parameter Sharing in a
Neural Network Parser", ACL 2015, section 3. https://aclanthology.org/P15-2139

Deviations: the paper draws the weights of one parser towards those of another; here T encoders draw
each other towards their mean, which for two is half of their squared distance. All trainable
parameters are tied, word vectors too, as the tasks read the same vocabulary. Encoders start equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import NonNegativeFloat
from torch import Tensor
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
    def tie(self, weights_TP: Tensor) -> Tensor:
        return squared_distance(weights_TP)


def squared_distance(weights_TP: Tensor) -> Tensor:
    """The sum over the tasks of the squared distance to their mean.

    Distances to the mean sum to zero, so nothing would come back through it.
    """
    return (weights_TP - weights_TP.detach().mean(0)).square().sum()
