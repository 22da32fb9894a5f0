"""Hard parameter sharing: one encoder for all tasks.

Caruana, "Multitask Learning: A Knowledge-Based Source of Inductive Bias", ICML 1993; Machine
Learning 28, 1997, section 2. https://doi.org/10.1023/A:1007379606734
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor
from typing_extensions import override

from polytask.core.encoder import Encoder
from polytask.core.features import Features
from polytask.sharing.base import Architecture, architectures


@architectures.register("hard")
class Hard(Architecture):
    """All tasks read the features of one encoder; only heads are private."""

    def __init__(self, encoder: Encoder, tasks: Sequence[str], /) -> None:
        super().__init__(encoder, tasks)
        self.encoder = encoder

    @override
    def forward(self, inputs: dict[str, Tensor], rows: Mapping[str, Tensor]) -> dict[str, Features]:
        features = self.encoder(inputs)
        return {task: features.select(rows_b) for task, rows_b in rows.items()}

    @override
    def encoder_of(self, task: str) -> Encoder:
        return self.encoder
