"""A recipe's sources: read, split, freed of leaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polytask.build.views import View, views_of
from polytask.data.leaks import Keys, LeakReport, find_leaks, input_keys
from polytask.data.pools import each_row
from polytask.data.sources import sources
from polytask.data.splits import (
    SplitOptions,
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
class Data:
    """The rows of every source, by split.

    :param tables: Source to split to rows; a split without rows is absent.
    :param leaks: Rows that occur in train and also in validation or test, before any were dropped.
    :param views: How the tasks read the sources.
    """

    tables: Mapping[str, Mapping[str, Table]]
    leaks: LeakReport
    views: Sequence[View]

    def split(self, name: str) -> dict[str, Table]:
        """The rows of one split, by source; sources without it are absent."""
        return {source: tables[name] for source, tables in self.tables.items() if name in tables}

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
    """Read every source of a recipe, split it, and drop leaks if the recipe says so.

    :param splits: Folder of a run in which the splits are kept: read if they are there, else
        written. None: nothing is kept.
    :raises DataError: If a file is missing, empty or broken, or has changed since it was split.
    """
    views = views_of(recipe)
    tables: Tables = {}
    cut: set[str] = set()
    for name, section in recipe.data.items():
        loaded = sources.build(section.part, recipe.search()).load()
        tables[name] = _split(loaded, section.split, splits and splits / f"{name}.json")
        if VALIDATION not in loaded:
            cut.add(name)
    for view in views:
        for table in tables[view.source].values():
            view.require_columns(table)
    keys = _keys(views, tables)
    if recipe.drop_leaks:
        tables = _without_leaks(tables, find_leaks(keys))
    return Data(tables, find_leaks(_as_given(keys, cut)), views)


def _split(
    loaded: Mapping[str, Table], options: SplitOptions | None, kept: Path | None
) -> dict[str, Table]:
    if kept is not None and kept.is_file():
        return take_splits(loaded, load_splits(kept, loaded))
    assignment = assign_splits(loaded, options)
    if kept is not None:
        save_splits(kept, loaded, assignment)
    return take_splits(loaded, assignment)


def _keys(views: Sequence[View], tables: Tables) -> dict[tuple[str, str], Keys]:
    """What tells inputs apart, by source and split; a source is read as its first view does."""
    columns = {view.source: view.columns for view in reversed(views)}
    return {
        (source, split): input_keys(
            tuple(row[column] for column in columns[source]) for row in each_row(table)
        )
        for source, splits in tables.items()
        if source in columns
        for split, table in splits.items()
    }


def _as_given(keys: Mapping[tuple[str, str], Keys], cut: set[str]) -> dict[tuple[str, str], Keys]:
    """Validation rows that were cut from the training rows count as what they were."""
    given = dict(keys)
    for source in cut:
        parts = [given.pop((source, split), None) for split in (TRAIN, VALIDATION)]
        given[source, TRAIN] = np.concatenate([part for part in parts if part is not None])
    return given


def _without_leaks(tables: Tables, leaks: LeakReport) -> Tables:
    """Without the training rows that occur in validation or test of any source."""
    kept: Tables = {}
    for source, splits in tables.items():
        kept[source] = dict(splits)
        leaked = leaks.train_rows.get(source, ())
        if len(leaked):
            rows = np.delete(np.arange(len(splits[TRAIN])), leaked)
            kept[source][TRAIN] = splits[TRAIN].select(rows)
    return kept
