"""Mistakes in the data of a recipe, all at once, before anything is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from polytask.assembly.data.accounts import merge_accounts, read_test_rows
from polytask.assembly.data.inputs import with_columns
from polytask.assembly.data.labels import has_label_column, require_label_column
from polytask.assembly.data.loading import TRAIN, Tables, load_data, load_source
from polytask.assembly.data.notes import notes
from polytask.assembly.data.views import View, views_of
from polytask.assembly.model.assemble import new_tasks
from polytask.assembly.run.learned_text import LearnedText, learned_texts
from polytask.assembly.run.training_parts import fit_parts, training_parts
from polytask.assembly.warm_start.parent_run import with_kept
from polytask.core.accounting import Accounts
from polytask.core.errors import DataError, PolytaskError
from polytask.core.run_folder import RunFolder
from polytask.core.scratch import scratch_folder
from polytask.data.rows import each_row
from polytask.data.tables import Table
from polytask.recipe import Recipe
from polytask.tasks import Task

_SHOWN = 3
"""How many rows with the same flaw are named."""


@dataclass(frozen=True)
class Findings:
    """The result of a check, each entry with file and line.

    :param mistakes: Faults that stop a training.
    :param warnings: Remarks that do not stop it.
    :param accounts: How many rows every task has in every split, and uses; empty after mistakes.
    :param learned: The first row of each source of prompts, by its place, with what is learned of it.
    """

    mistakes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    accounts: Accounts = field(default_factory=dict)
    learned: Mapping[str, LearnedText] = field(default_factory=dict)


def check(recipe: Recipe) -> Findings:
    """Read all data of a recipe as a training does, up to its first step."""
    try:
        recipe = with_columns(with_kept(recipe))
        found = _check_rows(recipe)
        return found if found.mistakes else _prepare(recipe, found.warnings)
    except PolytaskError as error:
        return Findings([str(error)])


def _prepare(recipe: Recipe, warnings: Sequence[str]) -> Findings:
    """Do everything that comes before the first step of a training.

    :raises PolytaskError: If something does not fit; a training would end with the same message.
    """
    with scratch_folder() as scratch:
        data = load_data(recipe)
        fitted = fit_parts(recipe, RunFolder(scratch), data, started=False)
        parts = training_parts(recipe, data, fitted, scratch)
        tested = read_test_rows(data, fitted.encoder, fitted.tasks)
        said = notes(recipe, data, fitted.encoder, fitted.tasks, parts.pools)
        accounts = merge_accounts(parts.accounts, tested)
        learned = learned_texts(parts.pools, fitted.encoder)
        return Findings([], [*warnings, *said], accounts, learned)


def _check_rows(recipe: Recipe) -> Findings:
    """Look at every column, input and label by itself, so that all mistakes are found at once."""
    tables: Tables = {}
    found = Findings()
    for name in recipe.data:
        try:
            tables[name] = load_source(recipe, name).tables()
        except PolytaskError as error:
            found.mistakes.append(f"data.{name}: {error}")
    for view in views_of(recipe):
        for table in tables.get(view.source, {}).values():
            _check_inputs(view, table, found)
    tasks = new_tasks(recipe)
    for name, section in recipe.trained.items():
        own = [tables[source] for source in section.sources if source in tables]
        found.mistakes.extend(_find_missing_columns(tasks[name], own))
        found.mistakes.extend(_unreadable(tasks[name], own))
    return Findings(list(dict.fromkeys(found.mistakes)), found.warnings)


def _find_missing_columns(task: Task, sources: Sequence[Mapping[str, Table]]) -> Iterator[str]:
    for splits in sources:
        try:
            if TRAIN in splits:
                require_label_column(task, splits[TRAIN])
        except DataError as error:
            yield str(error)


def _check_inputs(view: View, table: Table, found: Findings) -> None:
    """Missing columns, and rows without an input."""
    try:
        view.require_columns(table)
    except DataError as error:
        found.mistakes.append(str(error))
        return
    missing = (
        f"{table.place_of(row)}: {mistake}"
        for row in each_row(table)
        for mistake in view.find_missing(row)
    )
    empty = (
        f"{table.place_of(row)}: column {column!r} is empty; there is nothing to learn from."
        for row in each_row(table)
        for column in view.columns
        if _is_empty(row[column])
    )
    found.mistakes.extend(_first(missing))
    found.warnings.extend(_first(empty))


def _is_empty(value: object) -> bool:
    """Return whether a text, or a list of texts, holds white space at most."""
    texts = value if isinstance(value, list) else [value]
    return all(isinstance(text, str) and not text.strip() for text in texts)


def _unreadable(task: Task, sources: Sequence[Mapping[str, Table]]) -> Iterator[str]:
    """Yield mistakes in labels; what is wrong alike with many rows, once.

    Training rows must be learnable, others only be scored.
    """
    first: dict[str, str] = {}
    counts = Counter[str]()
    for split, table in (each for tables in sources for each in tables.items()):
        read = task.training_label if split == TRAIN else task.reference
        for row in each_row(table):
            try:
                if has_label_column(task, row):
                    read(row)
            except DataError as error:
                first.setdefault(str(error), table.place_of(row))
                counts[str(error)] += 1
    yield from _first(
        f"{place}: {text}{f' ({counts[text]} rows)' if counts[text] > 1 else ''}"
        for text, place in first.items()
    )


def _first(messages: Iterator[str]) -> Iterator[str]:
    """Yield the first few messages, and how many there are besides."""
    yield from islice(messages, _SHOWN)
    more = sum(1 for _ in messages)
    if more:
        yield f"... and {more} more like these."
