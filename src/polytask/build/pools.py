"""Views made into pools: rows prepared by the encoder, labels encoded by the tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from polytask.build.labels import Labels
from polytask.build.views import View
from polytask.core.accounting import LeftOut
from polytask.core.batch import Fields, Inputs, Row
from polytask.core.encoder import Encoder
from polytask.core.texts import collate_texts, length_of, prepare_texts
from polytask.data.pools import Collation, Pool, Preparation, at_row, make_pool
from polytask.data.rows import each_row
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
    """The rows of a view that carry a label, with their targets.

    :param copies: The same view with changes; these copies of the rows come after the rows.
    :raises DataError: If a row does not fit the encoder or a task; names file and line.
    """

    def prepared(view: View) -> Preparation:
        targets = {task: _target_of(view, table, labels[task]) for task in view.tasks}
        return _preparation(view, table, encoder, targets, lesson=True)

    changed = [prepared(copy) for copy in copies]
    return make_pool(view.name, table, prepared(view), folder, copies=changed)


def evaluation_pool(view: View, table: Table, encoder: Encoder, folder: Path) -> Pool:
    """All rows of a view, without targets, in the order of the table."""
    targets = dict.fromkeys(view.tasks, _no_target)
    preparation = _preparation(view, table, encoder, targets, lesson=False)
    pool = make_pool(view.name, table, preparation, folder, labelled=False)
    return replace(pool, fields=lambda: (view.fields(row) for row in each_row(table)))


def collation(encoder: Encoder, tasks: Mapping[str, Task]) -> Collation:
    """How rows of these tasks become tensors."""
    inputs = partial(collate_texts, collate=encoder.collate)
    return Collation(inputs, {name: task.collate for name, task in tasks.items()})


def _target_of(
    view: View, table: Table, labels: Labels
) -> Callable[[int, Row, Inputs], Any | None]:
    def target(index: int, row: Row, inputs: Inputs) -> Any | None:
        with at_row(table, index):
            lesson = labels.reference(view.source, index, row)
            lesson = None if lesson is None else view.follow(labels.task, lesson, row)
            encoded = None if lesson is None else labels.task.encode(lesson, inputs)
            return None if isinstance(encoded, LeftOut) else encoded

    return target


def _preparation(
    view: View,
    table: Table,
    encoder: Encoder,
    targets: Mapping[str, Callable[[int, Row, Inputs], Any | None]],
    *,
    lesson: bool,
) -> Preparation:
    view.require_columns(table)

    def fields(index: int, row: Row) -> list[Fields]:
        with at_row(table, index):
            return view.texts(row, lesson=lesson)

    prepare = partial(prepare_texts, prepare=encoder.prepare)
    return Preparation(fields, prepare, partial(length_of, length=encoder.length), targets)


def _no_target(index: int, row: Row, inputs: Inputs) -> None:
    return None
