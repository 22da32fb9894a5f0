"""Tasks whose losses read the scores of other tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from polytask.core.batch import pick
from polytask.core.errors import RecipeError
from polytask.tasks import Head, Task
from polytask.tasks.labels import did_you_mean


class Readers:
    """Adds the rows of tasks to the tasks whose scores they read, and hands them the scores.

    :param tasks: All tasks of a model.
    :raises RecipeError: If a task reads scores that it cannot.
    """

    def __init__(self, tasks: Mapping[str, Task]) -> None:
        check_reads(tasks)
        self._reads = {name: task.reads_scores for name, task in tasks.items() if task.reads_scores}
        self.tasks = frozenset(self._reads).union(*self._reads.values())
        """The tasks that read scores, and those that are read."""

    def rows(self, rows: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the rows that each task scores, for itself and for the tasks that read it.

        :param rows: For each task wanted, the rows it reads, ascending.
        """
        found = dict(rows)
        for name, rows_b in rows.items():
            for other in self._read_by(name):
                own_b = found.get(other)
                found[other] = rows_b if own_b is None else torch.cat([own_b, rows_b]).unique()
        return found

    def hand_over(
        self, scores: Mapping[str, Any], wanted: Mapping[str, Tensor], rows: Mapping[str, Tensor]
    ) -> dict[str, Any]:
        """Return the scores of every task for its own rows, as its loss reads them.

        :param scores: Scores of the rows that each task scores.
        :param wanted: These rows (see ``rows``).
        :param rows: The rows of each task.
        """
        return {name: self._hand_on(name, rows_b, scores, wanted) for name, rows_b in rows.items()}

    def check_heads(self, heads: Mapping[str, Head]) -> None:
        """Refuse tasks that read scores which depend on targets.

        :param heads: The head of every task.
        :raises RecipeError: Names the first one.
        """
        for name, others in self._reads.items():
            for other in others:
                if heads[other].reads_rows:
                    text = f"tasks.{name}: reads the scores of {other!r}, which need its targets"
                    raise RecipeError([f"{text}. Choose another task."])

    def _hand_on(
        self, name: str, rows_b: Tensor, scores: Mapping[str, Any], wanted: Mapping[str, Tensor]
    ) -> Any:
        own = scores[name]
        if len(wanted[name]) != len(rows_b):
            own = pick(own, torch.searchsorted(wanted[name], rows_b))
        if name not in self._reads:
            return own
        others = {
            other: self._hand_on(other, rows_b, scores, wanted) for other in self._reads[name]
        }
        return {name: own, **others}

    def _read_by(self, name: str) -> Iterator[str]:
        """Yield all tasks whose scores a task reads, also through another one."""
        for other in self._reads.get(name, ()):
            yield other
            yield from self._read_by(other)


def check_reads(tasks: Mapping[str, Task]) -> None:
    """Refuse tasks that read scores of tasks that are not there, of themselves, or of other rows.

    :param tasks: All tasks of a model, which know their input columns.
    :raises RecipeError: Names all such tasks.
    """
    mistakes = [
        f"tasks.{name}: reads the scores of {other!r}, {why}"
        for name, task in tasks.items()
        for other in task.reads_scores
        if (why := _why_not(name, other, tasks))
    ]
    if mistakes:
        raise RecipeError(mistakes)


def _why_not(name: str, other: str, tasks: Mapping[str, Task]) -> str | None:
    if other not in tasks:
        known = [one for one in tasks if one != name]
        return f"which is no task.{did_you_mean(other, known)} Tasks: {', '.join(known)}."
    if name in _find_reached(other, tasks):
        return f"which reads the scores of {name!r} in turn. Leave out one of them."
    own, others = tasks[name], tasks[other]
    exclusive = {own.inputs.rows, others.inputs.rows} != {"shared"}
    if (
        exclusive
        or own.input_columns != others.input_columns
        or own.inputs.read_as != others.inputs.read_as
    ):
        return (
            f"but not the same rows: {_find_readers(own)} here, {_find_readers(others)} there. Give both "
            "the same input, and a kind that reads rows alike."
        )
    return None


def _find_reached(name: str, tasks: Mapping[str, Task]) -> set[str]:
    """Return a task with all tasks whose scores it reads, also through others."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        one = waiting.pop()
        if one in tasks and one not in found:
            found.add(one)
            waiting += tasks[one].reads_scores
    return found


def _find_readers(task: Task) -> str:
    return f"{', '.join(task.input_columns)} ({task.inputs.read_as}, {task.inputs.rows} rows)"
