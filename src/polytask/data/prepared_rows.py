"""Prepared rows, and how they are read for each draw: decoded, cropped, flipped, with noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, final

import numpy as np

from polytask.core.batch import Inputs
from polytask.core.errors import DataError

LENGTH = "length"
TARGET = "target:"
WEIGHT = "weight:"

Read: TypeAlias = Callable[[Inputs, np.random.Generator | None], Inputs]
"""``Encoder.read`` of a prepared row."""

ReadTarget: TypeAlias = Callable[[Any, Inputs], Any]
"""``Task.read_target``: the target, given the stored target and the inputs as read."""


@final
class PreparedRow(dict[str, Any]):
    """The inputs of a row, its length, and a target or None for each task.

    :param where: Returns the place of the row, for messages.
    """

    __slots__ = ("where",)

    def __init__(self, values: Mapping[str, Any], where: Callable[[], str]) -> None:
        super().__init__(values)
        self.where = where

    @property
    def inputs(self) -> Inputs:
        """The inputs without length, targets and weights."""
        return {
            name: value
            for name, value in self.items()
            if name != LENGTH and not name.startswith((TARGET, WEIGHT))
        }


def read_row(
    row: PreparedRow,
    read: Read | None,
    read_targets: Mapping[str, ReadTarget],
    rng: np.random.Generator | None,
) -> PreparedRow:
    """Return a row with its inputs as read for one draw, and targets that match them.

    The given row is not changed: its arrays are views of memory-mapped files, and it may be drawn
    again.

    :param read: None if inputs stay as they are.
    :param read_targets: By task, for tasks whose targets depend on the inputs as read.
    :param rng: Random numbers of this draw; None in evaluation.
    :raises DataError: If the row cannot be read; names its place.
    """
    prepared = row.inputs
    kept = {name: value for name, value in row.items() if name not in prepared}
    try:
        inputs = prepared if read is None else read(prepared, rng)
        for task, read_target in read_targets.items():
            if (target := row.get(TARGET + task)) is not None:
                kept[TARGET + task] = read_target(target, inputs)
    except DataError as error:
        raise DataError(f"{row.where()}: {error}") from error
    except Exception as error:  # libraries that decode images and sounds raise many kinds
        found = f"cannot be read: {type(error).__name__}: {error}"
        raise DataError(f"{row.where()}: {found}. Repair the row or remove it.") from error
    return PreparedRow({**inputs, **kept}, row.where)
