"""Cross-stitch units: every column reads a weighted sum of all columns, channel by channel.

Misra, Shrivastava, Gupta and Hebert, "Cross-stitch Networks for Multi-task Learning", CVPR 2016,
section 3 and equation 1. https://arxiv.org/abs/1604.03539

Deviations: embeddings, and modules above the layers, are shared. Columns start equal; they are not
trained on their tasks before. The units have the learning rate of the heads, and the weight decay of
matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from polytask.core.encoder import Encoder
from polytask.sharing.base import architectures
from polytask.sharing.per_task import new_parameters
from polytask.sharing.task_columns import TaskColumns


@architectures.register("cross_stitch")
class CrossStitch(TaskColumns):
    """A column of layers per task; after each layer, columns read weighted sums of all columns."""

    cost: ClassVar[str] = (
        "all layers once per task, each for all rows; tasks x width parameters per task and layer"
    )

    def __init__(self, encoder: Encoder, tasks: Sequence[str], /, **options: Any) -> None:
        super().__init__(encoder, tasks, **options)
        start_TTD = self.shares_TT.unsqueeze(-1).repeat(1, 1, encoder.width)
        self._units = [new_parameters(tasks, start_TTD) for _ in range(self.depth)]
        self.units = nn.ModuleList(self._units)

    @override
    def mix(self, place: int, hidden_TBLD: Tensor) -> Tensor:
        return stitch(torch.stack(self.readers(place, self._units[place])), hidden_TBLD)

    @override
    def observe(self) -> dict[str, float]:
        """Return the mean weight over the channels, by layer, reader and column."""
        return {
            f"unit/{task}/layer_{place + 1}/{giver}": share
            for place, units in enumerate(self._units)
            for task in self.tasks
            for giver, share in zip(self.tasks, units[task].detach().mean(1).tolist(), strict=True)
        }


def stitch(units_TSD: Tensor, hidden_SBLD: Tensor) -> Tensor:
    """Return for each of T readers a weighted sum TBLD of S columns, channel by channel.

    The result has the precision of the hidden states, also under autocast.

    :param units_TSD: For each reader and channel, the weight of each column.
    """
    # One matrix product per channel: sums of whole columns take five times as long for 16 columns.
    counts = hidden_SBLD.shape[:3]
    with torch.autocast(hidden_SBLD.device.type, enabled=False):
        channels_DSX = _transpose(hidden_SBLD.flatten(0, 2)).unflatten(1, (counts[0], -1))
        sums_DTX = units_TSD.to(hidden_SBLD.dtype).movedim(-1, 0) @ channels_DSX
        sums_TBLD: Tensor = _transpose(sums_DTX.flatten(1)).unflatten(0, (-1, *counts[1:]))
    return sums_TBLD


class _Transpose(torch.autograd.Function):
    """A transposition in memory, forwards and backwards: matrix products read a view slowly."""

    generate_vmap_rule = True

    @staticmethod
    def forward(matrix: Tensor) -> Tensor:
        return matrix.T.contiguous()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _transpose(gradient)


def _transpose(matrix: Tensor) -> Tensor:
    transposed: Tensor = _Transpose.apply(matrix)  # type: ignore[no-untyped-call]
    return transposed
