"""An encoder for each task, all with the same initial values.

``Independent`` shares nothing: the single-task baseline inside one model, against which joint training
is measured. ``TiedEncoders`` is the base of soft sharing.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from pydantic import NonNegativeFloat
from torch import Tensor, nn
from typing_extensions import override

from polytask.core.collated import Collated
from polytask.core.encoder import Encoder
from polytask.core.features import Features
from polytask.sharing.base import Architecture, architectures


class OwnEncoders(Architecture, ABC):
    """Base of architectures in which every task has a copy of the encoder."""

    def __init__(self, encoder: Encoder, tasks: Sequence[str], /) -> None:
        super().__init__(encoder, tasks)
        self._encoders = {task: copy.deepcopy(encoder) for task in tasks}
        self.encoders = nn.ModuleDict(self._encoders)

    @override
    def forward(self, inputs: Collated, rows: Mapping[str, Tensor]) -> dict[str, Features]:
        return {task: self.encoders[task](inputs.select(rows_b)) for task, rows_b in rows.items()}

    @override
    def encoder_of(self, task: str) -> Encoder:
        return self._encoders[task]


@architectures.register("independent")
class Independent(OwnEncoders):
    """Every task has a separate encoder, all with the same initial values."""


class TiedEncoders(OwnEncoders, ABC):
    """Base of soft sharing: a penalty pulls the encoders of the tasks together.

    The penalty does not depend on the rows of a batch, so it moves encoders of absent tasks, too.

    :param weight: Weight of the penalty in the objective.
    """

    def __init__(
        self, encoder: Encoder, tasks: Sequence[str], /, *, weight: NonNegativeFloat
    ) -> None:
        super().__init__(encoder, tasks)
        self._weight = weight

    @abstractmethod
    def tie(self, copies: Sequence[Tensor]) -> Tensor:
        """Return how far a parameter is from being shared, a scalar.

        :param copies: The values of the parameter in the encoder of each task, T vectors of P.
        """

    @override
    def penalty(self) -> Tensor | None:
        encoders = [encoder.parameters() for encoder in self._encoders.values()]
        ties = [
            self.tie([parameter.flatten() for parameter in copies])
            for copies in zip(*encoders, strict=True)
            if copies[0].requires_grad
        ]
        return self._weight * torch.stack(ties).sum() if ties else None
