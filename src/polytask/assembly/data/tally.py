"""Labels read and counted while the rows of a table are prepared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from polytask.assembly.data.labels import Labels, has_label_column
from polytask.assembly.data.views import View
from polytask.core.accounting import CUT, NO_COLUMN, NO_LABEL, NOT_IN_TEXT, Account, LeftOut
from polytask.core.batch import Inputs, Row
from polytask.core.errors import DataError
from polytask.core.texts import CUT as CUT_INPUT
from polytask.data.tables import Table
from polytask.tasks import Task

_SHOWN = 3
"""How many rows with mistakes are named."""


@dataclass
class Mistakes:
    """Labels that do not fit their rows; the first few are named.

    All rows are read before training stops, so that a person sees more than the first mistake.
    """

    first: list[str] = field(default_factory=list)
    rows: int = 0

    def add(self, place: str, error: DataError) -> None:
        """Count one row."""
        self.rows += 1
        if self.rows <= _SHOWN:
            self.first.append(f"{place}: {error}")

    def check(self) -> None:
        """Raise what was found.

        :raises DataError: Names file and line of the first rows, and how many more there are.
        """
        if self.rows:
            more = self.rows - len(self.first)
            raise DataError("\n".join([*self.first, *[f"... and {more} more like these."][:more]]))


@dataclass
class LearnedLabels:
    """The targets of one task in a table that is trained on, counted row by row.

    :param view: How the rows are read; where it makes changed copies, nothing should be counted.
    """

    view: View
    table: Table
    labels: Labels
    mistakes: Mistakes
    account: Account = field(default_factory=Account)

    def __call__(self, index: int, row: Row, inputs: Inputs) -> Any | None:
        """Return the target of a row, None if it has none to learn from."""
        task, place = self.labels.task, partial(self.table.place_of, row)
        try:
            target = self._target(index, row, inputs)
        except DataError as error:
            self.mistakes.add(place(), error)
            return None
        if isinstance(target, LeftOut):
            self.account.leave_out(target.reason, place)
            return None
        self.account.use()
        for remark in _remarks(task, row, inputs):
            self.account.remark(remark, place)
        return target

    def _target(self, index: int, row: Row, inputs: Inputs) -> Any | LeftOut:
        label = self.labels.training_label(self.view.source, index, row)
        if isinstance(label, LeftOut):
            return label
        label = self.view.augment_label(self.labels.task, label, row)
        return LeftOut(NO_LABEL) if label is None else self.labels.task.encode(label, inputs)


@dataclass
class ScoredLabels:
    """The references of one task in a held-out table, counted and checked row by row.

    Every labelled row is scored. What training would leave out is remarked upon.

    :param references: The reference of every row so far; None where it has no label.
    """

    table: Table
    task: Task
    mistakes: Mistakes
    account: Account = field(default_factory=Account)
    references: list[Any | None] = field(default_factory=list)

    def __call__(self, index: int, row: Row, inputs: Inputs) -> None:
        """Take in a row."""
        place = partial(self.table.place_of, row)
        reference = None
        try:
            if has_label_column(self.task, row):
                reference = self.task.reference(row)
            remarks = [] if reference is None else [*self._check(row, inputs)]
        except DataError as error:
            self.mistakes.add(place(), error)
            return
        self.references.append(reference)
        if reference is None:
            reason = NO_LABEL if has_label_column(self.task, row) else NO_COLUMN
            self.account.leave_out(reason, place)
            return
        self.account.use()
        for remark in remarks:
            self.account.remark(remark, place)

    def _check(self, row: Row, inputs: Inputs) -> Iterator[str]:
        """Encode the label as training does, so that one which does not fit its row is found."""
        if (
            self.task.inputs.rows != "prompts"
        ):  # its prompts hold no completion here that could be encoded
            try:
                label = self.task.training_label(row)
            except DataError:  # a reference that can be scored, but not learned from
                yield NOT_IN_TEXT
            else:
                encoded = self.task.encode(label, inputs)
                if isinstance(encoded, LeftOut):
                    yield encoded.reason
        yield from _remarks(self.task, row, inputs)


def _remarks(task: Task, row: Row, inputs: Inputs) -> Iterable[str]:
    correction = task.correction(row)
    if correction:
        yield correction
    if inputs.get(CUT_INPUT):
        yield CUT
