"""Linear layers that every task has for itself, in one product for the rows of all."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from polytask.sharing.rows import TaskRows


class LinearPerTask(nn.Module):
    """One linear layer for each task.

    :param zero: Whether all weights start at zero.
    """

    def __init__(self, tasks: Sequence[str], inner: int, outer: int, *, zero: bool = False) -> None:
        super().__init__()
        layers = {task: nn.Linear(inner, outer) for task in tasks}
        if zero:
            for parameter in (p for layer in layers.values() for p in layer.parameters()):
                nn.init.zeros_(parameter)
        self.weights = nn.ParameterDict({task: layer.weight for task, layer in layers.items()})
        self.biases = nn.ParameterDict({task: layer.bias for task, layer in layers.items()})

    def forward(self, read_VLI: Tensor, rows: TaskRows) -> Tensor:
        """Put each row through the layer of its task; layers of absent tasks take no part."""
        place_V = rows.place_V
        weights_tOI = torch.stack([self.weights[task] for task in rows.tasks])
        biases_tO = torch.stack([self.biases[task] for task in rows.tasks])
        biases_V1O = biases_tO[place_V].unsqueeze(1)
        return torch.baddbmm(biases_V1O, read_VLI, weights_tOI[place_V].transpose(1, 2))
