"""Texts of a training, rewritten by tasks of other runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from polytask.assembly.data.pools import evaluation_pool
from polytask.assembly.data.views import views_of_any
from polytask.assembly.run.loaded_run import TrainedModel
from polytask.core.errors import RecipeError
from polytask.core.run_folder import RunFolder
from polytask.core.scratch import scratch_folder
from polytask.data.sources import sources
from polytask.recipe import Recipe, load
from polytask.recipe.mistakes import unknown
from polytask.tasks import tasks


def answer(run: str, task: str, texts: Sequence[str]) -> list[str]:
    """What a task of a run writes when it reads some texts.

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
    rows = [{column: text} for text in texts]
    table = sources.build({"kind": "rows", "rows": rows}, ()).load()["all"]
    model = TrainedModel.load(recipe, folder)
    view = next(view for view in views_of_any(recipe, "new") if task in view.tasks)
    with scratch_folder() as scratch:
        pool = evaluation_pool(replace(view, tasks=(task,)), table, model.encoder, scratch)
        return model.predict([pool], f"{run} {task}")[task].labels


def _column(recipe: Recipe, run: str, task: str) -> str:
    """The column of the texts that a task reads."""
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
