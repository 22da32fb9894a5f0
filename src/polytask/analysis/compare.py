"""Ways of training the same tasks, compared on the same rows, seeds and budget.

Every result is written when it is known, so a comparison that was stopped goes on where it was.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from rich.console import Console

from polytask.analysis.linear import CountedTasks
from polytask.analysis.linear_strategies import LINEAR, count_rows, linear_result
from polytask.build.data import TRAIN, Data, load_data
from polytask.build.evaluation import Evaluated, evaluate, held_out
from polytask.build.labels import Labels, fit_tasks
from polytask.build.model import new_tasks
from polytask.build.scoring import metrics_of, poolings_of
from polytask.build.training import train
from polytask.core.errors import RecipeError, RunError
from polytask.core.files import read_json, write_json, write_text
from polytask.evaluation.score import Outcome, Pooling, score_pooled
from polytask.recipe import CompareOptions, Recipe, dump
from polytask.recipe.mistakes import hint
from polytask.tasks import Metric, Task
from polytask.training.options import TrainingOptions

FORMAT = 1
Result = dict[str, Any]
_SUMMED = ("parameters", "trained_parameters", "seconds", "tokens")


@dataclass(frozen=True)
class Comparison:
    """What every strategy works with.

    :param recipe: The experiment; its training section is the budget of every strategy.
    :param data: Rows, split and freed of leaks once for all strategies.
    :param tasks: Tasks fitted on the training rows, for their metrics.
    :param labels: What each of them may learn from.
    :param folder: Where runs and results are kept.
    """

    recipe: Recipe
    data: Data
    tasks: Mapping[str, Task]
    labels: Mapping[str, Labels]
    folder: Path
    console: Console

    @cached_property
    def counted(self) -> CountedTasks:
        """The terms of all rows, for the linear strategies."""
        return count_rows(self.recipe, self.data, self.tasks, self.labels)

    @cached_property
    def pooled(self) -> dict[str, Pooling]:
        """The poolings of which all tasks have rows that results are reported on."""
        there = set(self.data.split(held_out(self.data)))
        sections = self.recipe.tasks
        scored = [name for name in self.tasks if there & set(sections[name].sources)]
        return poolings_of(self.recipe, {name: self.tasks[name] for name in scored})


def compare(recipe: Recipe, folder: Path, console: Console | None = None) -> dict[str, Any]:
    """Run every strategy with every seed, as far as that has not been done; write the record.

    :return: The content of ``comparison.json``.
    :raises RecipeError: If there is no such strategy.
    :raises RunError: If the folder holds something else.
    """
    mistakes = unknown_strategies(recipe)
    if mistakes:
        raise RecipeError(mistakes)
    recipe = recipe.model_copy(update={"tasks": recipe.trained})  # kept tasks have no rows
    begun = _begun(folder, recipe)
    data = load_data(recipe, folder / "splits")
    tasks = new_tasks(recipe)
    labels = fit_tasks(recipe, tasks, data.split(TRAIN))
    if not begun:
        write_text(folder / "recipe.yaml", _kept(recipe))  # first: from here on it can go on
    data.keep_splits(folder / "splits")
    comparison = Comparison(recipe, data, tasks, labels, folder, console or Console(stderr=True))
    seeds = [recipe.training.seed + offset for offset in range(recipe.compare.seeds)]
    results = [
        _result(comparison, strategy, seed)
        for seed in seeds
        for strategy in recipe.compare.strategies
        if strategy not in LINEAR or seed == seeds[0]  # those do not depend on the seed
    ]
    record = _record(comparison, seeds, results)
    write_json(folder / "comparison.json", record)
    return record


def _joint(comparison: Comparison, seed: int) -> Result:
    """All tasks in one model, as the recipe says."""
    place = Path("joint") / f"seed-{seed}"
    sums, (scores, _) = _trained(comparison, comparison.recipe, seed, place)
    return {**sums, "scores": {**scores["tasks"], **scores["pooled"]}}


def _single(comparison: Comparison, seed: int) -> Result:
    """A model of its own for every task; together they see the rows that the joint one sees."""
    parts = [
        _trained(comparison, _alone(comparison, task), seed, Path("single") / f"seed-{seed}" / task)
        for task in comparison.recipe.tasks
    ]
    sums = {name: sum(part[name] for part, _ in parts) for name in _SUMMED}
    scores: dict[str, Any] = {}
    outcomes: dict[str, Outcome] = {}
    for _, evaluated in parts:
        scores |= evaluated.scores["tasks"]
        outcomes |= evaluated.outcomes
    pooled = score_pooled(outcomes, comparison.pooled, comparison.recipe.evaluation)
    return {**sums, "scores": {**scores, **pooled}}


def _trained(
    comparison: Comparison, recipe: Recipe, seed: int, place: Path
) -> tuple[dict[str, Any], Evaluated]:
    """What one model has cost, and how good it is; its checkpoints are not kept."""
    training = recipe.training.model_copy(update={"seed": seed})
    seeded = recipe.model_copy(update={"training": training})
    folder = comparison.folder / place
    comparison.console.print(f"{place}", style="bold")
    run = train(
        seeded, folder, resume=True, data=comparison.data.of(seeded), console=comparison.console
    )
    split = held_out(comparison.data)
    evaluated = evaluate(run, split, data=comparison.data.of(seeded))
    shutil.rmtree(run.checkpoints, ignore_errors=True)
    facts = read_json(run.facts)
    return {name: facts[name] for name in _SUMMED}, evaluated


def _linear(strategy: str, comparison: Comparison, seed: int) -> Result:
    """A linear model over words."""
    comparison.console.print(strategy, style="bold")
    with comparison.console.status("fitting linear models"):
        return linear_result(
            strategy,
            comparison.counted,
            comparison.recipe,
            comparison.data,
            comparison.tasks,
            comparison.pooled,
        )


def _alone(comparison: Comparison, task: str) -> Recipe:
    """The recipe of one task alone, with its part of a budget that is given in steps."""
    recipe = comparison.recipe
    training = recipe.training
    if training.steps is not None:
        share = _rows(comparison, task) / sum(_rows(comparison, name) for name in recipe.tasks)
        training = training.model_copy(update={"steps": max(1, round(share * training.steps))})
    section = {task: recipe.tasks[task]}
    update = {"tasks": section, "pooled": {}, "training": _selecting_average(training)}
    return recipe.model_copy(update=update)


def _selecting_average(training: TrainingOptions) -> TrainingOptions:
    """A single task selects by its own metric, whichever task the recipe names."""
    return training.model_copy(update={"select": "average"})


def _rows(comparison: Comparison, task: str) -> int:
    tables = comparison.data.split(TRAIN)
    rows = sum(len(tables[source]) for source in comparison.recipe.tasks[task].sources)
    return min(rows, comparison.recipe.tasks[task].limit or rows)


def _result(comparison: Comparison, strategy: str, seed: int) -> Result:
    """The result of one strategy and seed, from its file if it has been computed before."""
    path = comparison.folder / "results" / f"{strategy}-{seed}.json"
    if path.is_file():
        return dict(read_json(path))
    result = {"strategy": strategy, "seed": seed, **STRATEGIES[strategy](comparison, seed)}
    write_json(path, result)
    return result


def unknown_strategies(recipe: Recipe) -> list[str]:
    """What is wrong with the strategies that a recipe names."""
    return [
        f"compare.strategies: no strategy called {name!r}.{hint(name, STRATEGIES)} "
        f"Known: {', '.join(STRATEGIES)}."
        for name in recipe.compare.strategies
        if name not in STRATEGIES
    ]


def _begun(folder: Path, recipe: Recipe) -> bool:
    """Whether the folder holds a comparison to go on with, of the same tasks, data and budget."""
    kept = folder / "recipe.yaml"
    if folder.is_file():
        raise RunError(f"{folder}: is a file. Name a folder with --run.")
    if (folder / "run.json").is_file():
        raise RunError(f"{folder}: holds a training. Choose another folder with --run.")
    if kept.is_file():
        if kept.read_text(encoding="utf-8") != _kept(recipe):
            raise RunError(
                f"{folder}: holds a comparison of another recipe, {kept}. Choose another folder "
                "with --run."
            )
        return True
    if folder.exists() and any(not file.name.startswith(".") for file in folder.iterdir()):
        raise RunError(f"{folder}: the folder is not empty. Choose another one with --run.")
    return False


def _kept(recipe: Recipe) -> str:
    """What may not change; strategies and seeds may be added."""
    return dump(recipe.model_copy(update={"compare": CompareOptions()}))


def _record(
    comparison: Comparison, seeds: Sequence[int], results: Sequence[Result]
) -> dict[str, Any]:
    """All results with what is needed to read them."""
    recipe = comparison.recipe
    tasks = {
        name: {"kind": recipe.tasks[name].part.kind, **_measured(metrics)}
        for name, metrics in metrics_of(recipe, comparison.tasks).items()
    }
    pooled = {
        name: {"tasks": list(pooling.tasks), **_measured([pooling.metric])}
        for name, pooling in comparison.pooled.items()
    }
    return {
        "format": FORMAT,
        "name": recipe.name,
        "split": held_out(comparison.data),
        "strategies": list(recipe.compare.strategies),
        "seeds": list(seeds),
        "tasks": tasks,
        "pooled": pooled,
        "results": list(results),
        "leaks": comparison.data.leaks.record() | {"summary": comparison.data.leaks.summary()},
        "drop_leaks": recipe.drop_leaks,
        "data": comparison.data.facts(),
    }


def _measured(metrics: Sequence[Metric]) -> dict[str, Any]:
    """The metrics of a task or a pooling; the first one stands for it."""
    return {
        "metrics": [metric.name for metric in metrics],
        "select": metrics[0].name,
        "higher_is_better": {metric.name: metric.higher_is_better for metric in metrics},
    }


STRATEGIES: dict[str, Callable[[Comparison, int], Result]] = {
    "single": _single,
    "joint": _joint,
    **{name: partial(_linear, name) for name in LINEAR},
}
