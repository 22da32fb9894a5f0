"""The interface of an architecture: which computation the tasks share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from polytask.core.encoder import Encoder
from polytask.core.features import Features
from polytask.core.registry import Registry


class Architecture(nn.Module, ABC):
    """Encodes a batch for several tasks.

    :param encoder: A fitted encoder; the architecture owns it, or copies of it.
    :param tasks: Names of the tasks, T of them.
    """

    def __init__(self, encoder: Encoder, tasks: Sequence[str], /) -> None:
        super().__init__()
        self.tasks = tuple(tasks)

    @abstractmethod
    def forward(self, inputs: dict[str, Tensor], rows: Mapping[str, Tensor]) -> dict[str, Features]:
        """Give every task the features of its rows.

        :param inputs: Collated inputs of B rows.
        :param rows: For each task present, the rows it reads, ascending.
        """

    @abstractmethod
    def encoder_of(self, task: str) -> Encoder:
        """The encoder whose features the head of a task reads."""

    def penalty(self) -> Tensor | None:
        """An auxiliary term of the objective, once per step, or None."""
        return None


architectures: Registry[Architecture] = Registry("sharing", Architecture)


def select_inputs(inputs: Mapping[str, Tensor], rows_b: Tensor) -> dict[str, Tensor]:
    """Some rows of a collated batch."""
    return {name: torch.index_select(value, 0, rows_b) for name, value in inputs.items()}
