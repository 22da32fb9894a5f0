"""The reasons: which tasks pull in other directions, which help each other, which belong together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from polytask.analysis.curve import curve, trainings_of_curve
from polytask.analysis.describe import description
from polytask.analysis.interference import aggregate
from polytask.analysis.pairwise import pairwise, trainings_of_pairs
from polytask.analysis.proposal import propose, trainings_to_verify, verify, write_recipes
from polytask.analysis.trainings import Trainer
from polytask.analysis.transference import from_looks, lookahead
from polytask.analysis.uncertainty import Floats, matrix_record
from polytask.assembly.data.inputs import with_columns
from polytask.assembly.data.loading import Data, load_data
from polytask.assembly.run.inspection import Opened, open_trained
from polytask.core.errors import RunError
from polytask.core.files import write_json
from polytask.core.run_folder import RunFolder
from polytask.recipe import Recipe, load

Record = dict[str, Any]
_ENOUGH = 5
"""Looks during a training from which what they say is preferred to looks after it."""
MEANINGS = {
    "pairwise": "relative gain of the validation score over the task alone",
    "training": "affinity to first order, averaged over the training",
    "lookahead": "affinity on training rows of the trained model",
    "first_order": "the same to first order",
}


@dataclass(frozen=True)
class AnalysisOptions:
    """The measurements to make.

    :param steps: Steps of training rows that the trained model is looked at on.
    :param models: The most models that tasks are grouped into; None: as many as help.
    :param parameters: The most parameters of these models together, each counted as the run's own.
    :param overlapping: Whether groups may overlap.
    :param pairwise: Whether to train every pair of tasks.
    :param verify: Whether to train the proposed groups.
    :param seeds: Repetitions of each of these trainings.
    :param curve: Numbers of training rows of a learning curve.
    """

    steps: int = 20
    models: int | None = None
    parameters: int | None = None
    overlapping: bool = False
    pairwise: bool = False
    verify: bool = False
    seeds: int = 1
    curve: Sequence[int] = ()

    def within(self, size: int) -> AnalysisOptions:
        """Return the options with as many models as the parameters allow.

        :param size: The parameters of a model.
        :raises RunError: If they are not enough for one.
        """
        if self.parameters is None:
            return self
        if self.parameters < size:
            raise RunError(
                f"{self.parameters:,} parameters were given as the most that groups may have, but "
                f"one model of this run has {size:,}."
            )
        models = self.parameters // size
        return replace(self, models=min(models, self.models or models))


def analyse(run: RunFolder, wanted: AnalysisOptions, console: Console) -> Record:
    """Analyse a run; the records go into its ``analysis`` folder.

    :return: The records by name: ``describe``, ``interference``, ``transference``, ``groups``,
        ``curve``.
    :raises RunError: If the run holds one task, or no model, or one with too many parameters.
    :raises DataError: If its training rows are gone.
    """
    recipe = load(run.recipe)
    _check(recipe, run.path)
    with console.status("reading rows"), open_trained(run) as opened:
        data = opened.data
        if not opened.partition.shared:
            raise RunError(
                f"{run.path}: its tasks share no parameters, so none can help or hurt another. "
                "Choose another sharing than 'independent'."
            )
        structure = description(opened)
        wanted = wanted.within(structure["parameters"]["all"])
        looks, after = _looks(opened, wanted.steps, console)
    tasks = [*recipe.tasks]
    during = [*_records(run.interference)]
    seen, when = (during, "training") if during else (looks, "after")
    found = {"describe": structure, "interference": aggregate(seen, tasks, when)}
    samples = {"lookahead": [a for a, _ in after], "first_order": [b for _, b in after]}
    if during:
        samples["training"] = from_looks(during, tasks)
    found |= _with_trainings(recipe, data, run.analysis, wanted, console, samples)
    return _write(found, run.analysis)


def analyse_recipe(
    recipe: Recipe, folder: Path, wanted: AnalysisOptions, console: Console
) -> Record:
    """Analyse a recipe without a run: learning curves, and pairs of tasks.

    :raises RunError: If the recipe holds one task, or neither is asked for, or models of a size.
    """
    _check(recipe, folder)
    if not (wanted.pairwise or wanted.curve):
        raise RunError(
            "a recipe without a run can be analysed with --curve or --pairwise. For gradients, "
            "train it first: polytask train, then polytask analyse RUN."
        )
    if wanted.parameters is not None:
        raise RunError(
            "how many parameters a model has is known of a run only. Give the number of models "
            "instead, or a run."
        )
    recipe = with_columns(recipe)
    with console.status("reading rows"):
        data = load_data(recipe, folder / "splits")
    data.keep_splits(folder / "splits")
    return _write(_with_trainings(recipe, data, folder, wanted, console, {}), folder)


def _check(recipe: Recipe, place: Path) -> None:
    if len(recipe.tasks) < 2 or len(recipe.trained) < len(recipe.tasks):
        found = ", ".join(recipe.trained)
        raise RunError(
            f"{place}: trains {len(recipe.trained)} of {len(recipe.tasks)} tasks ({found}). An "
            "analysis compares tasks: it needs at least two, and all of them trained."
        )


def _looks(
    opened: Opened, steps: int, console: Console
) -> tuple[list[Record], list[tuple[Floats, Floats]]]:
    """Measure gradient agreement and affinities of a trained model on steps of training rows."""
    observer = opened.observer()
    looks, affinities = [], []
    with Progress(console=console, transient=True) as bar:
        shown = bar.add_task("looking ahead", total=steps)
        for number, batches in enumerate(opened.steps(steps), start=1):
            looks.append({"step": number, **observer.look(batches)})
            affinities.append(lookahead(observer, batches))
            bar.advance(shown)
    return looks, affinities


def _records(path: Path) -> Iterator[Record]:
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n"):
                yield json.loads(line)


def _with_trainings(
    recipe: Recipe,
    data: Data,
    folder: Path,
    wanted: AnalysisOptions,
    console: Console,
    samples: dict[str, list[Floats]],
) -> Record:  # fmt: skip
    """Collect the known affinities, completed by trainings where these are asked for."""
    tasks, found = [*recipe.tasks], {}
    seeds = [recipe.training.seed + number for number in range(wanted.seeds)]
    with _trainer(recipe, data, folder, seeds, console) as (trainer, bar):
        if wanted.pairwise:
            bar("training pairs", trainings_of_pairs(len(tasks), len(seeds)))
            samples = {"pairwise": pairwise(trainer, tasks), **samples}
        if samples:
            found["transference"] = transference(samples, tasks)
            method = found["transference"]["preferred"]
            found["groups"] = {
                "from": method,
                **_groups(recipe, data, folder, wanted, samples[method]),
            }
        if wanted.verify and samples:
            proposed = found["groups"]["proposed"]
            count = trainings_to_verify(len(tasks), len(proposed["groups"]), len(seeds))
            bar("verifying groups", count)
            found["groups"]["verified"] = verify(trainer, proposed)
        if wanted.curve:
            sizes = sorted(set(wanted.curve))
            bar("learning curve", trainings_of_curve(len(tasks), len(sizes), len(seeds)))
            found["curve"] = curve(trainer, sizes)
    return found


def transference(samples: dict[str, list[Floats]], tasks: Sequence[str]) -> Record:
    """Return the record of ``transference.json``: a row per task and a column per helper."""
    return {
        "format": 1,
        "tasks": list(tasks),
        "rows": "task that is helped",
        "columns": "helper",
        "preferred": choose_method(samples),
        "methods": {
            name: {"meaning": MEANINGS[name], **matrix_record(matrices)}
            for name, matrices in samples.items()
        },
    }


def choose_method(samples: dict[str, list[Floats]]) -> str:
    """Choose the affinities that groups are made from: trainings first, then recorded gradients."""
    if "pairwise" in samples:
        return "pairwise"
    return "training" if len(samples.get("training", ())) >= _ENOUGH else "lookahead"


def _groups(
    recipe: Recipe, data: Data, folder: Path, wanted: AnalysisOptions, samples: Sequence[Floats]
) -> Record:
    tasks = [*recipe.tasks]
    models = None if wanted.models is None else min(wanted.models, len(tasks))
    found = propose(samples, tasks, models, overlapping=wanted.overlapping)
    written = write_recipes(recipe, found["proposed"]["groups"], folder, data)
    return {**found, "recipes": [path.relative_to(folder).as_posix() for path in written]}


@contextmanager
def _trainer(
    recipe: Recipe, data: Data, folder: Path, seeds: Sequence[int], console: Console
) -> Iterator[tuple[Trainer, Any]]:
    """Return a trainer, and a function that resets its progress bar to a title and a total."""
    with Progress(console=console, transient=True) as bar:
        shown = bar.add_task("", visible=False)
        trainer = Trainer(recipe, data, folder / "trainings", seeds, lambda: bar.advance(shown))
        yield (
            trainer,
            lambda title, total: bar.reset(shown, description=title, total=total, visible=True),
        )


def _write(found: Record, folder: Path) -> Record:
    for name, record in found.items():
        write_json(folder / f"{name}.json", record)
    return found
