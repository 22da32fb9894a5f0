"""Trainings of some of a recipe's tasks; what has been trained once is not trained again."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from polytask.analysis.subset_recipe import compare_of, subset_balancing, subset_sharing
from polytask.assembly.data.loading import TRAIN, VALIDATION, Data
from polytask.assembly.data.scoring import metrics_of
from polytask.assembly.model.assemble import new_tasks
from polytask.assembly.run.evaluation import evaluate, held_out
from polytask.assembly.run.loaded_run import LoadedRun
from polytask.assembly.run.training import train
from polytask.core.files import read_json, write_json
from polytask.evaluation.coverage import value_of
from polytask.recipe import Recipe, dump

Scores = dict[str, float]
"""Task to the metric that stands for it, higher is better; nan where it is undefined."""


def part_of(recipe: Recipe, tasks: Sequence[str], data: Data | None = None) -> Recipe:
    """Return the recipe of some of the tasks, with their share of a budget in steps.

    :param data: The rows; the share is in proportion to them.
    """
    chosen = {name: recipe.tasks[name] for name in recipe.tasks if name in tasks}
    sources = {source for section in chosen.values() for source in section.sources}
    training = recipe.training.only(chosen).model_copy(update={"select": "average"})
    if training.steps is not None and data is not None:
        rows = {name: _rows(recipe, data, name) for name in recipe.tasks}
        share = sum(rows[name] for name in chosen) / sum(rows.values())
        training = training.model_copy(update={"steps": max(1, round(share * training.steps))})
    return recipe.model_copy(
        update={
            "tasks": chosen,
            "pooled": {},
            "data": {name: part for name, part in recipe.data.items() if name in sources},
            "training": training,
            "balancing": subset_balancing(recipe, chosen),
            "sharing": subset_sharing(recipe, chosen),
            "compare": compare_of(recipe),
        }
    )


def _rows(recipe: Recipe, data: Data, task: str) -> int:
    tables = data.split(TRAIN)
    rows = sum(len(tables[source]) for source in recipe.tasks[task].sources if source in tables)
    return min(rows, recipe.tasks[task].limit or rows)


@dataclass(frozen=True)
class Trainer:
    """Trains parts of a recipe and scores them.

    :param folder: Where results are kept, by the content of what was trained.
    :param seeds: Of the repetitions.
    :param done: Called after every training.
    """

    recipe: Recipe
    data: Data
    folder: Path
    seeds: Sequence[int]
    done: Callable[[], None] = lambda: None

    def scores(
        self, tasks: Sequence[str], split: str, recipe: Recipe | None = None
    ) -> list[Scores]:
        """Return the scores of a model of some tasks, one for each seed; train where needed.

        :param split: ``validation``, or ``held out``, which is test where there is a test.
        :param recipe: Instead of the whole recipe, such as one with fewer rows.
        """
        part = part_of(recipe or self.recipe, tasks, self.data)
        return [self._score(part, seed)[split] for seed in self.seeds]

    def _score(self, part: Recipe, seed: int) -> dict[str, Scores]:
        update = {"seed": seed, "interference": 0, "trackers": (), "task_best": False}
        training = part.training.model_copy(update=update)
        evaluation = part.evaluation.model_copy(update={"bootstrap": 0})
        seeded = part.model_copy(update={"training": training, "evaluation": evaluation})
        key = hashlib.sha256(dump(seeded).encode()).hexdigest()[:16]
        path = self.folder / f"{key}.json"
        if not path.is_file():
            write_json(path, self._train(seeded, self.folder / key))
        self.done()
        return {
            split: {task: math.nan if value is None else value for task, value in own.items()}
            for split, own in read_json(path)["scores"].items()
        }

    def _train(self, recipe: Recipe, folder: Path) -> dict[str, Any]:
        data = self.data.of(recipe)
        run = train(recipe, folder, resume=True, data=data, console=Console(quiet=True))
        splits = {"held out": held_out(data)}
        if data.split(VALIDATION):
            splits["validation"] = VALIDATION
        loaded = LoadedRun.load(run)
        found = {n: evaluate(loaded, split, data=data).scores for n, split in splits.items()}
        scores = {name: _main(recipe, each["tasks"]) for name, each in found.items()}
        shutil.rmtree(folder)
        seed = recipe.training.seed
        scores.setdefault("validation", scores["held out"])
        return {"tasks": [*recipe.tasks], "seed": seed, "scores": scores}


def _main(recipe: Recipe, scores: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    """Return the main score of each task, more being better; None where undefined or without rows."""
    found = {}
    for name, (first, *_) in metrics_of(recipe, new_tasks(recipe)).items():
        value = value_of(scores.get(name, {}), first.name)
        found[name] = value if value is None or first.higher_is_better else -value
    return found


def relative_gain(score: float, alone: float) -> float:
    """Return the gain over single-task training, as a share of its score; nan if either is nan.

    Positive is better.

    Vandenhende et al., "Multi-Task Learning for Dense Prediction Tasks: A Survey", TPAMI 2021,
    equation 3, for one task. https://arxiv.org/abs/2004.13379
    """
    return (score - alone) / abs(alone) if alone else score - alone
