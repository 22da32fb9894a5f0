"""The partition of parameters into shared and private ones.

It is read from the autograd graph and never declared, so it always matches the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor
from torch.nn import Parameter

from polytask.core import graph


@dataclass(frozen=True)
class Partition:
    """The trainable parameters of a model, split by who uses them.

    :param shared: Parameters reached from the loss of more than one task.
    :param private: Parameters reached from the loss of exactly one task.
    :param tasks_of: The parameter × task map: parameter name to the tasks that reach it.
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
    """Return the partition of named parameters, from the autograd graph of each task's loss.

    :param losses: One scalar with a graph per task.
    :param parameters: The trainable parameters by name; tied ones once.
    """
    # By identity, as tied parameters are one tensor with several names. Bit t of a mask is task t.
    reached = {id(leaf): mask for leaf, mask in graph.find_leaves(graph.trace([*losses.values()]))}
    tasks_of = {
        name: tuple(
            task for place, task in enumerate(losses) if reached.get(id(parameter), 0) >> place & 1
        )
        for name, parameter in parameters.items()
    }
    return Partition(
        [parameters[name] for name, tasks in tasks_of.items() if len(tasks) > 1],
        [parameters[name] for name, tasks in tasks_of.items() if len(tasks) == 1],
        tasks_of,
    )


def infer_partition(losses: Sequence[Tensor]) -> Partition:
    """Return the partition of all parameters that the losses reach, in the order of the graph."""
    reached = graph.find_leaves(graph.trace(losses))
    return Partition(
        [parameter for parameter, mask in reached if graph.is_shared(mask)],
        [parameter for parameter, mask in reached if not graph.is_shared(mask)],
    )
