"""Cross-stitch units: every column reads a weighted sum of the columns, channel by channel.

Misra, Shrivastava, Gupta and Hebert, "Cross-stitch Networks for Multi-task Learning", CVPR 2016,
section 3 and equation 1. https://arxiv.org/abs/1604.03539

Deviations: embeddings, and what an encoder has above its layers, are shared. Columns begin equal,
not trained on their tasks before. The rate of the units is that of the heads, and they decay as
matrices do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from polytask.core.encoder import Encoder
from polytask.sharing.base import architectures
from polytask.sharing.task_columns import TaskColumns, by_task, shares


@architectures.register("cross_stitch")
class CrossStitch(TaskColumns):
    """A column of layers per task; after each layer, columns read weighted sums of all.

    :param encoder: A fitted encoder; the architecture owns it, and copies of its layers.
    :param tasks: Names of the tasks, T of them.
    :param own: The weight of a column for itself at the start; the others share the rest to one.
    """

    cost: ClassVar[str] = (
        "all layers once per task, each for all rows; tasks x width parameters per task and layer"
    )

    def __init__(
        self,
        encoder: Encoder,
        tasks: Sequence[str],
        /,
        *,
        own: Annotated[float, Field(ge=0, le=1)] = 0.9,
    ) -> None:
        super().__init__(encoder, tasks)
        start_TTD = shares(len(tasks), own).unsqueeze(-1).repeat(1, 1, encoder.width)
        self._units = [by_task(tasks, start_TTD) for _ in range(self.depth)]
        self.units = nn.ModuleList(self._units)

    @override
    def mix(self, place: int, hidden_TBLD: Tensor) -> Tensor:
        return stitch(torch.stack(self.readers(place, self._units[place])), hidden_TBLD)

    @override
    def observed(self) -> dict[str, float]:
        """At each layer, what a column takes from each, as a mean over channels."""
        return {
            f"unit/{task}/layer_{place + 1}/{giver}": share
            for place, units in enumerate(self._units)
            for task in self.tasks
            for giver, share in zip(self.tasks, units[task].detach().mean(1).tolist(), strict=True)
        }


def stitch(units_TSD: Tensor, hidden_SBLD: Tensor) -> Tensor:
    """For each of T readers a weighted sum of S columns, channel by channel.

    A product of matrices for each channel, in the precision of the hidden states, also under
    autocast. Sums of whole columns would take five times as long for 16 of them.

    :param units_TSD: For each reader and channel, the weight of each column.
    """
    counts = hidden_SBLD.shape[:3]
    with torch.autocast(hidden_SBLD.device.type, enabled=False):
        channels_DSX = _transpose(hidden_SBLD.flatten(0, 2)).unflatten(1, (counts[0], -1))
        sums_DTX = units_TSD.to(hidden_SBLD.dtype).movedim(-1, 0) @ channels_DSX
        sums_TBLD: Tensor = _transpose(sums_DTX.flatten(1)).unflatten(0, (-1, *counts[1:]))
    return sums_TBLD


class _Transpose(torch.autograd.Function):
    """A matrix, transposed in memory; so is its gradient, which products would read slowly as a view."""

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
