"""Which parameters each task's loss reaches.

The partition is found by autograd and never declared, so it cannot lie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import Parameter


@dataclass(frozen=True)
class Partition:
    """The trainable parameters of a model, split by who uses them.

    :param shared: Parameters reached from the loss of more than one task.
    :param private: Parameters reached from the loss of exactly one task.
    :param tasks_of: The whole parameter × task map: parameter name to the tasks that reach it.
        Trainable parameters that no task reaches have an empty entry.
    """

    shared: Sequence[Parameter]
    private: Sequence[Parameter]
    tasks_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def unreached(self) -> list[str]:
        """Names of trainable parameters that no task's loss reaches."""
        return [name for name, tasks in self.tasks_of.items() if not tasks]


def find_partition(losses: Mapping[str, Tensor], parameters: Mapping[str, Parameter]) -> Partition:
    """Ask autograd which parameters each loss reaches.

    :param losses: One scalar with a graph per task.
    :param parameters: The trainable parameters by name; tied ones once.
    """
    values = list(parameters.values())
    tasks_of: dict[str, list[str]] = {name: [] for name in parameters}
    for task, loss in losses.items():
        grads = torch.autograd.grad(loss, values, retain_graph=True, allow_unused=True)
        for name, grad in zip(parameters, grads, strict=True):
            if grad is not None:
                tasks_of[name].append(task)
    return Partition(
        [parameters[name] for name, tasks in tasks_of.items() if len(tasks) > 1],
        [parameters[name] for name, tasks in tasks_of.items() if len(tasks) == 1],
        {name: tuple(tasks) for name, tasks in tasks_of.items()},
    )
