"""The model parameters at the best validation of each task.

A state is stored once, even if several tasks were best with it, and deleted when none is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from torch import Tensor

from polytask.core.files import read_json, write_json
from polytask.core.tensors import read_tensors, write_tensors

_INDEX = "steps.json"


def keep_task_best(
    folder: Path, tasks: Collection[str], step: int, state: Mapping[str, Tensor]
) -> None:
    """Write a state as the best one of some tasks.

    A crash leaves each task its old or its new state.

    :param folder: The folder with the states of all tasks; created if absent.
    """
    if not tasks:
        return
    write_tensors(_file(folder, step), state)
    steps = {**_steps(folder), **dict.fromkeys(sorted(tasks), step)}
    write_json(
        folder / _INDEX, steps
    )  # atomic, after the new state and before old ones are deleted
    needed = {folder / _INDEX, *(_file(folder, each) for each in steps.values())}
    for path in set(folder.iterdir()) - needed:
        path.unlink()


def copy_task_best(
    source: Path, target: Path, tasks: Collection[str], names: Collection[str]
) -> None:
    """Copy the best states of some tasks to another folder.

    :param names: The tensors to copy of each state.
    """
    for task, step in _steps(source).items():
        if task in tasks:
            state = read_tensors(_file(source, step))
            keep_task_best(target, [task], step, {name: state[name] for name in names})


def task_best_files(folder: Path) -> dict[str, Path]:
    """Return the file with the best state of every task that has one."""
    return {task: _file(folder, step) for task, step in _steps(folder).items()}


def _steps(folder: Path) -> dict[str, int]:
    """Return the step after which each task was best."""
    index = folder / _INDEX
    return dict(read_json(index)) if index.is_file() else {}


def _file(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}.safetensors"
