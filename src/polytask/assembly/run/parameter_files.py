"""Which file of parameters answers for each task of a run, and the models loaded from them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from pathlib import Path

from polytask.core.errors import RunError
from polytask.core.run_folder import RunFolder
from polytask.core.tensors import read_tensors
from polytask.modeling import MultiTaskModel
from polytask.training.task_best import task_best_files


def find_parameter_files(
    run: RunFolder, tasks: Iterable[str], *, task_best: bool
) -> dict[str, Path]:
    """The parameters for each task; a task that was never validated has the parameters of the best model."""
    best = task_best_files(run.task_best) if task_best else {}
    if task_best and not best:
        raise RunError(
            f"{run.path}: holds no best model of each task. Train with "
            "training.task_best: true, and with validation rows."
        )
    return {task: best.get(task, run.parameters) for task in tasks}


def load_models(
    model: MultiTaskModel, run: RunFolder, files: Iterable[Path]
) -> Iterator[tuple[Path, MultiTaskModel]]:
    """Yield a model for each file of parameters, first the one that is loaded."""
    yield run.parameters, model
    for file in dict.fromkeys(files):
        if file != run.parameters:
            other = copy.deepcopy(model)
            other.stored.load_state_dict(read_tensors(file))
            yield file, other
