"""The model at the best validation of each task.

A state is kept once, however many tasks were best with it, for as long as it is the best of one.
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
    """Keep a state as the best one of some tasks; a crash leaves every task the old or the new one.

    :param folder: Where the states of all tasks are, or will be.
    """
    if not tasks:
        return
    write_tensors(_file(folder, step), state)
    steps = {**_steps(folder), **dict.fromkeys(sorted(tasks), step)}
    write_json(folder / _INDEX, steps)
    needed = {folder / _INDEX, *(_file(folder, each) for each in steps.values())}
    for path in set(folder.iterdir()) - needed:
        path.unlink()


def copy_task_best(
    source: Path, target: Path, tasks: Collection[str], names: Collection[str]
) -> None:
    """Keep the best states of some tasks elsewhere.

    :param names: The tensors to keep of each state.
    """
    for task, step in _steps(source).items():
        if task in tasks:
            state = read_tensors(_file(source, step))
            keep_task_best(target, [task], step, {name: state[name] for name in names})


def task_best_files(folder: Path) -> dict[str, Path]:
    """The file with the best state of every task that has one."""
    return {task: _file(folder, step) for task, step in _steps(folder).items()}


def _steps(folder: Path) -> dict[str, int]:
    """The step after which each task was best."""
    index = folder / _INDEX
    return dict(read_json(index)) if index.is_file() else {}


def _file(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}.safetensors"
