"""A run is scored on a split; predictions are written beside the scores."""

from __future__ import annotations

from typing import Any, NamedTuple

from polytask.assembly.data.accounts import accounts_of
from polytask.assembly.data.loading import SPLITS, TEST, VALIDATION, Data, load_data
from polytask.assembly.data.scoring import (
    evaluation_rows,
    metrics_of,
    poolings_of,
)
from polytask.assembly.run.examples import write_examples
from polytask.assembly.run.loaded_run import LoadedRun
from polytask.assembly.run.split_predictions import SplitPredictions
from polytask.core.errors import RunError
from polytask.core.files import read_json, write_json
from polytask.core.run_folder import RunFolder
from polytask.core.scratch import scratch_folder
from polytask.evaluation.predict import Progress
from polytask.evaluation.score import Outcome, score
from polytask.recipe.mistakes import hint


class Evaluated(NamedTuple):
    """How good a run is on one split.

    :param scores: What ``evaluation.score`` gives, with ``models``: the file each task answered from,
        and ``rows``: the record of each task's ``Account``.
    :param outcomes: References and predictions that were scored, by task.
    """

    scores: dict[str, Any]
    outcomes: dict[str, Outcome]


def evaluate(
    loaded: LoadedRun,
    split: str | None = None,
    *,
    data: Data | None = None,
    progress: Progress = lambda rows: None,
) -> Evaluated:
    """Score a run; write ``scores.json``, ``predictions/`` and examples for whoever loads the run.

    :param split: ``test``, ``validation`` or ``train``; by default what is held out: test, or
        validation where there is no test.
    :param data: The rows, where the caller has loaded them; else they are loaded.
    :param progress: Called with the number of rows of each batch that is done.
    :raises RunError: If the run does not hold the models, or no source has that split.
    """
    if split is not None and split not in SPLITS:
        known = ", ".join(SPLITS)
        raise RunError(f"no split called {split!r}.{hint(split, SPLITS)} Known: {known}.")
    run, recipe = loaded.folder, loaded.recipe
    if not run.facts.is_file():
        raise RunError(f"{run.path}: an export. Evaluate the run that it was made from.")
    if not recipe.trained:
        raise RunError(
            f"{run.path}: all its tasks are kept from {recipe.start and recipe.start.run}, and "
            "have no data here. Evaluate that run."
        )
    data = load_data(recipe, run.splits) if data is None else data
    split = split or held_out(data)
    tables = data.split(split)
    if not tables:
        there = [name for name in SPLITS if data.split(name)]
        raise RunError(f"{run.path}: no source has a {split} split. There are: {', '.join(there)}.")
    with scratch_folder() as scratch:
        rows = evaluation_rows(data.views, tables, loaded.encoder, loaded.tasks, scratch)
        found = loaded.predict_pools(rows.pools, progress)
        outcomes = rows.outcomes(found)
        scores = score(
            outcomes,
            metrics_of(recipe, {name: loaded.tasks[name] for name in recipe.trained}),
            poolings_of(recipe, {name: loaded.tasks[name] for name in outcomes}),
            recipe.evaluation,
        )
        answers = SplitPredictions(rows.tasks, found, loaded.tasks)
        answers.write(run.predictions / split, recipe)
    counted = accounts_of(data, {split: rows.pools})
    accounts = {task: own[split].record() for task, own in counted.items() if split in own}
    files = {name: loaded.files[name].relative_to(run.path).as_posix() for name in outcomes}
    scores = {**scores, "models": files, "rows": accounts}
    if split == held_out(data):
        write_examples(loaded, tables.values())
    before = read_json(run.scores) if run.scores.is_file() else {}
    write_json(run.scores, {**before, split: scores})
    return Evaluated(scores, outcomes)


def evaluate_held_out(run: RunFolder) -> None:
    """Score a run if it has rows that it was not trained on."""
    if has_held_out(run):
        evaluate(LoadedRun.load(run))


def has_held_out(run: RunFolder) -> bool:
    """Return whether a run has rows that it was not trained on."""
    splits = [read_json(path) for path in run.splits.glob("*.json")]
    counts = [table["splits"] for source in splits for table in source.values()]
    return any(count[TEST] or count[VALIDATION] for count in counts)


def held_out(data: Data) -> str:
    """Return the split that results are reported on: test, or validation where there is no test."""
    return TEST if data.split(TEST) else VALIDATION
