"""Prepared rows in memory, for prediction: nothing is written to disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from polytask.core.batch import Fields, Row
from polytask.data.pools import Ints, Preparation, prepare
from polytask.data.prepared_rows import LENGTH, PreparedRow


@dataclass(frozen=True)
class MemoryPool:
    """Prepared rows in memory, without targets.

    :param rows: Inputs and length of each row.
    :param tasks: The tasks that read these rows.
    :param lengths_N: Number of tokens of each row.
    :param fields: Returns the input fields of some rows.
    """

    rows: Sequence[PreparedRow]
    tasks: tuple[str, ...]
    lengths_N: Ints
    fields: Callable[[Ints], Sequence[Fields]]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def cut(self) -> int:
        """The number of rows that are longer than the encoder reads."""
        return sum(bool(row.get("cut")) for row in self.rows)

    def fetch(self, rows_b: Ints) -> list[PreparedRow]:
        """Return some prepared rows, in the given order."""
        return [self.rows[row] for row in rows_b.tolist()]

    def select(self, rows_n: Ints) -> MemoryPool:
        """Return a pool of some of the rows."""
        lengths_N, fields = self.lengths_N[rows_n], self.fields
        return replace(
            self,
            rows=self.fetch(rows_n),
            lengths_N=lengths_N,
            fields=lambda rows_b: fields(rows_n[rows_b]),
        )


def make_memory_pool(
    rows: Sequence[Row],
    preparation: Preparation,
    where: Callable[[int], str],
    fields: Callable[[Row], Fields],
) -> MemoryPool:
    """Prepare rows for prediction and keep them in memory.

    :param where: Returns the place of the row at a position.
    :param fields: Returns the input fields of a row.
    :raises DataError: If a row cannot be prepared and ``preparation.refuse`` is None.
    """
    found = [*prepare(where, [*enumerate(rows)], preparation)]
    lengths = [preparation.length(inputs) for _, _, inputs in found]
    return MemoryPool(
        [
            PreparedRow({**inputs, LENGTH: length}, partial(where, index))
            for (index, _, inputs), length in zip(found, lengths, strict=True)
        ],
        tuple(preparation.targets),
        np.array(lengths, dtype=np.int64),
        lambda rows_b: [fields(found[row][1]) for row in rows_b.tolist()],
    )
