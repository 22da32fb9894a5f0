"""One encoder with trained parts inside, and rows of all tasks in one pass through it."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from typing_extensions import override

from polytask.core.collated import Collated
from polytask.core.encoder import Encoder
from polytask.core.features import Features
from polytask.core.padding import lengths_to_mask
from polytask.sharing.base import Architecture
from polytask.sharing.rows import TaskRows


class Present:
    """Whose rows go through the encoder now; an architecture and what it put inside share it."""

    tasks: tuple[str, ...] = ()
    place_V: Tensor
    lengths_V: Tensor | None = None

    def enter(self, rows: TaskRows, inputs: Collated) -> None:
        """From now on, it is these rows.

        :param inputs: Those of the rows; ``lengths`` are their numbers of tokens, if they are there.
        """
        self.tasks, self.place_V = rows.tasks, rows.place_V
        self.lengths_V = inputs.get("lengths")

    def mask(self, hidden_VLD: Tensor) -> Tensor | None:
        """Which tokens of hidden states are real, mask_VL; None if it is not known."""
        if self.lengths_V is None:
            return None
        return lengths_to_mask(self.lengths_V, hidden_VLD.shape[1])

    def own(self, parameters: Mapping[str, Tensor] | nn.ParameterDict) -> Tensor:
        """For each of V rows the parameter of its task; those of absent tasks are not touched."""
        return self.spread(torch.stack([parameters[task] for task in self.tasks]))

    def spread(self, values_t: Tensor) -> Tensor:
        """For each of V rows the value of its task.

        :param values_t: One for each task present, in their order.
        """
        return values_t.index_select(0, self.place_V)


class Tuned(Architecture, ABC):
    """Base of architectures that put trained parts inside one encoder.

    :param freeze: Do not train the encoder itself. Train it, too, if it was not pretrained.
    """

    apart: bool = True
    """Whether tasks have parameters apart inside; else every row is encoded once."""

    def __init__(self, encoder: Encoder, tasks: Sequence[str], /, *, freeze: bool = True) -> None:
        super().__init__(encoder, tasks)
        self.encoder = encoder
        self.present = Present()
        if freeze:
            encoder.requires_grad_(False)

    @override
    def forward(self, inputs: Collated, rows: Mapping[str, Tensor]) -> dict[str, Features]:
        if not self.apart:
            features = self.encoder(inputs)
            return {task: features.select(rows_b) for task, rows_b in rows.items()}
        task_rows = TaskRows.of(rows)
        inputs = inputs.select(task_rows.rows_V)
        self.present.enter(task_rows, inputs)
        return task_rows.split(self.encode(inputs))

    def encode(self, inputs: Collated) -> Features:
        """Encode the rows that are present."""
        features: Features = self.encoder(inputs)
        return features

    @property
    @override
    def one_pass(self) -> bool:
        return not self.apart

    @override
    def encoder_of(self, task: str) -> Encoder:
        return self.encoder
