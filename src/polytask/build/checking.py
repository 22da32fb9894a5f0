"""Mistakes in the data of a recipe, all at once, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from polytask.build.data import SPLITS, TRAIN, Tables, load_source
from polytask.build.labels import limited
from polytask.build.model import new_tasks
from polytask.build.views import View, views_of
from polytask.core.errors import DataError, PolytaskError
from polytask.data.pools import each_row
from polytask.data.tables import Table
from polytask.recipe import Recipe
from polytask.tasks import Task

_SHOWN = 3
"""How many rows with the same flaw are named."""


def check(recipe: Recipe) -> list[str]:
    """Look at every file, column, input and label that a training of the recipe would read.

    :return: Everything that would stop it or that a person should know, each with file and line;
        empty if there is nothing.
    """
    tables: Tables = {}
    messages = []
    for name in recipe.data:
        try:
            tables[name] = load_source(recipe, name).tables()
        except PolytaskError as error:
            messages.append(f"data.{name}: {error}")
    views = [view for view in views_of(recipe) if view.source in tables]
    tasks = new_tasks(recipe)
    for view in views:
        messages += _wrong_inputs(view, tables[view.source])
    for name, task in tasks.items():
        own = {s: tables[s] for s in recipe.tasks[name].sources if s in tables}
        messages += [f"tasks.{name}: {text}" for text in _wrong_labels(task, own)]
    return messages


def _wrong_inputs(view: View, tables: Mapping[str, Table]) -> Iterator[str]:
    """Missing columns, and rows without an input."""
    for table in tables.values():
        try:
            view.require_columns(table)
        except DataError as error:
            yield str(error)
            continue
        empty = (
            f"{table.place_of(row)}: column {column!r} is empty; expected something to read."
            for row in each_row(table)
            for column in view.columns
            if row[column] is None or row[column] in ("", [])
        )
        yield from _first(empty)


def _wrong_labels(task: Task, sources: Mapping[str, Mapping[str, Table]]) -> Iterator[str]:
    """Labels of the wrong kind, and labels that training never sees."""
    found = {split: [t[split] for t in sources.values() if split in t] for split in SPLITS}
    wrong = [text for each in found.values() for table in each for text in _unreadable(task, table)]
    yield from wrong
    if wrong or not found[TRAIN]:
        return
    try:
        own = {source: tables[TRAIN] for source, tables in sources.items() if TRAIN in tables}
        task.fit(limited(task, own, None).references(own))
    except DataError as error:
        yield str(error)
        return
    for split in SPLITS[1:]:
        for table in found[split]:
            yield from unseen_labels(task, table, split)


def _unreadable(task: Task, table: Table) -> Iterator[str]:
    def messages() -> Iterator[str]:
        for row in each_row(table):
            try:
                task.reference(row)
            except DataError as error:
                yield f"{table.place_of(row)}: {error}"

    yield from _first(messages())


def unseen_labels(task: Task, table: Table, split: str) -> Iterator[str]:
    """One message for every label of a held-out table that no training row has."""
    first: dict[str, str] = {}
    counts: dict[str, int] = {}
    for row in each_row(table):
        reference = task.reference(row)
        for label in reference if isinstance(reference, list) else [reference]:
            if isinstance(label, str) and label not in task.labels:
                first.setdefault(label, table.place_of(row))
                counts[label] = counts.get(label, 0) + 1
    for label, place in first.items():
        yield (
            f"{place}: label {label!r} occurs in {split} ({counts[label]} times) but never in "
            "train; it cannot be learned and counts as wrong."
        )


def _first(messages: Iterator[str]) -> Iterator[str]:
    """The first few messages, and how many there are besides."""
    yield from islice(messages, _SHOWN)
    more = sum(1 for _ in messages)
    if more:
        yield f"... and {more} more rows like these."
