"""Pools: rows that are prepared in the same way, with all tasks that label them.

Tasks on one source with the same input columns share a pool, so each row is prepared and encoded
once. A task over several sources has a label column in several pools.
"""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from polytask.core.accounting import Account
from polytask.core.batch import DRAW_SEED, Batch, Fields, Inputs, Row, Targets
from polytask.core.collated import Collated
from polytask.core.errors import DataError
from polytask.data.packed_arrays import pack_arrays, unpack_arrays
from polytask.data.prepared_rows import (
    LENGTH,
    TARGET,
    WEIGHT,
    PreparedRow,
    Read,
    ReadTarget,
    read_row,
)
from polytask.data.rows import each_row
from polytask.data.stored_tables import spool
from polytask.data.tables import ConflictError, Table

if TYPE_CHECKING:
    from datasets import Dataset

Ints = npt.NDArray[np.int64]
_CHUNK = 1000


@dataclass(frozen=True)
class Preparation:
    """The functions of an encoder and of tasks that turn the rows of a pool into numbers.

    :param fields: Returns the input fields of a row, given its position and columns.
    :param prepare: Turns the input fields of several rows into inputs (``Encoder.prepare``).
    :param length: Number of tokens of prepared inputs (``Encoder.num_tokens``).
    :param targets: For each task, the target of a row given its position, columns and inputs;
        None where it has none.
    :param weights: For each task whose rows have weights, the weight of a row with a target.
    :param refuse: Called for a row that cannot be read, with its position and a message of place
        and reason; the row is left out. If None, the error is raised.
    """

    fields: Callable[[int, Row], Any]
    prepare: Callable[[Sequence[Any]], list[Inputs]]
    length: Callable[[Inputs], int]
    targets: Mapping[str, Callable[[int, Row, Inputs], Any | None]]
    weights: Mapping[str, Callable[[Row], float]] = field(default_factory=dict)
    refuse: Callable[[int, str], object] | None = None


@dataclass(frozen=True)
class Collation:
    """The functions that turn prepared rows into tensors.

    :param inputs: ``Encoder.collate``.
    :param targets: ``Task.collate`` of every task.
    :param read: ``Encoder.read``; None if it changes nothing.
    :param read_targets: ``Task.read_target`` of tasks whose targets depend on the inputs as read.
    """

    inputs: Callable[[Sequence[Inputs]], Collated]
    targets: Mapping[str, Callable[[Sequence[Any]], Any]]
    read: Read | None = None
    read_targets: Mapping[str, ReadTarget] = field(default_factory=dict)

    def without_draws(self) -> Collation:
        """Return a collation that reads rows without random numbers, as in evaluation."""
        read = self.read
        return self if read is None else replace(self, read=lambda inputs, _: read(inputs, None))


@dataclass(frozen=True)
class Pool:
    """Prepared rows on disk.

    :param name: Name for messages: the source and the input columns.
    :param rows: The prepared rows: inputs, length, and for each task a target or None.
    :param tasks: The tasks that label rows of this pool.
    :param lengths_N: Number of tokens of each row.
    :param fields: Returns the input fields of some rows, for tasks that answer with parts of them.
    :param copies: Number of changed copies of other rows; they are the last rows.
    :param accounts: For each task, the number of rows used, and the reasons why others are not.
    :param origins_N: Position in the table of the row that each row was prepared from.
    :param place_of: Returns the place of a row of the table, for messages.
    """

    name: str
    rows: Dataset
    tasks: tuple[str, ...]
    lengths_N: Ints
    fields: Callable[[Ints], Sequence[Fields]] = lambda rows_b: [()] * len(rows_b)
    copies: int = 0
    accounts: Mapping[str, Account] = field(default_factory=dict)
    origins_N: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    place_of: Callable[[int], str] = str

    def __len__(self) -> int:
        return len(self.lengths_N)

    @property
    def cut(self) -> int:
        """The number of rows that are longer than the encoder reads."""
        known = "cut" in self.rows.column_names and len(self)
        return sum(self.rows["cut"]) if known else 0

    def fetch(self, rows_b: Ints) -> list[PreparedRow]:
        """Return some prepared rows, in the given order; arrays in them are read-only views."""
        found = zip(rows_b.tolist(), unpack_arrays(self._arrow[rows_b]), strict=True)
        return [PreparedRow(values, partial(self.where, row)) for row, values in found]

    def where(self, row: int) -> str:
        """Return the place of a row, for messages."""
        return self.place_of(int(self.origins_N[row]))

    @property
    def longest(self) -> str:
        """The place of the longest row, for messages."""
        return self.where(int(self.lengths_N.argmax())) if len(self) else ""

    @cached_property
    def _arrow(self) -> Dataset:
        """The rows as Arrow tables; cached, because setting a format copies the data set's metadata."""
        return self.rows.with_format("arrow")

    def find_labelled_rows(self) -> dict[str, list[bool]]:
        """Return for each task whether each of the N rows has a target."""
        table = self._arrow[:]
        return {task: table.column(TARGET + task).is_valid().to_pylist() for task in self.tasks}


