"""The model of a run, ready to answer, each task with the parameters that were kept for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from polytask.assembly.data.pools import collation
from polytask.assembly.model.assemble import load_model
from polytask.core.encoder import Encoder
from polytask.core.errors import RunError
from polytask.core.run_folder import RunFolder
from polytask.core.tensors import read_tensors
from polytask.data.pools import Pool
from polytask.evaluation.predict import Predictor
from polytask.recipe import Recipe
from polytask.tasks import Predictions, Task
from polytask.training.precision import Precision, select_device
from polytask.training.task_best import task_best_files


@dataclass
class TrainedModel:
    """Encoder and tasks of a run, and what it takes to run them over rows.

    :param files: The parameters that answer for each task.
    :param loaded: The parameters that the model has now.
    """

    encoder: Encoder
    tasks: Mapping[str, Task]
    predictor: Predictor
    files: Mapping[str, Path]
    loaded: Path

    @classmethod
    def load(cls, recipe: Recipe, run: RunFolder, *, task_best: bool = False) -> TrainedModel:
        """Where, and in the precision in which, the recipe trains it.

        :param task_best: Let each task answer with the parameters of its own best validation.
        :raises RunError: If the run does not hold these parameters.
        """
        model, encoder = load_model(recipe, run)
        device = select_device(recipe.training.device)
        precision = Precision.choose(recipe.training.precision, device)
        predictor = Predictor(
            model.to(device),
            collation(encoder, model.tasks),
            device,
            recipe.training.batch_tokens,
            precision.autocast,
        )
        files = _files(run, model.tasks, task_best=task_best)
        return cls(encoder, model.tasks, predictor, files, run.parameters)

    def predict(
        self, pools: Sequence[Pool], label: str, *, vectors: bool = False
    ) -> dict[str, Predictions]:
        """Predict every task of every pool, with one encoder pass per file of parameters.

        A bar is shown on standard error where that is a terminal.

        :param label: What the rows are called there.
        :param vectors: Return vectors of rows in place of labels.
        """
        passes = [(file, _narrowed(pools, own)) for file, own in self._tasks_of_files().items()]
        found: dict[str, Predictions] = {}
        compute = self.predictor.vectors if vectors else self.predictor
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            rows = sum(len(pool) for _, narrowed in passes for pool in narrowed)
            shown = bar.add_task(f"predicting {label} rows", total=rows)
            for file, narrowed in passes:
                self._use(file)
                found |= compute(narrowed, lambda done: bar.advance(shown, done))
        return {name: found[name] for name in self.tasks if name in found}

    def _tasks_of_files(self) -> dict[Path, set[str]]:
        tasks: dict[Path, set[str]] = {}
        for task, file in self.files.items():
            tasks.setdefault(file, set()).add(task)
        return tasks

    def _use(self, file: Path) -> None:
        if file != self.loaded:
            self.predictor.model.stored.load_state_dict(read_tensors(file))
            self.loaded = file


def _files(run: RunFolder, tasks: Iterable[str], *, task_best: bool) -> dict[str, Path]:
    """The parameters for each task; a task that was never validated has those of the best model."""
    best = task_best_files(run.task_best) if task_best else {}
    if task_best and not best:
        raise RunError(
            f"{run.path}: holds no best model of each task. Train with "
            "training.task_best: true, and with validation rows."
        )
    return {task: best.get(task, run.parameters) for task in tasks}


def _narrowed(pools: Sequence[Pool], tasks: set[str]) -> list[Pool]:
    """The pools that some tasks read, for them alone."""
    return [
        replace(pool, tasks=tuple(task for task in pool.tasks if task in tasks))
        for pool in pools
        if tasks & set(pool.tasks)
    ]
