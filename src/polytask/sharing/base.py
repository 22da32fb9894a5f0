"""The interface of an architecture: which computation the tasks share.

Every architecture starts as the encoder that it is given: what it adds is made so that, before the
first update, all tasks read the features that the encoder gives. A pretrained encoder is thus not
disturbed, and what an architecture is worth shows in training alone. Where a method cannot start
like that, ``starts_as_encoder`` says so.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from torch import Tensor, nn

from polytask.core.collated import Collated
from polytask.core.encoder import Encoder
from polytask.core.features import Features
from polytask.core.registry import Registry


class Architecture(nn.Module, ABC):
    """Encodes a batch for several tasks.

    :param encoder: A fitted encoder; the architecture owns it, or copies of it.
    :param tasks: Names of the tasks, T of them.
    """

    cost: ClassVar[str] = ""
    """What it adds to hard sharing, in a line: parameters, and computation of a step."""

    mixes: ClassVar[Literal["nothing", "start", "row"]] = "nothing"
    """What it mixes into a token besides what the encoder does: tokens of its own at the start of a
    row, or other tokens of the row."""

    starts_as_encoder: ClassVar[bool] = True
    """Whether all tasks read the features of the encoder before the first update."""

    def __init__(self, encoder: Encoder, tasks: Sequence[str], /) -> None:
        super().__init__()
        self.tasks = tuple(tasks)

    @property
    def one_pass(self) -> bool:
        """Whether a row goes through the encoder once, however many tasks read it."""
        return False

    @abstractmethod
    def forward(self, inputs: Collated, rows: Mapping[str, Tensor]) -> dict[str, Features]:
        """Give every task the features of its rows.

        :param inputs: Collated inputs of B rows.
        :param rows: For each task present, the rows it reads, ascending.
        """

    @abstractmethod
    def encoder_of(self, task: str) -> Encoder:
        """The encoder whose features the head of a task reads."""

    def width_of(self, task: str) -> int:
        """D of the features that the head of a task reads."""
        return self.encoder_of(task).width

    def penalty(self) -> Tensor | None:
        """A term of its own that the rows of the last forward pass add to the objective, or None.

        It is a mean over these rows, or does not depend on them. Balancing methods do not see it.
        """
        return None

    def observed(self) -> dict[str, float]:
        """Numbers about the last forward pass, for the record of the step."""
        return {}


architectures: Registry[Architecture] = Registry("sharing", Architecture)
