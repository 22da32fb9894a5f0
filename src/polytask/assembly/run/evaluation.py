"""A run is scored on a split; predictions are written beside the scores."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import compress, islice
from pathlib import Path
from typing import Any, NamedTuple

from polytask.assembly.data.accounts import accounts_of
from polytask.assembly.data.loading import SPLITS, TEST, VALIDATION, Data, load_data
from polytask.assembly.data.scoring import (
    EvaluationRows,
    TaskRows,
    evaluation_rows,
    metrics_of,
    poolings_of,
)
from polytask.assembly.run.loaded_run import TrainedModel
from polytask.core.batch import Row
from polytask.core.errors import RunError
from polytask.core.files import atomic_writer, read_json, write_json
from polytask.core.run_folder import RunFolder
from polytask.core.scratch import scratch_folder
from polytask.data.rows import each_row
from polytask.data.tables import Table
from polytask.evaluation.conllu import COLUMNS, fill_columns
from polytask.evaluation.score import Outcome, score
from polytask.recipe import load
from polytask.recipe.mistakes import hint
from polytask.tasks import Predictions, Task


class Evaluated(NamedTuple):
    """How good a run is on one split.

    :param scores: What ``evaluation.score`` gives, with ``models``: the file each task answered from,
        and ``rows``: the record of each task's ``Account``.
    :param outcomes: What was scored.
    """

    scores: dict[str, Any]
    outcomes: dict[str, Outcome]


def evaluate(
    run: RunFolder,
    split: str | None = None,
    *,
    task_best: bool = False,
    data: Data | None = None,
) -> Evaluated:
    """Score the best model of a run; write ``scores.json`` and ``predictions/``.

    :param split: ``test``, ``validation`` or ``train``; by default what is held out: test, or
        validation where there is no test.
    :param task_best: Score each task with the model of its own best validation instead.
    :param data: The rows, where the caller has loaded them; else they are loaded.
    :raises RunError: If the run does not hold the models, or no source has that split.
    """
    if split is not None and split not in SPLITS:
        known = ", ".join(SPLITS)
        raise RunError(f"no split called {split!r}.{hint(split, SPLITS)} Known: {known}.")
    recipe = load(run.recipe)
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
    model = TrainedModel.load(recipe, run, task_best=task_best)
    with scratch_folder() as scratch:
        rows = evaluation_rows(data.views, tables, model.encoder, model.tasks, scratch)
        found = model.predict(rows.pools, split)
        outcomes = rows.outcomes(found)
        scores = score(
            outcomes,
            metrics_of(recipe, {name: model.tasks[name] for name in recipe.trained}),
            poolings_of(recipe, {name: model.tasks[name] for name in outcomes}),
            recipe.evaluation,
        )
        _write_predictions(run.predictions / split, rows, found, model.tasks)
    counted = accounts_of(data, {split: rows.pools})
    accounts = {task: own[split].record() for task, own in counted.items() if split in own}
    files = {name: model.files[name].relative_to(run.path).as_posix() for name in outcomes}
    scores = {**scores, "models": files, "rows": accounts}
    before = read_json(run.scores) if run.scores.is_file() else {}
    write_json(run.scores, {**before, split: scores})
    return Evaluated(scores, outcomes)


def has_held_out(run: RunFolder) -> bool:
    """Whether a run has rows that it was not trained on."""
    splits = [read_json(path) for path in run.splits.glob("*.json")]
    counts = [table["splits"] for source in splits for table in source.values()]
    return any(count[TEST] or count[VALIDATION] for count in counts)


def held_out(data: Data) -> str:
    """The split that results are reported on: test, or validation where there is no test."""
    return TEST if data.split(TEST) else VALIDATION


def _write_predictions(
    folder: Path,
    rows: EvaluationRows,
    found: Mapping[str, Predictions],
    tasks: Mapping[str, Task],
) -> None:
    """For every task one JSONL file of all rows, and one in the official format of labelled ones.

    Answers go by the ids of questions in a file of their own, and trees into treebanks.
    """
    for name, own in rows.tasks.items():
        with atomic_writer(folder / f"{name}.jsonl") as file:
            for record in _records(own, found[name], tasks[name]):
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
        outcome = own.outcome(found[name])
        fields = compress(own.fields(), (label is not None for label in own.references))
        lines = tasks[name].scorer_lines(outcome.references, outcome.predictions, list(fields))
        with atomic_writer(folder / f"{name}.txt") as file:
            file.writelines(line + "\n" for line in lines)
        if tasks[name].label_type == "answers" and (answers := _by_question(own, found[name])):
            write_json(folder / f"{name}.json", answers)
    for source, sentences in _treebanks(rows, found, tasks).items():
        with atomic_writer(folder / f"{source}.conllu") as file:
            file.writelines(sentence + "\n" for sentence in sentences)


def _by_question(own: TaskRows, found: Predictions) -> dict[str, str]:
    """The text of every answer by the id of its question, as the scorers of SQuAD read them.

    Empty if there are questions without an id of their own.
    """
    ids = [row.get("id") for _, row in own.rows()]
    if None in ids or len({*ids}) < len(ids):
        return {}
    texts = [answers[0]["text"] if answers else "" for answers in found.labels]
    return dict(zip(map(str, ids), texts, strict=True))


def _records(own: TaskRows, found: Predictions, task: Task) -> Iterator[dict[str, Any]]:
    """What was predicted for each row, from where, and with what probabilities."""
    everything = zip(own.rows(), own.fields(), own.references, found.labels, strict=True)
    for index, ((table, row), fields, reference, label) in enumerate(everything):
        record = {"place": table.place_of(row), "input": list(fields), "reference": reference}
        yield {**record, "prediction": label, **found.certainty(index, task.labels)}


def _treebanks(
    rows: EvaluationRows, found: Mapping[str, Predictions], tasks: Mapping[str, Task]
) -> dict[str, list[str]]:
    """The sentences of CoNLL-U sources, with the columns that tasks predict filled in."""
    columns: dict[str, dict[str, Iterator[Any]]] = {}
    tables: dict[str, Table] = {}
    for name, own in rows.tasks.items():
        labels = iter(found[name].labels)
        for view, table in own.parts:
            part = list(islice(labels, len(table)))
            if "conllu" in table.columns and tasks[name].target_column in COLUMNS:
                tables[view.source] = table
                filled = [tasks[name].columns(label) for label in part]
                for column in filled[0] if filled else ():
                    values = iter([row[column] for row in filled])
                    columns.setdefault(view.source, {})[column] = values
    return {
        source: [_sentence(row, columns[source]) for row in each_row(table)]
        for source, table in tables.items()
    }


def _sentence(row: Row, columns: Mapping[str, Iterator[Any]]) -> str:
    return fill_columns(row["conllu"], {name: next(values) for name, values in columns.items()})
