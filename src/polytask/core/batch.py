"""A batch of rows of any tasks, with the labels that they have.

One shape covers a data set per task, many label columns on the same rows, missing labels and
tasks that are absent from a step: ``targets[task]`` names the rows that carry a label for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from polytask.core.collated import Collated

Row = Mapping[str, Any]
"""One row of a source: column name to value."""

Fields = tuple[Any, ...]
"""The values of a task's input columns in one row: one text, a pair, an image, table cells."""

Inputs = dict[str, Any]
"""One row as prepared by an encoder: name to number, list of numbers or array."""


DRAW_SEED = "draws"
"""The input with a new number for each draw of a row: shape (B,), equal on all ranks."""


@dataclass(frozen=True)
class Targets:
    """The labels of one task in a batch.

    :param rows_b: The rows of the batch that carry a label for the task, ascending.
    :param values: The labels as collated by the task: a tensor, or a dict of tensors.
    :param weights_b: The weight of each row; None if all weights are 1.
    """

    rows_b: Tensor
    values: Any
    weights_b: Tensor | None = None

    @property
    def weight(self) -> float:
        """The sum of the weights of the rows."""
        return float(len(self.rows_b) if self.weights_b is None else self.weights_b.sum())

    def map(self, function: Callable[[Any], Any]) -> Targets:
        """Return the targets with a function applied to rows, values and weights."""
        weights_b = None if self.weights_b is None else function(self.weights_b)
        return Targets(function(self.rows_b), function(self.values), weights_b)


@dataclass(frozen=True)
class Batch:
    """A batch of B rows, each encoded once for all tasks that read it.

    :param inputs: B rows as collated by the encoder.
    :param targets: Labels by task; a task without labels here is absent.
    :param size: Number of rows, B.
    :param tokens: Number of real tokens, for throughput.
    :param padded: Number of tokens with padding.
    """

    inputs: Collated
    targets: dict[str, Targets]
    size: int
    tokens: int = field(default=0, kw_only=True)
    padded: int = field(default=0, kw_only=True)

    def to(self, device: torch.device) -> Batch:
        """Return the same batch on another device."""
        if device.type == "cpu":
            return self
        moved = {
            task: targets.map(partial(move, device=device))
            for task, targets in self.targets.items()
        }
        return replace(self, inputs=self.inputs.to(device), targets=moved)

    def without(self, tasks: frozenset[str]) -> Batch:
        """Return the same rows without the labels of some tasks."""
        kept = {task: value for task, value in self.targets.items() if task not in tasks}
        return replace(self, targets=kept)

    def only(self, task: str) -> Batch:
        """Return the rows that carry a label of one task, with that label alone."""
        others = frozenset(self.targets) - {task}
        return self.select(self.targets[task].rows_b.cpu()).without(others)

    def select(self, rows_b: Tensor) -> Batch:
        """Return some rows with their labels; the labels of each task stay in their order."""
        place_B = torch.full((self.size,), -1)
        # The place of every row in the new batch, -1 if it is not there.
        place_B[rows_b] = torch.arange(len(rows_b))
        targets = {}
        for task, own in self.targets.items():
            places_b = place_B[own.rows_b.cpu()]
            kept_b = (places_b >= 0).nonzero().flatten().to(own.rows_b.device)
            if len(kept_b):
                kept = own.map(partial(pick, rows_b=kept_b))
                targets[task] = replace(kept, rows_b=places_b.to(kept_b.device)[kept_b])
        return Batch(self.inputs.select(rows_b), targets, len(rows_b))

    @property
    def labelled(self) -> float:
        """The number of rows that carry a label, each counted by its largest weight."""
        weights_B = torch.zeros(self.size)
        for own in self.targets.values():
            rows_b = own.rows_b.cpu()
            weights_b = torch.ones(len(rows_b)) if own.weights_b is None else own.weights_b.cpu()
            weights_B[rows_b] = weights_B[rows_b].maximum(weights_b)
        return float(weights_B.sum())

    @property
    def has_exclusive_rows(self) -> bool:
        """True if no row carries the labels of two tasks."""
        rows_n = torch.cat([own.rows_b for own in self.targets.values()] or [torch.zeros(0)])
        return len(rows_n.unique()) == len(rows_n)

    def sort_by_task(self) -> Batch:
        """Return the rows of each task together, where none carries the labels of two."""
        return self.select(torch.cat([own.rows_b for own in self.targets.values()]))

    def by_tasks(self) -> list[Batch]:
        """Return the rows in groups that the same tasks label; rows without labels are left out."""
        if not self.targets:
            return [self]
        labels_BT = torch.zeros(self.size, len(self.targets), dtype=torch.bool)
        for place, own in enumerate(self.targets.values()):
            labels_BT[own.rows_b.cpu(), place] = True
        kinds_KT, kind_B = labels_BT.unique(dim=0, return_inverse=True)
        kinds = [kind for kind in range(len(kinds_KT)) if kinds_KT[kind].any()]
        if len(kinds) == len(kinds_KT) == 1:
            return [self]
        first = {kind: int(kinds_KT[kind].int().argmax()) for kind in kinds}
        ordered = sorted(kinds, key=lambda kind: first[kind])
        return [self.select((kind_B == kind).nonzero().flatten()) for kind in ordered]


def pick(value: Any, rows_b: Tensor) -> Any:
    """Return some rows of a tensor, or of every tensor in nested dicts and lists."""
    if isinstance(value, Tensor):
        return value.index_select(0, rows_b.to(value.device))
    if isinstance(value, Mapping):
        return {name: pick(item, rows_b) for name, item in value.items()}
    return type(value)(pick(item, rows_b) for item in value)


def move(value: Any, device: torch.device) -> Any:
    """Return a tensor, or a nest of dicts and lists of tensors, on another device."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {name: move(item, device) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(move(item, device) for item in value)
    return value
