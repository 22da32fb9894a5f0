"""A recipe's sources: read, split, freed of leaks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from polytask.assembly.data.views import View, new_task, views_of
from polytask.core.accounting import Group
from polytask.core.errors import DataError, RecipeError
from polytask.data.leaks import Keys, LeakReport, find_leaks, input_keys
from polytask.data.rows import each_row
from polytask.data.sources import sources
from polytask.data.splits import (
    Assignment,
    assign_splits,
    load_splits,
    save_splits,
    take_splits,
)
from polytask.data.tables import Table
from polytask.recipe import Recipe

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")
Tables = dict[str, dict[str, Table]]
"""Source to split to rows."""


@dataclass(frozen=True)
class SplitSource:
    """A source as it was read, and the split of each of its rows."""

    loaded: Mapping[str, Table]
    assignment: Assignment

    def tables(self) -> dict[str, Table]:
        """Its rows by split."""
        return take_splits(self.loaded, self.assignment)


@dataclass(frozen=True)
class Data:
    """The rows of every source, by split.

    :param tables: Source to split to rows; a split without rows is absent.
    :param leaks: Rows that occur in train and also in validation or test, before any were dropped.
    :param views: How the tasks read the sources.
    :param sources: The sources as they were read, with the split of each row.
    :param dropped: By source and split, the rows that were dropped as leaks.
    """

    tables: Mapping[str, Mapping[str, Table]]
    leaks: LeakReport
    views: Sequence[View]
    sources: Mapping[str, SplitSource]
    dropped: Mapping[tuple[str, str], Group]

    def split(self, name: str) -> dict[str, Table]:
        """Return the rows of one split, by source; sources without it are absent."""
        return {source: tables[name] for source, tables in self.tables.items() if name in tables}

    def of(self, recipe: Recipe) -> Data:
        """Return the same rows for a recipe with other tasks."""
        views = views_of(recipe)
        first = {view.source: next(iter(self.tables[view.source].values())) for view in views}
        return replace(self, views=[view.of(first[view.source]) for view in views])

    def keep_splits(self, folder: Path) -> None:
        """Write down the split of every row, so that none moves when the data are read again."""
        for name, source in self.sources.items():
            path = folder / f"{name}.json"
            if not path.is_file():
                save_splits(path, source.loaded, source.assignment)

    def facts(self) -> dict[str, Any]:
        """Hashes and row counts, as JSON."""
        return {
            source: {
                name: {"rows": len(table), "sha256": table.sha256, "files": list(table.files)}
                for name, table in tables.items()
            }
            for source, tables in self.tables.items()
        }


def load_data(recipe: Recipe, splits: Path | None = None) -> Data:
    """Read every source of a recipe, split it, and drop leaks on request.

    :param splits: Folder of a run that may hold the splits; else they are made.
    :raises DataError: If a file is missing, empty or broken, or has changed since it was split.
    """
    views = views_of(recipe)
    found = {name: load_source(recipe, name, splits) for name in recipe.data}
    tables = {name: source.tables() for name, source in found.items()}
    for view in views:
        for table in tables[view.source].values():
            view.require_columns(table)
    views = [view.of(next(iter(tables[view.source].values()))) for view in views]
    keys = _keys(views, tables)
    leaks = find_leaks(_as_given(keys, tables))
    dropped: dict[tuple[str, str], Group] = {}
    if recipe.drop_leaks:
        tables, dropped = _without_leaks(tables, keys)
    return Data(tables, leaks, views, found, dropped)


def load_source(recipe: Recipe, name: str, splits: Path | None = None) -> SplitSource:
    """Read one source of a recipe and split it; see ``load_data``."""
    section = recipe.data[name]
    try:
        loaded = sources.build(section.part, recipe.search()).load()
    except RecipeError as error:
        raise RecipeError(f"data.{name}: {mistake}" for mistake in error.mistakes) from error
    labels = _check_columns(recipe, name, loaded.values())
    kept = None if splits is None else splits / f"{name}.json"
    if kept is not None and kept.is_file():
        return SplitSource(loaded, load_splits(kept, loaded))
    return SplitSource(loaded, assign_splits(loaded, section.split, labels))


def _check_columns(recipe: Recipe, source: str, tables: Iterable[Table]) -> list[str]:
    """Refuse columns that a task needs and that cannot be read; return the label columns.

    :raises DataError: If the values of a column have no common type; names file and line.
    """
    sections = {n: task for n, task in recipe.tasks.items() if source in task.sources}
    labels = [new_task(name, section).target_column for name, section in sections.items()]
    inputs = [column for section in sections.values() for column in section.columns]
    for table in tables:
        for column in (*inputs, *labels):
            table.path_to(column)
    return labels


def _keys(views: Sequence[View], tables: Tables) -> dict[tuple[str, str], Keys]:
    """Return keys of the inputs by source and split; a source is read as its first view does."""
    columns = {view.source: view.columns for view in reversed(views)}
    return {
        (source, split): input_keys(
            tuple(row[column] for column in columns[source]) for row in each_row(table)
        )
        for source, splits in tables.items()
        if source in columns
        for split, table in splits.items()
    }


def _as_given(keys: Mapping[tuple[str, str], Keys], tables: Tables) -> dict[tuple[str, str], Keys]:
    """Validation rows that were cut from the files of the training rows count as those."""
    given = dict(keys)
    for source, splits in tables.items():
        train, validation = splits.get(TRAIN), splits.get(VALIDATION)
        cut = train is not None and validation is not None and train.files == validation.files
        if cut and (source, TRAIN) in given and TEST in splits:
            parts = [given.pop((source, split)) for split in (TRAIN, VALIDATION)]
            given[source, TRAIN] = np.concatenate(parts)
    return given


def _without_leaks(
    tables: Tables, keys: Mapping[tuple[str, str], Keys]
) -> tuple[Tables, dict[tuple[str, str], Group]]:
    """Drop training rows that occur in validation or test, and validation rows in test.

    :return: The tables that are left, and what was dropped by source and split.
    :raises DataError: If no training row of a source is left.
    """
    withheld = {TRAIN: (VALIDATION, TEST), VALIDATION: (TEST,), TEST: ()}
    kept: Tables = {source: dict(splits) for source, splits in tables.items()}
    dropped = {}
    for (source, split), own in keys.items():
        others = [rows for (_, other), rows in keys.items() if other in withheld[split]]
        leaks = np.isin(own, np.concatenate(others)) if others else np.zeros(len(own), dtype=bool)
        if leaks.any():
            table = tables[source][split]
            first = table.where(int(leaks.argmax()))
            dropped[source, split] = Group(int(leaks.sum()), first)
            if not leaks.all():
                kept[source][split] = table.select(np.flatnonzero(~leaks))
                continue
            del kept[source][split]
            if split == TRAIN:
                raise DataError(
                    f"{first}: drop_leaks leaves no training row of data.{source}: all "
                    f"{len(own)} occur in validation or test. Give it other rows, or leave "
                    "drop_leaks out."
                )
    return kept, dropped
