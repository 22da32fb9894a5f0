"""Layers that tasks share up to where they part: a tree of copies."""

from __future__ import annotations

import copy
from abc import ABC
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map
from typing_extensions import override

from polytask.core.collated import Collated
from polytask.core.encoder import Encoder
from polytask.core.features import Features
from polytask.sharing.base import Architecture
from polytask.sharing.copies import (
    LayerCopies,
    goes_with,
    has_rows,
    hidden_of,
    replace_layers,
    side_by_side,
)
from polytask.sharing.rows import TaskRows

Groups = Sequence[tuple[str, ...]]
"""All tasks, those together that share a layer."""


class Branched(Architecture, ABC):
    """Every layer is there once for each group of tasks.

    What an encoder has outside its layers, such as embeddings, is shared by all. An encoder without
    layers counts as one layer.

    :param encoder: A fitted encoder; the architecture owns it, and copies of it.
    :param tasks: Names of the tasks, T of them.
    :param levels: The groups at each layer, first to last; each refines the one before.
    """

    def __init__(self, encoder: Encoder, tasks: Sequence[str], levels: Sequence[Groups], /) -> None:
        super().__init__(encoder, tasks)
        self._pass = BranchPass()
        self._order = in_line(self.tasks, levels)
        self._is_one = len(levels[-1]) == 1
        if self._is_one or encoder.layers:
            self._encoders: dict[tuple[str, ...], Encoder] = {self.tasks: encoder}
            self.encoder = encoder
        else:
            self._encoders = {group: copy.deepcopy(encoder) for group in levels[-1]}
            named = {group[0]: whole for group, whole in self._encoders.items()}
            self.encoders = nn.ModuleDict(named)
        if not self._is_one:
            self._branch(encoder, levels)

    @override
    def forward(self, inputs: Collated, rows: Mapping[str, Tensor]) -> dict[str, Features]:
        if self._is_one:
            features = self.encoder(inputs)
            return {task: features.select(rows_b) for task, rows_b in rows.items()}
        found: dict[str, Features] = {}
        for group, encoder in self._encoders.items():
            present = {task: rows[task] for task in self._order if task in rows and task in group}
            if present:
                found |= self._encode(encoder, inputs, present)
        return {task: found[task] for task in rows}

    @property
    @override
    def one_pass(self) -> bool:
        return self._is_one

    @override
    def encoder_of(self, task: str) -> Encoder:
        return next(encoder for group, encoder in self._encoders.items() if task in group)

    def _branch(self, encoder: Encoder, levels: Sequence[Groups]) -> None:
        def branched(place: int, layer: nn.Module) -> BranchedLayer:
            lined_up = sorted(levels[place], key=lambda group: self._order.index(group[0]))
            return BranchedLayer(layer, lined_up, self._pass)

        replace_layers(encoder, branched)

    def _encode(
        self, encoder: Encoder, inputs: Collated, rows: Mapping[str, Tensor]
    ) -> dict[str, Features]:
        self._pass.rows = task_rows = TaskRows.of(rows)
        self._pass.place_B = places(task_rows.rows_V, next(iter(inputs.values())).shape[0])
        return task_rows.split(encoder(inputs.select(task_rows.rows_V)))


@dataclass
class BranchPass:
    """What is going through the encoder: V rows, those of tasks of one group side by side.

    :param rows: The rows that the tasks read.
    :param place_B: For each row of the batch a place where it is among these; None where that
        would not make them fewer.
    """

    rows: TaskRows | None = None
    place_B: Tensor | None = None


class BranchedLayer(LayerCopies):
    """A layer that is there once for each group of tasks.

    :param groups: All tasks in groups, in the order of the rows. A copy has the name of the first
        task of its group.
    """

    def __init__(self, layer: nn.Module, groups: Groups, current: BranchPass) -> None:
        super().__init__(layer, [group[0] for group in groups] if len(groups) > 1 else ["shared"])
        self._groups, self._pass = groups, current

    def forward(self, *arguments: Any, **named: Any) -> Any:
        """Each copy reads the rows of its tasks."""
        assert self._pass.rows is not None, "only within the architecture's forward pass"
        rows, place_B = self._pass.rows, self._pass.place_B
        if len(self._groups) == 1:
            [layer] = self.copies.values()
            if place_B is None:
                return layer(*arguments, **named)
            return once(layer, place_B, rows.rows_V, arguments, named)
        counts = {group[0]: rows_of(rows, group) for group in self._groups}
        present = [name for name, count in counts.items() if count]
        layers = [self.copies[name] for name in present]
        return side_by_side(layers, [counts[name] for name in present], arguments, named)


def rows_of(rows: TaskRows, group: Collection[str]) -> int:
    """How many rows the tasks of a group read."""
    return sum(n for task, n in zip(rows.tasks, rows.counts, strict=True) if task in group)


def in_line(tasks: Sequence[str], levels: Sequence[Groups]) -> list[str]:
    """The tasks in an order in which those of every group are neighbours, and groups are as given.

    :param levels: Each refines the one before.
    """
    place_of = [
        {task: place for place, group in enumerate(groups) for task in group} for groups in levels
    ]
    return sorted(tasks, key=lambda task: [places[task] for places in place_of])


def places(rows_V: Tensor, count: int) -> Tensor | None:
    """For each of B rows a place where it is among V, 0 for those that are not.

    :param count: B.
    :return: None where V is not more than B.
    """
    total = rows_V.shape[0]
    if total <= count:
        return None
    place_V = torch.arange(total, device=rows_V.device)
    return place_V.new_zeros(count).scatter_reduce(0, rows_V, place_V, "amax")


def once(layer: nn.Module, place_B: Tensor, rows_V: Tensor, arguments: Any, named: Any) -> Any:
    """Run a layer on each row of the batch once, and give what it gave to all places of the row.

    :param place_B: For each row of the batch, a place where it is among the V rows given.
    :param rows_V: For each of these, which row of the batch it is.
    """
    hidden_VLD = hidden_of(arguments, named)

    def pick(value: Any) -> Any:
        return value.index_select(0, place_B) if goes_with(hidden_VLD, value) else value

    def spread(value: Any) -> Any:
        return value.index_select(0, rows_V) if has_rows(value, place_B.shape[0]) else value

    own, own_named = tree_map(pick, (arguments, named))
    return tree_map(spread, layer(*own, **own_named))
