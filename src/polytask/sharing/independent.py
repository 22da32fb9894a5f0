"""Nothing shared: the single-task baseline inside one model.

Each task trains a copy of the encoder of its own; what joint training gains or loses is measured
against it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from typing_extensions import override

from polytask.core.encoder import Encoder
from polytask.core.features import Features
from polytask.sharing.base import Architecture, architectures, select_inputs


@architectures.register("independent")
class Independent(Architecture):
    """Every task has an encoder of its own, all with the same initial values."""

    def __init__(self, encoder: Encoder, tasks: Sequence[str], /) -> None:
        super().__init__(encoder, tasks)
        self._encoders = {task: copy.deepcopy(encoder) for task in tasks}
        self.encoders = nn.ModuleDict(self._encoders)

    @override
    def forward(self, inputs: dict[str, Tensor], rows: Mapping[str, Tensor]) -> dict[str, Features]:
        return {
            task: self.encoders[task](select_inputs(inputs, rows_b))
            for task, rows_b in rows.items()
        }

    @override
    def encoder_of(self, task: str) -> Encoder:
        return self._encoders[task]
