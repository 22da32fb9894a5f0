"""A run predicts all its tasks for new rows, from one encoder pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from polytask.build.evaluation import make_predictor, with_progress
from polytask.build.model import load_model
from polytask.build.pools import evaluation_pool
from polytask.build.views import View, views_of
from polytask.core.batch import Row
from polytask.core.errors import DataError
from polytask.core.run_folder import RunFolder
from polytask.data.sources import sources
from polytask.data.tables import Table
from polytask.evaluation.predict import Predictions
from polytask.recipe import load

_KINDS = {
    ".jsonl": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".conll": "conll",
    ".conllu": "conllu",
}


def predict(run: RunFolder, rows: Path | Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Predict every task whose input columns the rows have.

    :param rows: A file, read as its name says (``.jsonl``, ``.csv``, ..., also ``.gz``), or rows.
    :return: One record per row, in order: task to ``label`` and, where the task has them,
        ``probabilities`` by label.
    :raises DataError: If no task can read the rows.
    """
    recipe = load(run.recipe)
    table = _table(rows)
    model, encoder = load_model(recipe, run)
    views = _readable(views_of(recipe), table)
    predictor = make_predictor(recipe, model, encoder)
    with TemporaryDirectory(prefix="polytask-") as scratch:
        found: dict[str, Predictions] = {}
        for view in views:
            pool = evaluation_pool(view, table, encoder, Path(scratch))
            found.update(with_progress(predictor, [pool], view.name))
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
    """One view for every set of columns that the rows have, with all tasks that read them."""
    tasks: dict[tuple[str, ...], dict[str, View]] = {}
    for view in views:
        for task in view.tasks:
            tasks.setdefault(view.columns, {}).setdefault(task, view)
    readable = [
        View(next(iter(own.values())).source, columns, tuple(own), next(iter(own.values())).steps)
        for columns, own in tasks.items()
        if set(columns) <= set(table.columns)
    ]
    if not readable:
        wanted = " or ".join(str(list(columns)) for columns in tasks)
        raise DataError(
            f"{table.files[0]}: no task can read these rows: found columns "
            f"{', '.join(table.columns)}, expected {wanted}."
        )
    return readable


def _record(found: Predictions, index: int, labels: Sequence[str]) -> Mapping[str, Any]:
    record: dict[str, Any] = {"label": found.labels[index]}
    if found.probabilities and found.probabilities[index].ndim == 1:
        values = found.probabilities[index].round(6).tolist()
        record["probabilities"] = dict(zip(labels, values, strict=True))
    return record
