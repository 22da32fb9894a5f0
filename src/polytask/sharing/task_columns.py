"""Columns: the layers of every task, side by side, that read each other's hidden states."""

from __future__ import annotations

import copy
import weakref
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from polytask.core.collated import Collated
from polytask.core.encoder import Encoder
from polytask.core.features import Features
from polytask.sharing.base import Architecture
from polytask.sharing.copies import LayerCopies, encode_beside, replace_layers, side_by_side
from polytask.sharing.layers import change_hidden, hidden_layers


class TaskColumns(Architecture, ABC):
    """Base of architectures with a column of layers per task; columns read each other after each layer.

    All columns encode all rows. Columns of absent tasks, too, are read by the others. All columns
    share the modules outside the layers, such as embeddings. An encoder without layers counts as one
    layer: its columns are copies of the whole encoder.

    :param encoder: A fitted encoder; the architecture owns it, and copies of its layers.
    :param tasks: Names of the tasks, T of them.
    :param own: The initial weight of a column for itself; the others share the rest to one.
    """

    def __init__(
        self,
        encoder: Encoder,
        tasks: Sequence[str],
        /,
        *,
        own: Annotated[float, Field(ge=0, le=1)] = 0.9,
    ) -> None:
        super().__init__(encoder, tasks)
        self.depth = len(hidden_layers(encoder))
        self.shares_TT = initial_shares(len(tasks), own)
        self._present: frozenset[str] = frozenset()
        self._encoders = dict.fromkeys(tasks, encoder)
        self._copied = not encoder.layers
        if not self._copied:
            self.encoder = encoder
            replace_layers(
                encoder,
                lambda place, layer: ColumnLayer(layer, tasks, ColumnMix(self, place)),
            )
        else:
            self._encoders = {task: copy.deepcopy(encoder) for task in tasks}
            self.encoders = nn.ModuleDict(self._encoders)

    @abstractmethod
    def mix(self, place: int, hidden_TBLD: Tensor) -> Tensor:
        """Return the hidden states that the columns read next.

        :param place: Position of the layer.
        :param hidden_TBLD: The output of the layer in each column.
        """

    @override
    def forward(self, inputs: Collated, rows: Mapping[str, Tensor]) -> dict[str, Features]:
        self._present = frozenset(rows)
        columns = dict(zip(self.tasks, self.columns(inputs), strict=True))
        return {task: columns[task].select(rows_b) for task, rows_b in rows.items()}

    @override
    def encoder_of(self, task: str) -> Encoder:
        return self._encoders[task]

    def readers(self, place: int, parameters: nn.ParameterDict) -> list[Tensor]:
        """Return the mixing parameters of each column after a layer.

        :param place: Position of the layer.
        :param parameters: The parameters of each task.
        """
        # After the last layer only its own task reads a column. Detached, the parameters of absent
        # tasks get no gradient at all; with a zero gradient, weight decay and Adam would move them.
        is_last = place == self.depth - 1
        return [
            parameters[task].detach() if is_last and task not in self._present else parameters[task]
            for task in self.tasks
        ]

    def columns(self, inputs: Collated) -> list[Features]:
        """Return the features of all rows, in each column."""
        if self._copied:
            found = [self._encoders[task](inputs) for task in self.tasks]
            mixed_TBLD = self.mix(0, torch.stack([each.tokens_BLD for each in found]))
            return [
                replace(each, tokens_BLD=mixed_BLD)
                for each, mixed_BLD in zip(found, mixed_TBLD, strict=True)
            ]
        return encode_beside(self.encoder, inputs, len(self.tasks))


class ColumnMix:
    """``TaskColumns.mix`` at one layer, as a callable that a layer can hold.

    :param place: Position of the layer.
    """

    def __init__(self, architecture: TaskColumns, place: int) -> None:
        # A strong reference would be a cycle (the architecture holds the layer), which keeps trained
        # models in memory until the garbage collector runs.
        self._architecture, self._place = weakref.ref(architecture), place

    def __call__(self, hidden_TBLD: Tensor) -> Tensor:
        """Return the hidden states TBLD that the columns read next."""
        architecture = self._architecture()
        assert architecture is not None
        return architecture.mix(self._place, hidden_TBLD)

    def __deepcopy__(self, memo: dict[int, Any]) -> ColumnMix:
        # ``deepcopy`` copies no weak references: without this, the copy of an architecture would mix
        # with the parameters of the original. ``memo`` holds the copy under way, if there is one.
        architecture = self._architecture()
        assert architecture is not None
        return ColumnMix(memo.get(id(architecture), architecture), self._place)


class ColumnLayer(LayerCopies):
    """A layer in every column; the rows of the first column come first, then of the second.

    :param mix: The function that mixes the outputs of the columns.
    """

    def __init__(self, layer: nn.Module, tasks: Sequence[str], mix: ColumnMix) -> None:
        super().__init__(layer, tasks)
        self._mix = mix

    def forward(self, hidden_XLD: Tensor, *arguments: Any, **named: Any) -> Any:
        """Run each column on its rows, then mix the columns."""
        layers = [*self.copies.values()]
        count = len(layers)
        counts = [hidden_XLD.shape[0] // count] * count
        output = side_by_side(layers, counts, (hidden_XLD, *arguments), named)
        return change_hidden(
            output, lambda all_XLD: self._mix(all_XLD.unflatten(0, (count, -1))).flatten(0, 1)
        )


def initial_shares(count: int, own: float) -> Tensor:
    """Return the initial weights TT of T columns for each other; every row sums to one.

    :param count: T.
    :param own: The weight of a column for itself; the others share the rest equally.
    """
    if count == 1:
        return torch.ones(1, 1)
    others = (1 - own) / (count - 1)
    return torch.full((count, count), others) + (own - others) * torch.eye(count)
