"""Views made into pools: rows prepared by the encoder, labels encoded by the tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from polytask.assembly.data.labels import Labels
from polytask.assembly.data.tally import LearnedLabels, Mistakes, ScoredLabels
from polytask.assembly.data.views import View
from polytask.core.batch import Fields, Inputs, Row
from polytask.core.encoder import Encoder
from polytask.core.texts import collate_texts, length_of, prepare_texts, read_texts
from polytask.data.memory_pool import MemoryPool, make_memory_pool
from polytask.data.pools import Collation, Ints, Pool, Preparation, make_pool
from polytask.data.rows import rows_at
from polytask.data.tables import Table
from polytask.tasks import Task


def training_pool(
    view: View,
    table: Table,
    encoder: Encoder,
    labels: Mapping[str, Labels],
    folder: Path,
    copies: Sequence[View] = (),
) -> Pool:
    """Return the rows of a view that carry a label, with their targets.

    :param copies: The same view with changes; these copies of the rows come after the rows.
    :raises DataError: If a row does not fit the encoder or a task; names file and line.
    """
    weights = {name: labels[name].weight_of for name in view.tasks if labels[name].weight}

    def prepared(view: View, mistakes: Mistakes) -> tuple[Preparation, dict[str, LearnedLabels]]:
        own = {task: LearnedLabels(view, table, labels[task], mistakes) for task in view.tasks}
        preparation = _preparation(view, encoder, own, training=True)
        return replace(preparation, weights=weights), own

    view.require_columns(table)
    mistakes = Mistakes()
    preparation, learned = prepared(view, mistakes)
    changed = [prepared(copy, Mistakes())[0] for copy in copies]  # a row has its mistakes once
    pool = make_pool(view.name, table, preparation, folder, copies=changed)
    mistakes.check()
    return replace(pool, accounts={task: own.account for task, own in learned.items()})


def scored_pool(
    view: View, table: Table, encoder: Encoder, tasks: Mapping[str, Task], folder: Path
) -> tuple[Pool, dict[str, list[Any | None]]]:
    """Prepare all rows of a view for scoring, in the order of the table.

    :return: The pool, and for each task the reference of every row.
    :raises DataError: If a row or a label does not fit; names file and line.
    """
    mistakes = Mistakes()
    scored = {name: ScoredLabels(table, tasks[name], mistakes) for name in view.tasks}
    pool = evaluation_pool(view, table, encoder, folder, scored)
    mistakes.check()
    accounts = {name: own.account for name, own in scored.items()}
    return replace(pool, accounts=accounts), {name: own.references for name, own in scored.items()}


def new_pool(
    view: View, rows: Sequence[Row], where: Callable[[int], str], encoder: Encoder
) -> tuple[MemoryPool, dict[int, str]]:
    """Prepare the rows of a view that can be read, for prediction, in memory.

    :param where: Returns the place of the row at a position.
    :return: The pool, and by position the error of every row that is not in it.
    """
    refused: dict[int, str] = {}
    targets = dict.fromkeys(view.tasks, _no_target)
    preparation = _preparation(view, encoder, targets, training=False)
    preparation = replace(preparation, refuse=lambda row, error: refused.setdefault(row, error))
    return make_memory_pool(rows, preparation, where, view.fields), refused


def evaluation_pool(
    view: View,
    table: Table,
    encoder: Encoder,
    folder: Path,
    seen: Mapping[str, Callable[[int, Row, Inputs], None]] | None = None,
) -> Pool:
    """Prepare all rows of a view, without targets, in the order of the table.

    :param seen: By task: called with every prepared row.
    """
    view.require_columns(table)
    targets = seen or dict.fromkeys(view.tasks, _no_target)
    preparation = _preparation(view, encoder, targets, training=False)
    pool = make_pool(view.name, table, preparation, folder, labelled=False)
    return _with_fields(pool, view, table)


def _with_fields(pool: Pool, view: View, table: Table) -> Pool:
    """Let a pool read the input fields of its rows."""

    def fields(rows_b: Ints) -> list[Fields]:
        return [view.fields(row) for row in rows_at(table, pool.origins_N[rows_b])]

    return replace(pool, fields=fields)


def collation(encoder: Encoder, tasks: Mapping[str, Task]) -> Collation:
    """How rows of these tasks become tensors."""
    inputs = partial(collate_texts, collate=encoder.collate)
    reads = type(encoder).read is not Encoder.read
    changing = {
        n: task for n, task in tasks.items() if type(task).read_target is not Task.read_target
    }
    return Collation(
        inputs,
        {name: task.collate for name, task in tasks.items()},
        # Where nothing is overridden, nothing is called for each row: most encoders of texts.
        partial(read_texts, read=encoder.read) if reads else None,
        {name: task.read_target for name, task in changing.items()},
    )


def _preparation(
    view: View,
    encoder: Encoder,
    targets: Mapping[str, Callable[[int, Row, Inputs], Any | None]],
    *,
    training: bool,
) -> Preparation:
    def fields(index: int, row: Row) -> list[Fields]:
        return view.texts(row, training=training)

    prepare = partial(prepare_texts, prepare=encoder.prepare)
    return Preparation(fields, prepare, partial(length_of, length=encoder.num_tokens), targets)


def _no_target(index: int, row: Row, inputs: Inputs) -> None:
    return None
