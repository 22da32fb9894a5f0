"""Rows of any tasks together, with whatever labels they have.

One shape covers a data set per task, many label columns on the same rows, missing labels and
tasks that are absent from a step: ``targets[task]`` names the rows that carry a label for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Row = Mapping[str, Any]
"""One row of a source: column name to value."""

Fields = tuple[Any, ...]
"""The values of a task's input columns in one row: one text, a pair, an image, table cells."""

Inputs = dict[str, Any]
"""One row as prepared by an encoder: name to number, list of numbers or array."""


@dataclass(frozen=True)
class Targets:
    """The labels of one task in a batch.

    :param rows_b: The rows of the batch that carry a label for the task, ascending.
    :param values: Their labels as collated by the task: a tensor, or a dict of tensors.
    """

    rows_b: Tensor
    values: Any


@dataclass(frozen=True)
class Batch:
    """B rows, each encoded once however many tasks read it.

    :param inputs: Tensors with B rows each, as collated by the encoder.
    :param targets: Labels by task; a task without labels here is absent.
    :param size: Number of rows, B.
    :param tokens: Number of real tokens, for throughput.
    :param padded: Number of tokens with padding, so that the padding share is known.
    """

    inputs: dict[str, Tensor]
    targets: dict[str, Targets]
    size: int
    tokens: int = field(default=0, kw_only=True)
    padded: int = field(default=0, kw_only=True)

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        if device.type == "cpu":
            return self
        moved = {
            task: Targets(move(targets.rows_b, device), move(targets.values, device))
            for task, targets in self.targets.items()
        }
        inputs = move(self.inputs, device)
        return Batch(inputs, moved, self.size, tokens=self.tokens, padded=self.padded)

    def without(self, tasks: frozenset[str]) -> Batch:
        """The same rows without the labels of some tasks."""
        kept = {task: value for task, value in self.targets.items() if task not in tasks}
        return Batch(self.inputs, kept, self.size, tokens=self.tokens, padded=self.padded)


def move(value: Any, device: torch.device) -> Any:
    """A tensor, or a nest of dicts and lists of tensors, on another device."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {name: move(item, device) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(move(item, device) for item in value)
    return value
