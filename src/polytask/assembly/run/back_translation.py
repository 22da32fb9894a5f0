"""Texts of a training, rewritten by tasks of other runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polytask.assembly.run.loaded_run import LoadedRun
from polytask.core.errors import DataError, RecipeError
from polytask.core.run_folder import RunFolder
from polytask.recipe import Recipe, load
from polytask.recipe.mistakes import unknown
from polytask.tasks import tasks


def answer(run: str, task: str, texts: Sequence[str]) -> list[str]:
    """Return the texts that a task of a run writes when it reads some texts.

    :param run: Its folder.
    :raises RecipeError: If there is no such run, or the task does not write a text from one.
    """
    folder = RunFolder(Path(run))
    if not folder.recipe.is_file():
        raise RecipeError([f"augment: {run}: is not a run folder. Train one first."])
    recipe = load(folder.recipe)
    column = _column(recipe, run, task)
    if not texts:
        return []
    loaded = LoadedRun.load(folder)
    records = loaded.predict([{column: text} for text in texts], [task])
    return [_write(run, record[task]) for record in records]


def _write(run: str, answer: Mapping[str, Any]) -> str:
    """Return the text of an answer.

    :raises DataError: If the task could not read the row.
    """
    if "error" in answer:
        raise DataError(f"augment: {run}: {answer['error']}")
    text: str = answer["label"]
    return text


def _column(recipe: Recipe, run: str, task: str) -> str:
    """Return the column of the texts that a task reads."""
    if task not in recipe.tasks:
        raise RecipeError([f"augment: {run}: {unknown('task', task, list(recipe.tasks))}"])
    section = recipe.tasks[task]
    if tasks.part(section.part.kind).label_type != "text" or len(section.columns) != 1:
        raise RecipeError(
            [
                f"augment: {run}: task {task!r} reads {', '.join(section.columns)} and is of kind "
                f"{section.part.kind}; expected one column, and a kind that writes texts."
            ]
        )
    return section.columns[0]
