"""Columns: the layers of every task, side by side, that read each other's hidden states."""

from __future__ import annotations

import copy
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from polytask.core.collated import Collated
from polytask.core.encoder import Encoder
from polytask.core.features import Features
from polytask.sharing.base import Architecture
from polytask.sharing.copies import LayerCopies, encode_beside, replace_layers, side_by_side
from polytask.sharing.layers import hidden_layers, with_changed


class TaskColumns(Architecture, ABC):
    """Every task has a column of layers; after each layer the columns read from each other.

    All columns encode all rows, also those of absent tasks, which give to the others. What an
    encoder has outside its layers, such as embeddings, is shared by all columns. An encoder without
    layers counts as one layer: its columns are copies of the whole.

    :param encoder: A fitted encoder; the architecture owns it, and copies of its layers.
    :param tasks: Names of the tasks, T of them.
    """

    def __init__(self, encoder: Encoder, tasks: Sequence[str], /) -> None:
        super().__init__(encoder, tasks)
        self.depth = len(hidden_layers(encoder))
        self._present: frozenset[str] = frozenset()
        self._encoders = dict.fromkeys(tasks, encoder)
        self._copied = not encoder.layers
        if not self._copied:
            self.encoder = encoder
            replace_layers(
                encoder,
                lambda place, layer: ColumnLayer(layer, tasks, MixOf(self, place)),
            )
        else:
            self._encoders = {task: copy.deepcopy(encoder) for task in tasks}
            self.encoders = nn.ModuleDict(self._encoders)

    @abstractmethod
    def mix(self, place: int, hidden_TBLD: Tensor) -> Tensor:
        """What the columns go on with after a layer.

        :param place: Position of the layer.
        :param hidden_TBLD: What the layer gave in each column.
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
        """How each of the columns reads after a layer.

        After the last layer a column is read by its task alone, so what belongs to absent tasks is
        not trained.

        :param place: Position of the layer.
        :param parameters: How each column reads, by task.
        """
        is_last = place == self.depth - 1
        return [
            parameters[task].detach() if is_last and task not in self._present else parameters[task]
            for task in self.tasks
        ]

    def columns(self, inputs: Collated) -> list[Features]:
        """The features of all rows, in each column."""
        if self._copied:
            found = [self._encoders[task](inputs) for task in self.tasks]
            mixed_TBLD = self.mix(0, torch.stack([each.tokens_BLD for each in found]))
            return [
                replace(each, tokens_BLD=mixed_BLD)
                for each, mixed_BLD in zip(found, mixed_TBLD, strict=True)
            ]
        return encode_beside(self.encoder, inputs, len(self.tasks))


class MixOf:
    """What an architecture does after a layer of its encoder, which does not keep it alive.

    :param place: Position of the layer.
    """

    def __init__(self, architecture: TaskColumns, place: int) -> None:
        self._architecture, self._place = weakref.ref(architecture), place

    def __call__(self, hidden_TBLD: Tensor) -> Tensor:
        """Hidden states TBLD of all columns to those that the columns go on with."""
        architecture = self._architecture()
        assert architecture is not None
        return architecture.mix(self._place, hidden_TBLD)

    def __deepcopy__(self, memo: dict[int, Any]) -> MixOf:
        architecture = self._architecture()
        assert architecture is not None
        return MixOf(memo.get(id(architecture), architecture), self._place)


class ColumnLayer(LayerCopies):
    """A layer of every column; the rows of the first column come first, then of the second.

    :param mix: What is done with what the columns give.
    """

    def __init__(self, layer: nn.Module, tasks: Sequence[str], mix: MixOf) -> None:
        super().__init__(layer, tasks)
        self._mix = mix

    def forward(self, hidden_XLD: Tensor, *arguments: Any, **named: Any) -> Any:
        """Each column reads its rows; then columns read from each other."""
        layers = [*self.copies.values()]
        count = len(layers)
        counts = [hidden_XLD.shape[0] // count] * count
        output = side_by_side(layers, counts, (hidden_XLD, *arguments), named)
        return with_changed(
            output, lambda all_XLD: self._mix(all_XLD.unflatten(0, (count, -1))).flatten(0, 1)
        )


def by_task(tasks: Iterable[str], starts: Iterable[Tensor]) -> nn.ParameterDict:
    """A parameter for each task.

    :param starts: Their values at the start.
    """
    pairs = zip(tasks, starts, strict=True)
    return nn.ParameterDict({task: nn.Parameter(start.clone()) for task, start in pairs})


def shares(count: int, own: float) -> Tensor:
    """What each of T columns begins to take from each: most from itself, the same from others. TT.

    :param count: T.
    :param own: What a column takes from itself; others give the rest to one.
    """
    if count == 1:
        return torch.ones(1, 1)
    others = (1 - own) / (count - 1)
    return torch.full((count, count), others) + (own - others) * torch.eye(count)
