"""Parameters and linear layers of each task, applied to the rows of all tasks in one product."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from polytask.sharing.rows import TaskRows


def new_parameters(tasks: Iterable[str], values: Iterable[Tensor]) -> nn.ParameterDict:
    """Return a parameter for each task.

    :param values: The initial values, one tensor for each task; they are copied.
    """
    pairs = zip(tasks, values, strict=True)
    return nn.ParameterDict({task: nn.Parameter(value.clone()) for task, value in pairs})


def apply_per_task(layers: nn.ModuleDict, rows: TaskRows, read_VLD: Tensor) -> Tensor:
    """Put each row through the linear layer of its task, all in one product.

    :param layers: A linear layer without bias for each task.
    """
    weights_tED = torch.stack([layers[task].get_parameter("weight") for task in rows.tasks])
    return torch.bmm(read_VLD, weights_tED[rows.place_V].transpose(1, 2))


class LinearPerTask(nn.Module):
    """One linear layer for each task.

    :param zero: True if all weights start at zero.
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
