"""Which parameters each task's loss reaches.

The partition is found by autograd and never declared, so it cannot lie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor
from torch.autograd.graph import Node
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

    Its graph is walked from each loss to the leaves; nothing is differentiated.

    :param losses: One scalar with a graph per task.
    :param parameters: The trainable parameters by name; tied ones once.
    """
    leaves = {task: _leaves(loss) for task, loss in losses.items()}
    tasks_of = {
        name: tuple(task for task in losses if id(parameter) in leaves[task])
        for name, parameter in parameters.items()
    }
    return Partition(
        [parameters[name] for name, tasks in tasks_of.items() if len(tasks) > 1],
        [parameters[name] for name, tasks in tasks_of.items() if len(tasks) == 1],
        tasks_of,
    )


def _leaves(loss: Tensor) -> set[int]:
    """Identities of the tensors that gradients of a loss would be added to."""
    found: set[int] = set()
    seen: set[Node | None] = {None}
    waiting = [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        waiting.extend(following for following, _ in node.next_functions)
    return found
