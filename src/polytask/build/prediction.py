"""A run predicts all its tasks for new rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from polytask.build.new_rows import read_new_rows
from polytask.build.pools import new_pool
from polytask.build.trained import TrainedModel
from polytask.core.batch import Row
from polytask.core.errors import RecipeError
from polytask.core.run_folder import RunFolder
from polytask.core.scratch import scratch_folder
from polytask.evaluation.predict import Predictions
from polytask.recipe import load

Record = dict[str, Any]


def predict(
    run: RunFolder,
    rows: Path | Sequence[Row],
    *,
    task_best: bool = False,
    overrides: Sequence[str] = (),
    left_out: Callable[[str], object] = lambda _: None,
) -> Iterator[Record]:
    """Predict every task whose input columns the rows have.

    :param rows: A file, read as the files that the task was trained on, or rows.
    :param task_best: Let each task answer with the model of its own best validation.
    :param overrides: Changes to how files are read, ``data.NAME.OPTION=VALUE``.
    :param left_out: Called with sentences on tasks that lack columns, and on rows that are cut.
    :return: One record per row, in order: task to ``label`` and, where the task has them,
        ``probabilities`` by label. A row that cannot be read has ``label`` None and an ``error``.
    :raises DataError: If no task can read the rows.
    :raises RecipeError: If an override changes something else.
    :raises RunError: If the run does not hold the models that are asked for.
    """
    _check(overrides)
    recipe = load(run.recipe, overrides)
    found = read_new_rows(recipe, rows)
    for own in found:
        for text in own.lacking:
            left_out(text)
    model = TrainedModel.load(recipe, run, task_best=task_best)
    with scratch_folder() as scratch:
        views = [(view, own.table) for own in found for view in own.views]
        pools = [new_pool(view, table, model.encoder, scratch) for view, table in views]
        for pool, _ in pools:
            if pool.cut:
                left_out(
                    f"{pool.name}: {pool.cut} of {len(pool)} rows are longer than the encoder "
                    "reads; what is predicted of the rest does not depend on its text."
                )
        predicted = model.predict([pool for pool, _ in pools], "new")
    columns = {
        task: _records(predicted[task], refused, len(table), model.tasks[task].labels)
        for (view, table), (_, refused) in zip(views, pools, strict=True)
        for task in view.tasks
    }
    ordered = {task: columns[task] for task in model.tasks if task in columns}
    for records in zip(*ordered.values(), strict=True):
        yield dict(zip(ordered, records, strict=True))


def _check(overrides: Sequence[str]) -> None:
    other = [one for one in overrides if not one.startswith("data.")]
    if other:
        raise RecipeError(
            f"--set {one}: the run is trained; only how new files are read can be changed, as in "
            "--set data.NAME.delimiter=';'."
            for one in other
        )


def _records(
    found: Predictions, refused: Mapping[int, str], rows: int, labels: Sequence[str]
) -> Iterator[Record]:
    """Yield the record of every row, in order."""
    numbers = iter(range(len(found.labels)))
    for row in range(rows):
        if row in refused:
            yield {"label": None, "error": refused[row]}
        else:
            yield _record(found, next(numbers), labels)


def _record(found: Predictions, index: int, labels: Sequence[str]) -> Record:
    record: Record = {"label": found.labels[index]}
    if probabilities := found.by_label(index, labels):
        record["probabilities"] = probabilities
    return record
