"""A run that stays loaded: its model in memory, ready to predict any number of times."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from polytask.assembly.data.new_rows import NewRows, new_views, read_new_file
from polytask.assembly.data.pools import collation
from polytask.assembly.data.readings import readings
from polytask.assembly.data.views import View
from polytask.assembly.model.assemble import column_types, load_model
from polytask.assembly.run.parameter_files import find_parameter_files, load_models
from polytask.assembly.run.prediction import (
    Note,
    PreparedRows,
    Record,
    RecordOptions,
    Tally,
    WindowRows,
    check_overrides,
    windows_of_rows,
    windows_of_tables,
)
from polytask.core.batch import Row
from polytask.core.columns import ColumnType
from polytask.core.encoder import Encoder
from polytask.core.errors import DataError, RecipeError
from polytask.core.run_folder import RunFolder
from polytask.data.memory_pool import MemoryPool
from polytask.data.pools import Pool
from polytask.evaluation.predict import Predictor, Progress
from polytask.recipe import Recipe, load
from polytask.recipe.mistakes import unknown
from polytask.tasks import Predictions, Task
from polytask.training.precision import FloatPrecision, PrecisionName, select_device


@dataclass(frozen=True)
class LoadedRun:
    """The model of a run in evaluation mode. Several threads may use it at once.

    One thread at a time prepares rows, and one computes. Nothing is written, and no random state
    changes.

    :param folder: The run.
    :param recipe: The recipe that it was trained with.
    :param tasks: The fitted tasks by name, which know their labels.
    :param encoder: Prepares rows.
    :param files: The parameters that answer for each task.
    :param predictors: A model for each file of parameters; the best model comes first.
    :param types: The types of the input columns of the training rows.
    :param precision: The number format of forward passes.
    :param views: How tasks read new rows.
    """

    folder: RunFolder
    recipe: Recipe
    tasks: Mapping[str, Task]
    encoder: Encoder = field(repr=False)
    files: Mapping[str, Path]
    predictors: Mapping[Path, Predictor] = field(repr=False)
    types: Mapping[str, ColumnType] = field(repr=False)
    precision: PrecisionName | Literal["int8"]
    views: Sequence[View] = field(repr=False)
    _preparing: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def load(
        cls,
        folder: RunFolder,
        *,
        task_best: bool = False,
        device: str | None = None,
        precision: Literal["auto"] | PrecisionName | None = None,
    ) -> LoadedRun:
        """Load a run.

        :param task_best: Let each task answer with the parameters of its best validation. There
            is a model in memory for each file of such parameters.
        :param device: ``cpu``, ``cuda``, ``cuda:1`` or ``auto``; by default as the recipe says.
        :param precision: ``fp32``, ``bf16``, ``fp16`` or ``auto``; by default as the recipe says.
        :raises RunError: If the run does not hold these parameters.
        :raises RecipeError: If there is no such device, or it cannot compute in this precision.
        """
        folder.require_format()
        recipe = load(folder.recipe)
        place = select_device(device or recipe.training.device, "device" if device else _DEVICE)
        chosen = FloatPrecision.choose(
            precision or recipe.training.precision, place, "precision" if precision else _PRECISION
        )
        with torch.random.fork_rng(devices=[]):
            model, encoder = load_model(recipe, folder)
        files = find_parameter_files(folder, model.tasks, task_best=task_best)
        models = {
            file: Predictor(
                own.to(place),
                collation(encoder, model.tasks),
                place,
                recipe.training.batch_tokens,
                chosen.autocast,
            )
            for file, own in load_models(model, folder, files.values())
        }
        types = column_types(folder)
        views = new_views(recipe, types, model.tasks)
        return cls(folder, recipe, model.tasks, encoder, files, models, types, chosen.name, views)

    @property
    def predictor(self) -> Predictor:
        """The best model, and what it takes to run it over rows."""
        return next(iter(self.predictors.values()))

    def predict(
        self,
        rows: Iterable[Row] | Path | str,
        tasks: Collection[str] | None = None,
        *,
        overrides: Sequence[str] = (),
        left_out: Note = lambda _: None,
        **wanted: Any,
    ) -> Iterator[Record]:
        """Predict tasks for rows, one record per row, in order; from one encoder pass.

        Rows are consumed a window at a time (see ``WINDOWS``), so that ``rows`` may be endless. A task is
        predicted if rows of the first window have its columns.

        :param rows: Mappings of column names to values; or the path of a file, which each task reads
            as its training files.
        :param tasks: Names of tasks; None for all.
        :param overrides: Changes to how a file is read, as ``data.NAME.OPTION=VALUE``.
        :param left_out: Called with sentences on tasks that lack columns, and, at the end, on rows
            that are cut or cannot be read.
        :param wanted: ``top_k``, ``probabilities``, ``vectors``; see ``Wanted``.
        :raises RecipeError: If there is no such task, or an option is not valid.
        :raises DataError: On iteration, if no task can read the rows, or no row of a file can be read.
        """
        check_overrides(overrides)
        views, content = self.views_for(tasks), RecordOptions(**wanted)
        if isinstance(rows, str | Path):
            return self._file_records(Path(rows), views, overrides, content, left_out)
        if overrides:
            raise RecipeError(
                [
                    f"--set {one}: changes how a file is read, found rows. Omit it."
                    for one in overrides
                ]
            )
        return self._records(windows_of_rows(rows, views, left_out), content, left_out)

    def embed(self, rows: Iterable[Row], tasks: Collection[str] | None = None) -> Iterator[Record]:
        """Yield the features that each task reads of a row, averaged over tokens, as ``vector``.

        :param rows: As for ``predict``.
        """
        return self.predict(rows, tasks, vectors=True)

    def describe(self) -> dict[str, Any]:
        """Return the facts about the run as JSON: its tasks, sizes, device and precision."""
        return {
            "run": str(self.folder.path),
            "encoder": self.recipe.encoder.kind,
            "sharing": self.recipe.sharing.kind,
            "device": str(self.predictor.device),
            "precision": self.precision,
            "parameters": sum(p.numel() for p in self.predictor.model.parameters()),
            "tasks": {
                name: {
                    "kind": self.recipe.tasks[name].part.kind,
                    "input": list(self.recipe.tasks[name].columns),
                    "labels": list(task.labels),
                    "model": self.files[name].relative_to(self.folder.path).as_posix(),
                }
                for name, task in self.tasks.items()
            },
        }

    def predict_pools(
        self,
        pools: Sequence[Pool | MemoryPool],
        progress: Progress = lambda rows: None,
        *,
        vectors: bool = False,
    ) -> dict[str, Predictions]:
        """Predict every task of prepared rows, with one encoder pass per file of parameters.

        :param progress: Called with the number of rows of each batch that is done.
        :param vectors: Return vectors of rows in place of labels.
        """
        found: dict[str, Predictions] = {}
        for file, predictor in self.predictors.items():
            own = {task for task, its in self.files.items() if its == file}
            compute = predictor.vectors if vectors else predictor
            found |= compute(_narrow(pools, own), progress)
        return {name: found[name] for name in self.tasks if name in found}

    def prepare(self, window: Sequence[WindowRows]) -> list[PreparedRows]:
        """Return rows ready for the model, each view's apart; one thread at a time prepares."""
        with self._preparing:
            return [part.prepare(self.encoder) for part in window]

    def views_for(self, tasks: Collection[str] | None) -> list[View]:
        """Return how some tasks read new rows.

        :param tasks: Names of tasks; None for all.
        :raises RecipeError: If there is no such task, or none is named.
        """
        wanted = self.tasks if tasks is None else tasks
        mistakes = [
            unknown("task", name, [*self.tasks]) for name in wanted if name not in self.tasks
        ]
        if mistakes or not wanted:
            raise RecipeError([f"tasks: {text}" for text in mistakes or ["none are named."]])
        return [own for view in self.views if (own := view.only(wanted)) is not None]

    def _file_records(
        self,
        path: Path,
        views: Sequence[View],
        overrides: Sequence[str],
        wanted: RecordOptions,
        left_out: Note,
    ) -> Iterator[Record]:
        tables = self.read_file(path, views, overrides, left_out)
        file = tables[0].table.files[0]
        yield from self._records(windows_of_tables(tables), wanted, left_out, file)

    def read_file(
        self, path: Path, views: Sequence[View], overrides: Sequence[str], left_out: Note
    ) -> list[NewRows]:
        """Read a file as ``predict`` does, without a prediction; see there."""
        known = readings(load(self.folder.recipe, overrides), self.folder)
        tables = read_new_file(path, views, known, self.types)
        for text in (text for own in tables for text in own.notes):
            left_out(text)
        return tables

    def predict_tables(
        self, tables: Sequence[NewRows], wanted: RecordOptions, left_out: Note
    ) -> Iterator[Record]:
        """Predict tables of ``read_file``, or a selection of their rows; all rows may be bad."""
        return self._records(windows_of_tables(tables), wanted, left_out)

    def _records(
        self,
        windows: Iterable[Sequence[WindowRows]],
        wanted: RecordOptions,
        left_out: Note,
        file: str = "",
    ) -> Iterator[Record]:
        tally = Tally()
        for parts in windows:
            prepared = self.prepare(parts)
            try:
                found = self._compute(prepared, wanted)
            except DataError:  # only then is every row looked at by itself
                prepared = [one.readable(self.predictor.collation) for one in prepared]
                found = self._compute(prepared, wanted)
            tally.add(prepared)
            columns = {
                task: one.records(found[task], wanted, self.tasks[task].labels)
                for one in prepared
                for task in one.part.view.tasks
            }
            names = [task for task in self.tasks if task in columns]
            for records in zip(*(columns[task] for task in names), strict=True):
                yield dict(zip(names, records, strict=True))
        if file:
            tally.require_rows(file)
        for text in tally.notes():
            left_out(text)

    def _compute(
        self, prepared: Sequence[PreparedRows], wanted: RecordOptions
    ) -> dict[str, Predictions]:
        return self.predict_pools([one.pool for one in prepared], vectors=wanted.vectors)


_DEVICE, _PRECISION = "training.device", "training.precision"


def _narrow(pools: Sequence[Pool | MemoryPool], tasks: set[str]) -> list[Pool | MemoryPool]:
    """Return the pools that some tasks read, for them alone."""
    return [
        replace(pool, tasks=tuple(task for task in pool.tasks if task in tasks))
        for pool in pools
        if tasks & set(pool.tasks)
    ]
