"""Neural discriminative dimensionality reduction: columns read projections of all columns.

Gao, Ma, Zhao, Liu and Yuille, "NDDR-CNN: Layerwise Feature Fusing in Multi-Task CNNs by Neural
Discriminative Dimensionality Reduction", CVPR 2019, section 3. https://arxiv.org/abs/1801.08297

Deviations: embeddings, and modules above the layers, are shared. There is no batch normalisation and
no non-linearity after the reduction, which would disturb a pretrained encoder. Columns start equal.
The shortcuts of NDDR-CNN-Shortcut are left out. The weight decay is the same as for all matrices.
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


@architectures.register("nddr")
class NDDR(TaskColumns):
    """A column of layers per task; after each layer, columns read projections of all columns."""

    cost: ClassVar[str] = (
        "all layers once per task, each for all rows; tasks x width x width parameters per task "
        "and layer"
    )

    def __init__(self, encoder: Encoder, tasks: Sequence[str], /, **options: Any) -> None:
        super().__init__(encoder, tasks, **options)
        channels_DD = torch.eye(encoder.width)
        starts = [torch.kron(start_T.unsqueeze(1), channels_DD) for start_T in self.shares_TT]
        self._projections = [new_parameters(tasks, starts) for _ in range(self.depth)]
        self.projections = nn.ModuleList(self._projections)

    @override
    def mix(self, place: int, hidden_TBLD: Tensor) -> Tensor:
        return project_columns(self.readers(place, self._projections[place]), hidden_TBLD)

    @override
    def observe(self) -> dict[str, float]:
        """Return the norm of a projection over the norm of the identity, by layer, reader and column."""
        return {
            f"projection/{task}/layer_{place + 1}/{giver}": size
            for place, projections in enumerate(self._projections)
            for task in self.tasks
            for giver, size in zip(
                self.tasks, _sizes(projections[task], len(self.tasks)), strict=True
            )
        }


def _sizes(projection_XD: Tensor, columns: int) -> list[float]:
    """Return the norm of the part of each column, divided by the norm of the identity."""
    parts_TDD = projection_XD.detach().unflatten(0, (columns, -1))
    sizes_T = torch.linalg.vector_norm(parts_TDD, dim=(1, 2)) / projection_XD.shape[1] ** 0.5
    return [*map(float, sizes_T.tolist())]


def project_columns(projections: Sequence[Tensor], hidden_TBLD: Tensor) -> Tensor:
    """Project the channels of all columns, X = T D of them, to D for each column: a 1 x 1 convolution.

    :param projections: A matrix XD for each column.
    """
    all_BLX = hidden_TBLD.movedim(0, 2).flatten(2)
    together_XX = torch.cat([*projections], dim=1).to(all_BLX.dtype)
    reduced_BLTD = (all_BLX @ together_XX).unflatten(2, (len(projections), -1))
    reduced_TBLD: Tensor = reduced_BLTD.movedim(2, 0).to(hidden_TBLD.dtype)
    return reduced_TBLD