def make_pool(
    name: str,
    table: Table,
    preparation: Preparation,
    folder: Path,
    *,
    labelled: bool = True,
    copies: Sequence[Preparation] = (),
) -> Pool:
    """Prepare every row of a table once and write the result to disk.

    :param folder: Folder for the result; the caller removes it.
    :param labelled: If true, leave out rows without a target of any task.
    :param copies: Preparations of changed copies; these follow the rows themselves.
    :raises DataError: If a row cannot be prepared and ``refuse`` is None; names its place.
    """
    sizes: list[int] = []
    origins = array("q")

    def rows() -> Iterator[dict[str, Any]]:
        for each in (preparation, *copies):
            sizes.append(0)
            for index, row in _prepare_table(table, each):
                if not labelled or any(row[TARGET + task] is not None for task in each.targets):
                    sizes[-1] += 1
                    origins.append(index)
                    yield row

    # Sizes and origins are filled while spool consumes the rows: only then are they complete.
    dataset = spool(map(pack_arrays, rows()), folder)
    lengths_N = (
        dataset.with_format("numpy")[LENGTH][:].astype(np.int64)
        if len(dataset)
        else np.zeros(0, dtype=np.int64)
    )
    return Pool(
        name, dataset, tuple(preparation.targets), lengths_N, copies=sum(sizes[1:]),
        origins_N=np.array(origins, dtype=np.int64), place_of=table.where,
    )  # fmt: skip


def collate(
    rows: Sequence[PreparedRow],
    collation: Collation,
    draw: int = 0,
    rngs: Sequence[np.random.Generator | None] | None = None,
) -> Batch:
    """Read prepared rows of any pools, and collate them into one batch.

    :param draw: Value of the input ``DRAW_SEED``, which seeds random choices of the model; 0 outside
        training.
    :param rngs: A generator for each row; None in evaluation.
    :raises DataError: If a row cannot be read; names its place.
    """
    read, read_targets = collation.read, collation.read_targets
    if read is not None or read_targets:
        draws = zip(rows, rngs or [None] * len(rows), strict=True)
        rows = [read_row(row, read, read_targets, rng) for row, rng in draws]
    inputs = collation.inputs([row.inputs for row in rows])
    inputs[DRAW_SEED] = torch.full((len(rows),), draw)
    targets = {}
    for task, collate_targets in collation.targets.items():
        found = [
            (position, target)
            for position, row in enumerate(rows)
            if (target := row.get(TARGET + task)) is not None
        ]
        if found:
            positions, values = zip(*found, strict=True)
            weights_b = _stack_weights([rows[at].get(WEIGHT + task) for at in positions])
            targets[task] = Targets(torch.tensor(positions), collate_targets(values), weights_b)
    lengths = [row[LENGTH] for row in rows]
    padded = len(rows) * max(lengths, default=0)
    return Batch(inputs, targets, len(rows), tokens=sum(lengths), padded=padded)


@contextlib.contextmanager
def at_row(table: Table, index: int) -> Iterator[None]:
    """Prefix the message of a ``DataError`` with the place of a row."""
    try:
        yield
    except ConflictError:  # its message names a place already
        raise
    except DataError as error:
        raise DataError(f"{table.where(index)}: {error}") from error


def _prepare_table(table: Table, preparation: Preparation) -> Iterator[tuple[int, dict[str, Any]]]:
    rows = enumerate(each_row(table))
    while chunk := list(islice(rows, _CHUNK)):
        for index, row, inputs in prepare(table.where, chunk, preparation):
            labels = {
                TARGET + task: target(index, row, inputs)
                for task, target in preparation.targets.items()
            }
            weights = {
                WEIGHT + task: None if labels[TARGET + task] is None else weight(row)
                for task, weight in preparation.weights.items()
            }
            yield index, {**inputs, LENGTH: preparation.length(inputs), **labels, **weights}


def prepare(
    where: Callable[[int], str], chunk: Sequence[tuple[int, Row]], preparation: Preparation
) -> Iterator[tuple[int, Row, Inputs]]:
    """Prepare some rows together; if that fails, one by one, to find the row that fails.

    :raises DataError: If a row fails and ``refuse`` is None; names its place.
    """
    try:
        prepared = preparation.prepare([preparation.fields(index, row) for index, row in chunk])
    except DataError as error:
        if len(chunk) != 1:
            for numbered in chunk:
                yield from prepare(where, [numbered], preparation)
            return
        [(index, _)] = chunk
        message = f"{where(index)}: {error}"
        if preparation.refuse is None:
            raise DataError(message) from error
        preparation.refuse(index, message)
        return
    for (index, row), inputs in zip(chunk, prepared, strict=True):
        yield index, row, inputs


def _stack_weights(found: Sequence[float | None]) -> torch.Tensor | None:
    """Return weights_b, 1 for rows without a weight; None if no row has one."""
    if all(weight is None for weight in found):
        return None
    return torch.tensor([1.0 if weight is None else weight for weight in found])


def read_error(row: PreparedRow, collation: Collation) -> str | None:
    """Return place and reason if a prepared row cannot be read for evaluation, else None."""
    try:
        read_row(row, collation.read, {}, None)
    except DataError as error:
        return str(error)
    return None
