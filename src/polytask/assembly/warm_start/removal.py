"""A run without one of its tasks."""

from __future__ import annotations

import shutil
from pathlib import Path

from polytask.assembly.model.assemble import (
    assemble,
    column_types,
    load_model,
    restore_parts,
    save_columns,
    save_parts,
)
from polytask.assembly.model.dependencies import find_differing, probe_inputs
from polytask.assembly.warm_start.parent_run import find_finished_run
from polytask.core.errors import RunError
from polytask.core.files import read_json, write_json, write_text
from polytask.core.run_folder import RunFolder
from polytask.core.tensors import write_tensors
from polytask.modeling import MultiTaskModel
from polytask.recipe import Recipe, dump, load
from polytask.recipe.mistakes import unknown
from polytask.training.task_best import copy_task_best

_PROBE = "the 1 cat , and a dog ."
_STALE = ("trained_parameters", "shared_parameters")
"""Facts about a training that are not true of what is left of it."""


def remove(path: Path, task: str, folder: Path) -> RunFolder:
    """Write a run that answers for all tasks of another but one, and holds nothing of that one.

    :param path: A finished run.
    :param folder: Where to write the new one.
    :raises RunError: If the run or the task is not there, the folder holds something, or the
        outputs of the other tasks depend on this one.
    """
    run, new = find_finished_run(path), RunFolder(folder)
    recipe = load(run.recipe)
    smaller = _without(recipe, task, run)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder}: is there already. Choose another folder with --run.")
    model, _ = load_model(recipe, run)
    encoder, tasks = restore_parts(smaller, run)
    left = assemble(smaller, encoder, tasks)
    _fill(left, model, task, smaller)
    columns = next(iter(smaller.tasks.values())).columns
    inputs = probe_inputs(encoder, [(_PROBE,) * len(columns)])
    if find_differing(model, left, inputs, left.tasks):
        raise _dependent(task, smaller)
    write_text(new.recipe, dump(smaller))
    save_parts(new, encoder, left)
    save_columns(new, column_types(run))
    _copy_reach(run, new, left)
    stored = left.stored.state_dict()
    write_tensors(new.parameters, stored)
    copy_task_best(run.task_best, new.task_best, left.tasks, stored)
    _copy_facts(run, new, smaller, task, left)
    return new


def _without(recipe: Recipe, task: str, run: RunFolder) -> Recipe:
    """Return a recipe without a task, the data that it alone reads, and the scores that are made of it."""
    if task not in recipe.tasks:
        raise RunError(f"{run.path}: {unknown('task', task, list(recipe.tasks))}")
    tasks = {name: section for name, section in recipe.tasks.items() if name != task}
    if not tasks:
        raise RunError(f"{run.path}: {task} is its only task. Nothing would be left.")
    read = {source for section in tasks.values() for source in section.sources}
    data = {name: section for name, section in recipe.data.items() if name in read}
    pooled = {name: pool for name, pool in recipe.pooled.items() if task not in pool.tasks}
    selected = recipe.training.select.rpartition(".")[0]
    select = recipe.training.select if selected in {*tasks, *pooled} else "average"
    training = recipe.training.only(tasks).model_copy(update={"select": select})
    return recipe.model_copy(
        update={
            "tasks": tasks,
            "data": data or recipe.data,
            "pooled": pooled,
            "training": training,
        }
    )


def _fill(left: MultiTaskModel, model: MultiTaskModel, task: str, smaller: Recipe) -> None:
    """Give a model the parameters that it has in common with a larger one."""
    own, old = left.state_dict(), model.state_dict()
    if any(name not in old or old[name].shape != tensor.shape for name, tensor in own.items()):
        raise _dependent(task, smaller)
    left.load_state_dict({name: old[name] for name in own})
    left.given = model.given & own.keys()


def _dependent(task: str, recipe: Recipe) -> RunError:
    return RunError(
        f"{task} cannot be removed: with sharing: {recipe.sharing.kind}, the outputs of "
        f"{', '.join(recipe.tasks)} depend on what {task} has learned. Train without it instead."
    )


def _copy_reach(run: RunFolder, new: RunFolder, left: MultiTaskModel) -> None:
    """Which of the tasks that are left train each parameter, where the run knows."""
    if run.reach.is_file():
        known = read_json(run.reach)
        names = [name for name, _ in left.named_parameters() if name in known]
        reach = {name: [t for t in known[name] if t in left.tasks] for name in names}
        write_json(new.reach, reach)


def _copy_facts(
    run: RunFolder, new: RunFolder, recipe: Recipe, task: str, left: MultiTaskModel
) -> None:
    """The splits of the data that are left, and ``run.json``; with it the folder becomes a run."""
    for name in recipe.data:
        kept = run.splits / f"{name}.json"
        if kept.is_file():
            new.splits.mkdir(exist_ok=True)
            shutil.copyfile(kept, new.splits / kept.name)
    facts = {key: value for key, value in read_json(run.facts).items() if key not in _STALE}
    facts["parameters"] = sum(parameter.numel() for parameter in left.parameters())
    facts["data"] = {name: value for name, value in facts["data"].items() if name in recipe.data}
    removed = [*facts.get("removed", ()), {"task": task, "from": str(run.path)}]
    write_json(new.facts, {**facts, "removed": removed})
