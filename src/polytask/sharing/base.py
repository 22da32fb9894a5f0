"""The interface of an architecture: which computation the tasks share.

Every architecture starts as the encoder that it is given. Its additions are initialised so that,
before the first update, all tasks read the features of the encoder. A pretrained encoder is thus not
disturbed. A method that cannot start like that sets ``starts_as_encoder`` to False.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from torch import Tensor, nn
from typing_extensions import override

from polytask.core.collated import Collated
from polytask.core.encoder import Encoder
from polytask.core.features import Features
from polytask.core.registry import Registry


class Architecture(nn.Module, ABC):
    """The base class of all architectures: encodes a batch for several tasks.

    :param encoder: A fitted encoder; the architecture owns it, or copies of it.
    :param tasks: Names of the tasks, T of them.
    """

    cost: ClassVar[str] = ""
    """One line: the parameters, and the computation per step, added to hard sharing."""

    mixes: ClassVar[Literal["nothing", "start", "row"]] = "nothing"
    """The tokens that it mixes into a token, besides the encoder: none, learned tokens at the start of
    a row, or other tokens of the row."""

    starts_as_encoder: ClassVar[bool] = True
    """True if all tasks read the features of the encoder before the first update."""

    def __init__(self, encoder: Encoder, tasks: Sequence[str], /) -> None:
        super().__init__()
        self.tasks = tuple(tasks)

    @property
    def one_pass(self) -> bool:
        """True if a row goes through the encoder once, however many tasks read it."""
        return False

    @abstractmethod
    def forward(self, inputs: Collated, rows: Mapping[str, Tensor]) -> dict[str, Features]:
        """Return the features of the rows of each task.

        :param inputs: Collated inputs of B rows.
        :param rows: For each task present, the rows it reads, ascending.
        """

    @abstractmethod
    def encoder_of(self, task: str) -> Encoder:
        """Return the encoder whose features the head of a task reads."""

    def width_of(self, task: str) -> int:
        """Return D of the features that the head of a task reads."""
        return self.encoder_of(task).width

    def penalty(self) -> Tensor | None:
        """Return a scalar that the last forward pass adds to the objective, or None.

        It is a mean over the rows, or does not depend on them. Balancing methods do not see it.
        """
        return None

    def observe(self) -> dict[str, float]:
        """Return numbers about the last forward pass, for the record of the step."""
        return {}


class SharedEncoder(Architecture, ABC):
    """Base of architectures in which all tasks read one encoder."""

    def __init__(self, encoder: Encoder, tasks: Sequence[str], /) -> None:
        super().__init__(encoder, tasks)
        self.encoder = encoder

    @override
    def encoder_of(self, task: str) -> Encoder:
        return self.encoder


architectures: Registry[Architecture] = Registry("sharing", Architecture)
