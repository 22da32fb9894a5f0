"""The base of parameter-efficient architectures: trained parts inside one encoder, often frozen.

Rows of all tasks go through the encoder in one pass; the parts inside know the task of each row.
"""

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
from polytask.sharing.base import SharedEncoder
from polytask.sharing.rows import TaskRows, select_rows


class PresentRows:
    """The rows that go through the encoder now.

    The architecture and the parts that it put inside the encoder share one such object. Parts must not
    refer to the architecture, which holds them.
    """

    tasks: tuple[str, ...] = ()
    place_V: Tensor
    lengths_V: Tensor | None = None

    def enter(self, rows: TaskRows, inputs: Collated) -> None:
        """Set the rows of the current pass.

        :param inputs: Inputs of the V rows; ``lengths``, if there, are their numbers of tokens.
        """
        self.tasks, self.place_V = rows.tasks, rows.place_V
        self.lengths_V = inputs.get("lengths")

    def mask(self, hidden_VLD: Tensor) -> Tensor | None:
        """Return which tokens of hidden states are real, mask_VL; None if that is not known."""
        if self.lengths_V is None:
            return None
        return lengths_to_mask(self.lengths_V, hidden_VLD.shape[1])

    def own(self, parameters: Mapping[str, Tensor] | nn.ParameterDict) -> Tensor:
        """Return for each of V rows the parameter of its task."""
        # Parameters of absent tasks are not read, so that they get no gradient.
        values_t = torch.stack([parameters[task] for task in self.tasks])
        return values_t.index_select(0, self.place_V)


class PeftArchitecture(SharedEncoder, ABC):
    """Base of architectures that put trained parts inside one encoder.

    :param freeze: Freeze the encoder. Train it as well if it was not pretrained.
    """

    is_per_task: bool = True
    """True if the parts inside differ between tasks; otherwise every row is encoded once."""

    def __init__(self, encoder: Encoder, tasks: Sequence[str], /, *, freeze: bool = True) -> None:
        super().__init__(encoder, tasks)
        self.present = PresentRows()
        if freeze:
            encoder.requires_grad_(False)

    @override
    def forward(self, inputs: Collated, rows: Mapping[str, Tensor]) -> dict[str, Features]:
        if not self.is_per_task:
            return select_rows(self.encoder(inputs), rows)
        task_rows = TaskRows.of(rows)
        inputs = inputs.select(task_rows.rows_V)
        self.present.enter(task_rows, inputs)
        return task_rows.split(self.encode(inputs))

    def encode(self, inputs: Collated) -> Features:
        """Return the features of the rows that are present."""
        features: Features = self.encoder(inputs)
        return features

    @property
    @override
    def one_pass(self) -> bool:
        return not self.is_per_task
