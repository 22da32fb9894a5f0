"""Ways of training the same tasks, compared on the same rows, seeds and budget.

Every result is written when it is known, so a stopped comparison resumes where it stopped.
The folder of a comparison::

    recipe.yaml     splits/     comparison.json     comparison.md
    results/STRATEGY-SEED.json              one result, see ``compare``
    results/STRATEGY-SEED.outcomes.json     its answers row by row, see ``write_outcomes``
    STRATEGY/seed-SEED/[MODEL/]             the runs
    trials/STRATEGY/[MODEL/]                trials of the search for settings
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from polytask.analysis.comparison import Comparison
from polytask.analysis.costs import COSTS
from polytask.analysis.distributions import label_facts
from polytask.analysis.fairness import fairness
from polytask.analysis.named_strategies import wrong_strategies
from polytask.analysis.outcomes import read_outcomes, write_outcomes
from polytask.analysis.replicates import measure, with_poolings
from polytask.analysis.statistics import statistics
from polytask.analysis.strategies import Answered, strategies
from polytask.analysis.strategies.trained import TrainedStrategy
from polytask.analysis.verdict import verdict
from polytask.assembly.data.inputs import with_columns
from polytask.assembly.data.labels import fit_tasks
from polytask.assembly.data.loading import TRAIN, load_data
from polytask.assembly.model.assemble import new_tasks
from polytask.core.accounting import SHOWN_TASKS, account_lines, records
from polytask.core.errors import RecipeError, RunError
from polytask.core.files import read_json, write_json, write_text
from polytask.evaluation.coverage import coverage
from polytask.evaluation.score import score_outcome, score_pooled
from polytask.recipe import CompareOptions, Recipe, dump
from polytask.tasks import Metric

FORMAT = 1
Result = dict[str, Any]


def compare(recipe: Recipe, folder: Path, console: Console | None = None) -> dict[str, Any]:
    """Run every strategy with every seed that has no result yet, and write the record.

    Keys of the record:

    * ``format``, ``name``, ``split`` (that scores are of), ``strategies``, ``seeds``, ``trials``.
    * ``tasks``: of each ``kind``, ``labels`` (in the order of probabilities), ``metrics``, ``select``
      (the metric that stands for it), ``higher_is_better``; ``pooled``: the same of poolings.
    * ``results``: of each ``strategy``, ``seed``, the costs named by ``COSTS``, ``scores`` (entries
      of ``evaluation.score`` by task and pooling); and, where there are such, ``steps`` (the
      fewest of any model), ``passes`` (over the rows of a model, as a multiple of the passes of the
      joint model; the fewest of any), ``tuning`` (by model: ``trials``, ``settings``, ``validation``,
      ``seconds``, ``tokens``), ``coefficient`` and ``validation`` (merging), ``strengths``
      (linear), ``groups``. Strategies without randomness have a result for the first seed only.
    * ``sharing``: the strategies with one encoder for all tasks; ``statistics``, ``verdict``: see
      the functions of these names; null without single-task models.
    * ``means``: the tasks that means are ``over`` and ``without``, see ``coverage``.
    * ``notes``: sentences on whether strategies were treated alike, see ``fairness``.
    * ``leaks``, ``drop_leaks``, ``data`` (rows and hashes by source and split), ``labels`` (see
      ``label_facts``), ``rows`` (how many each task uses in each split, and why not others).

    :return: The content of ``comparison.json``.
    :raises RecipeError: If there is no such strategy, or the recipe does not fit one.
    :raises RunError: If the folder holds something else.
    """
    mistakes = wrong_strategies(recipe)
    if mistakes:
        raise RecipeError(mistakes)
    recipe = recipe.model_copy(update={"tasks": recipe.trained})  # kept tasks have no rows
    recipe = with_columns(recipe)
    begun = _begun(folder, recipe)
    data = load_data(recipe, folder / "splits")
    tasks = new_tasks(recipe)
    labels = fit_tasks(recipe, tasks, data.split(TRAIN))
    comparison = Comparison(recipe, data, tasks, labels, folder, console or Console(stderr=True))
    if not comparison.selects:
        _refuse_choices(recipe)
    rows = comparison.accounts  # finds mistakes in all rows before anything is written
    if any(task.reads_scores for task in tasks.values()):
        _refuse_apart(comparison)
    if not begun:
        write_text(folder / "recipe.yaml", _dump_fixed(recipe))  # from here on it can be resumed
        for line in account_lines(rows, SHOWN_TASKS):
            comparison.console.print(f"rows: {line}", markup=False, highlight=False, soft_wrap=True)
    data.keep_splits(folder / "splits")
    seeds = [recipe.training.seed + offset for offset in range(recipe.compare.seeds)]
    results = [
        _result(comparison, name, seed)
        for seed in seeds
        for name in recipe.compare.strategies
        if strategies.part(name).seeded or seed == seeds[0]
    ]
    record = _record(comparison, seeds, results)
    record["means"] = coverage(record)
    record["statistics"] = _statistics(comparison, results)
    record["verdict"] = verdict(record)
    write_json(folder / "comparison.json", record)
    return record


def _refuse_choices(recipe: Recipe) -> None:
    """Raise an error if settings would be chosen on the rows that results are reported on.

    :raises RecipeError: If a strategy chooses settings.
    """
    choosing = [n for n in recipe.compare.strategies if strategies.build(n, n).chooses(recipe)]
    if choosing:
        raise RecipeError(
            [
                f"compare: settings of {', '.join(choosing)} are chosen on validation rows, and "
                "scores are of test rows; there have to be both. Give the data both files, or "
                "split: {validation: 0.1, test: 0.1}, or leave these strategies and trials out."
            ]
        )


def _refuse_apart(comparison: Comparison) -> None:
    """Raise an error if a strategy separates a task from the tasks whose scores it reads.

    :raises RecipeError: If there is one.
    """
    for name in comparison.recipe.compare.strategies:
        strategy = strategies.build(name, name)
        if isinstance(strategy, TrainedStrategy):
            strategy.recipes(comparison)


def _result(comparison: Comparison, name: str, seed: int) -> Result:
    """Return the result of one strategy and seed, from its file if there is one.

    :raises RunError: If the file was made with other settings of the strategy.
    """
    strategy = strategies.build(name, name)
    settings = strategy.settings(comparison.recipe)
    path, outcomes = _paths(comparison, name, seed)
    if path.is_file() and outcomes.is_file():
        result = dict(read_json(path))
        found = {key: result.get(key) for key in settings}
        if found != settings:
            raise RunError(
                f"{path}: is a result of {found}, but the recipe says {settings}. "
                "Choose another folder with --run."
            )
        return result
    answered = strategy.answer(comparison, seed)
    write_outcomes(outcomes, answered.outcomes)
    costs = {cost: answered.costs[cost] for cost in COSTS}
    scores = _scores(comparison, answered)
    result = {"strategy": name, "seed": seed, **settings, **costs, **answered.notes}
    write_json(path, {**result, "scores": scores})
    return {**result, "scores": scores}


def _paths(comparison: Comparison, name: str, seed: int) -> tuple[Path, Path]:
    """Return the files of a result and of its answers."""
    path = comparison.folder / "results" / f"{name}-{seed}.json"
    return path, path.with_suffix(".outcomes.json")


def _statistics(comparison: Comparison, results: Sequence[Result]) -> dict[str, Any] | None:
    """Test the differences between strategies on the answers of all results."""
    pooled = comparison.pooled
    metrics = {**comparison.metrics, **{name: [each.metric] for name, each in pooled.items()}}
    runs = [(result["strategy"], result["seed"]) for result in results]
    with comparison.console.status("testing differences"):
        answers = (
            (run, with_poolings(read_outcomes(_paths(comparison, *run)[1]), pooled)) for run in runs
        )
        measured = measure(answers, metrics, comparison.recipe.evaluation.bootstrap)
    return statistics(measured, comparison.recipe.compare.strategies)


def _scores(comparison: Comparison, answered: Answered) -> dict[str, Any]:
    """Return the scores of tasks and poolings."""
    options, outcomes = comparison.recipe.evaluation, answered.outcomes
    tasks = {
        name: answered.entries.get(name)
        or score_outcome(outcome, comparison.metrics[name], options)
        for name, outcome in outcomes.items()
    }
    return {**tasks, **score_pooled(outcomes, comparison.pooled, options)}


def _begun(folder: Path, recipe: Recipe) -> bool:
    """Return whether the folder holds a comparison to resume, of the same tasks, data and budget."""
    kept = folder / "recipe.yaml"
    if folder.is_file():
        raise RunError(f"{folder}: is a file. Name a folder with --run.")
    if (folder / "run.json").is_file():
        raise RunError(f"{folder}: holds a training. Choose another folder with --run.")
    if kept.is_file():
        if kept.read_text(encoding="utf-8") != _dump_fixed(recipe):
            raise RunError(
                f"{folder}: holds a comparison of another recipe, {kept}. Choose another folder "
                "with --run."
            )
        return True
    if folder.exists() and any(not file.name.startswith(".") for file in folder.iterdir()):
        raise RunError(f"{folder}: the folder is not empty. Choose another one with --run.")
    return False


def _dump_fixed(recipe: Recipe) -> str:
    """Return the part of a recipe that may not change; strategies and seeds may be added."""
    options = CompareOptions(trials=recipe.compare.trials)
    return dump(recipe.model_copy(update={"compare": options}))


def _record(
    comparison: Comparison, seeds: Sequence[int], results: Sequence[Result]
) -> dict[str, Any]:
    """Return all results, with the tasks, metrics and data that they belong to."""
    recipe, data = comparison.recipe, comparison.data
    tasks = {
        name: {
            "kind": recipe.tasks[name].part.kind,
            "labels": list(comparison.tasks[name].labels),
            **_describe_metrics(metrics),
        }
        for name, metrics in comparison.metrics.items()
    }
    pooled = {
        name: {"tasks": list(pooling.tasks), **_describe_metrics([pooling.metric])}
        for name, pooling in comparison.pooled.items()
    }
    return {
        "format": FORMAT,
        "name": recipe.name,
        "split": comparison.held_out,
        "strategies": list(recipe.compare.strategies),
        "sharing": [name for name in recipe.compare.strategies if strategies.part(name).shares],
        "seeds": list(seeds),
        "trials": recipe.compare.trials,
        "tasks": tasks,
        "pooled": pooled,
        "results": list(results),
        "notes": fairness(results, comparison.held_out),
        "leaks": data.leaks.record() | {"summary": data.leaks.summary()},
        "drop_leaks": recipe.drop_leaks,
        "rows": records(comparison.accounts),
        "data": data.facts(),
        "labels": label_facts(data, comparison.tasks, comparison.labels),
    }


def _describe_metrics(metrics: Sequence[Metric]) -> dict[str, Any]:
    """Describe the metrics of a task or a pooling; the first one stands for it."""
    return {
        "metrics": [metric.name for metric in metrics],
        "select": metrics[0].name,
        "higher_is_better": {metric.name: metric.higher_is_better for metric in metrics},
    }
