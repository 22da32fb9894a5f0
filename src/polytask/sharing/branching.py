"""Layers that tasks share up to where they split: a tree of copies."""

from __future__ import annotations

import copy
from abc import ABC
from collections.abc import Mapping, Sequence
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
from polytask.sharing.rows import TaskRows, select_rows

Groups = Sequence[tuple[str, ...]]
"""A partition of the tasks: each group shares a layer."""


class LayerTree(Architecture, ABC):
    """Base of architectures that have every layer once for each group of tasks.

    All tasks share the modules outside the layers, such as embeddings. An encoder without layers
    counts as one layer.

    :param encoder: A fitted encoder; the architecture owns it, and copies of it.
    :param tasks: Names of the tasks, T of them.
    :param levels: The groups at each layer, first to last; each level splits groups of the one before.
    """

    def __init__(self, encoder: Encoder, tasks: Sequence[str], levels: Sequence[Groups], /) -> None:
        super().__init__(encoder, tasks)
        self._pass = BranchPass()
        self._order = order_tasks(self.tasks, levels)
        self._is_one = len(levels[-1]) == 1
        if self._is_one or encoder.layers:
            self._encoders: dict[tuple[str, ...], Encoder] = {self.tasks: encoder}
            self.encoder = encoder
        else:
            self._encoders = {group: copy.deepcopy(encoder) for group in levels[-1]}
            named = {group[0]: whole for group, whole in self._encoders.items()}
            self.encoders = nn.ModuleDict(named)
        if not self._is_one:
            # The layers must not refer to the architecture: a cycle would keep trained models in
            # memory. They share ``_pass`` with it, also after a deep copy of both.
            replace_layers(
                encoder,
                lambda place, layer: GroupedLayer(
                    layer,
                    sorted(levels[place], key=lambda group: self._order.index(group[0])),
                    self._pass,
                ),
            )

    @override
    def forward(self, inputs: Collated, rows: Mapping[str, Tensor]) -> dict[str, Features]:
        if self._is_one:
            return select_rows(self.encoder(inputs), rows)
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

    def _encode(
        self, encoder: Encoder, inputs: Collated, rows: Mapping[str, Tensor]
    ) -> dict[str, Features]:
        self._pass.rows = task_rows = TaskRows.of(rows)
        self._pass.place_B = find_places(task_rows.rows_V, next(iter(inputs.values())).shape[0])
        return task_rows.split(encoder(inputs.select(task_rows.rows_V)))


@dataclass
class BranchPass:
    """The rows that go through the encoder now; rows of the tasks of a group are adjacent.

    :param rows: The V rows that the tasks read.
    :param place_B: For each row of the batch, one of its positions among the V rows. None where
        computing each row once would save nothing.
    """

    rows: TaskRows | None = None
    place_B: Tensor | None = None


class GroupedLayer(LayerCopies):
    """A layer with one copy for each group of tasks.

    :param groups: The groups of tasks, in the order of the rows. A copy has the name of the first
        task of its group.
    """

    def __init__(self, layer: nn.Module, groups: Groups, current: BranchPass) -> None:
        super().__init__(layer, [group[0] for group in groups] if len(groups) > 1 else ["shared"])
        self._groups, self._pass = groups, current

    def forward(self, *arguments: Any, **named: Any) -> Any:
        """Run each copy on the rows of its tasks."""
        assert self._pass.rows is not None, "only within the architecture's forward pass"
        rows, place_B = self._pass.rows, self._pass.place_B
        if len(self._groups) == 1:
            [layer] = self.copies.values()
            if place_B is None:
                return layer(*arguments, **named)
            return run_once(layer, place_B, rows.rows_V, arguments, named)
        count_of = dict(zip(rows.tasks, rows.counts, strict=True))
        counts = {group[0]: sum(count_of.get(t, 0) for t in group) for group in self._groups}
        # Copies of absent groups do not run, so their parameters get no gradient, not a zero one.
        present = [name for name, count in counts.items() if count]
        layers = [self.copies[name] for name in present]
        return side_by_side(layers, [counts[name] for name in present], arguments, named)


def order_tasks(tasks: Sequence[str], levels: Sequence[Groups]) -> list[str]:
    """Return the tasks in an order in which the tasks of every group are adjacent.

    :param levels: The groups at each layer; each level splits groups of the one before.
    """
    # Sorting by the path through the tree keeps subtrees together, and groups in the given order.
    place_of = [
        {task: place for place, group in enumerate(groups) for task in group} for groups in levels
    ]
    return sorted(tasks, key=lambda task: [places[task] for places in place_of])


def find_places(rows_V: Tensor, count: int) -> Tensor | None:
    """Return for each of B rows one of its positions among V rows; 0 for rows that are not there.

    :param count: B.
    :return: None where V is at most B.
    """
    total = rows_V.shape[0]
    if total <= count:
        return None
    place_V = torch.arange(total, device=rows_V.device)
    # "amax" and not a plain scatter: with repeated rows a plain scatter would be nondeterministic.
    return place_V.new_zeros(count).scatter_reduce(0, rows_V, place_V, "amax")


def run_once(layer: nn.Module, place_B: Tensor, rows_V: Tensor, arguments: Any, named: Any) -> Any:
    """Run a shared layer on each row of the batch once, and copy the output to all V rows.

    :param place_B: For each row of the batch, one of its positions among the V rows.
    :param rows_V: For each of the V rows, its position in the batch.
    """
    # All layers below are shared as well, so the V rows of one row are still equal here.
    hidden_VLD = hidden_of(arguments, named)

    def pick(value: Any) -> Any:
        return value.index_select(0, place_B) if goes_with(hidden_VLD, value) else value

    def spread(value: Any) -> Any:
        return value.index_select(0, rows_V) if has_rows(value, place_B.shape[0]) else value

    own, own_named = tree_map(pick, (arguments, named))
    return tree_map(spread, layer(*own, **own_named))
