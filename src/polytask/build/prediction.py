"""A run predicts all its tasks for new rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from polytask.build.pools import evaluation_pool
from polytask.build.trained import TrainedModel
from polytask.build.views import View, views_of_any
from polytask.core.batch import Row
from polytask.core.errors import DataError
from polytask.core.run_folder import RunFolder
from polytask.core.scratch import scratch_folder
from polytask.data.sources import sources
from polytask.data.tables import Table
from polytask.evaluation.predict import Predictions
from polytask.recipe import load

_KINDS = {
    ".jsonl": "jsonl",
    ".json": "json",
    ".txt": "text",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".conll": "conll",
    ".conllu": "conllu",
}


def predict(
    run: RunFolder,
    rows: Path | Sequence[Row],
    *,
    task_best: bool = False,
    left_out: Callable[[str], object] = lambda _: None,
) -> Iterator[dict[str, Any]]:
    """Predict every task whose input columns the rows have.

    :param rows: A file, read as its name says (``.jsonl``, ``.csv``, ..., also ``.gz``), or rows.
    :param task_best: Let each task answer with the model of its own best validation.
    :param left_out: Told in words which tasks lack which columns.
    :return: One record per row, in order: task to ``label`` and, where the task has them,
        ``probabilities`` by label.
    :raises DataError: If no task can read the rows.
    :raises RunError: If the run does not hold the models that are asked for.
    """
    recipe = load(run.recipe)
    table = _table(rows)
    model = TrainedModel.load(recipe, run, task_best=task_best)
    views = views_of_any(recipe, "new")
    readable = _readable(views, table)
    for view in views:
        if view not in readable:
            lacking = ", ".join(column for column in view.columns if column not in table.columns)
            left_out(f"not predicted, as the rows have no {lacking}: {', '.join(view.tasks)}.")
    with scratch_folder() as scratch:
        pools = [evaluation_pool(view, table, model.encoder, scratch) for view in readable]
        found = model.predict(pools, "new")
    for index in range(len(table)):
        yield {name: _record(one, index, model.tasks[name].labels) for name, one in found.items()}


def _table(rows: Path | Sequence[Row]) -> Table:
    if not isinstance(rows, Path):
        options: dict[str, Any] = {"kind": "rows", "rows": list(rows)}
        return sources.build(options, ()).load()["all"]
    suffixes = [suffix for suffix in rows.suffixes if suffix != ".gz"]
    kind = _KINDS.get(suffixes[-1] if suffixes else "")
    if kind is None:
        raise DataError(f"{rows}: cannot tell its format. Name it {', '.join(_KINDS)} or .gz.")
    options = {"kind": kind, "path": str(rows.absolute())}
    return sources.build(options, ()).load()["all"]


def _readable(views: Sequence[View], table: Table) -> list[View]:
    """The views whose columns the rows have."""
    readable = [view for view in views if set(view.columns) <= set(table.columns)]
    if not readable:
        wanted = " or ".join(str(list(view.columns)) for view in views)
        raise DataError(
            f"{table.files[0]}: no task can read these rows: found columns "
            f"{', '.join(table.columns)}, expected {wanted}."
        )
    return readable


def _record(found: Predictions, index: int, labels: Sequence[str]) -> Mapping[str, Any]:
    record: dict[str, Any] = {"label": found.labels[index]}
    if probabilities := found.by_label(index, labels):
        record["probabilities"] = probabilities
    return record
