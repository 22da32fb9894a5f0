"""Mistakes in the data of a recipe, all at once, before anything is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from polytask.balancing import balancers
from polytask.build.augmentation import Augmentations
from polytask.build.data import TRAIN, Tables, load_source
from polytask.build.labels import Labels, TrainingFields
from polytask.build.model import new_tasks
from polytask.build.origin import with_kept
from polytask.build.pools import training_pool
from polytask.build.start import begin
from polytask.build.views import View, views_of
from polytask.core.errors import DataError, PolytaskError
from polytask.core.scratch import scratch_folder
from polytask.data.mixing import mixtures
from polytask.data.rows import each_row
from polytask.data.tables import Table
from polytask.recipe import Recipe
from polytask.tasks import Task

_SHOWN = 3
"""How many rows with the same flaw are named."""

_SAMPLE = 50
"""How many rows of each source are read as training reads them."""


@dataclass(frozen=True)
class Findings:
    """What a check found, each with file and line.

    :param mistakes: What stops a training.
    :param warnings: What does not, but a person should know.
    """

    mistakes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def check(recipe: Recipe) -> Findings:
    """Look at every file, column, input and label that a training of the recipe would read."""
    try:
        return _check(with_kept(recipe))
    except PolytaskError as error:
        return Findings([str(error)])


def _check(recipe: Recipe) -> Findings:
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
        own = {s: tables[s] for s in section.sources if s in tables}
        _check_labels(tasks[name], own, found)
    if not found.mistakes:
        _check_model(recipe, tasks, tables, found)
    return Findings(list(dict.fromkeys(found.mistakes)), found.warnings)


def _check_model(
    recipe: Recipe, tasks: Mapping[str, Task], tables: Tables, found: Findings
) -> None:
    """Build everything from the first few rows, and read them as training does."""
    train = {source: splits[TRAIN] for source, splits in tables.items() if TRAIN in splits}
    heads = {
        source: table.select(range(min(_SAMPLE, len(table)))) for source, table in train.items()
    }
    views = views_of(recipe)
    labels = {name: Labels(task) for name, task in tasks.items()}
    fields = TrainingFields(views, heads, labels)
    try:
        augmentation = Augmentations.of(recipe, fields)
        read = TrainingFields(augmentation.with_copies(views), heads, labels)
        with read.at_last():
            begun = begin(recipe, tasks, read)
        augmentation.attach(begun.model)
        mixtures.build(recipe.mixing).attend([view.tasks for view in views])
        balancers.build(recipe.balancing, len(recipe.trained))
        with scratch_folder() as scratch:
            for view in views:
                own = heads[view.source], begun.encoder, labels, scratch
                training_pool(view, *own, augmentation.copies(view))
    except PolytaskError as error:
        found.mistakes.append(str(error))


def _check_inputs(view: View, table: Table, found: Findings) -> None:
    """Missing columns, and rows without an input."""
    try:
        view.require_columns(table)
    except DataError as error:
        found.mistakes.append(str(error))
        return
    missing = (
        f"{table.place_of(row)}: column {column!r} is null; expected something to read. Remove "
        "the row, or name another column: input: NAME."
        for row in each_row(table)
        for column in view.columns
        if row[column] is None
    )
    empty = (
        f"{table.place_of(row)}: column {column!r} is empty; there is nothing to learn from."
        for row in each_row(table)
        for column in view.columns
        if row[column] in ("", [])
    )
    found.mistakes.extend(_first(missing))
    found.warnings.extend(_first(empty))


def _check_labels(task: Task, sources: Mapping[str, Mapping[str, Table]], found: Findings) -> None:
    """Labels of the wrong kind, and labels that training never sees."""
    wrong = [*_unreadable(task, [t for tables in sources.values() for t in tables.values()])]
    train = {source: tables[TRAIN] for source, tables in sources.items() if TRAIN in tables}
    found.mistakes.extend(wrong)
    if wrong or not train:
        return
    try:
        task.fit(Labels(task).references(train))
    except DataError as error:
        found.mistakes.append(str(error))
        return
    held_out = [(s, t) for tables in sources.values() for s, t in tables.items() if s != TRAIN]
    for split, table in held_out:
        found.warnings.extend(unseen_labels(task, table, split))


def _unreadable(task: Task, tables: Sequence[Table]) -> Iterator[str]:
    """What is wrong with labels; what is said of many rows alike, as of a missing column, once."""
    first: dict[str, str] = {}
    counts = Counter[str]()
    for table in tables:
        for row in each_row(table):
            try:
                task.lesson(row)
            except DataError as error:
                first.setdefault(str(error), table.place_of(row))
                counts[str(error)] += 1
    yield from _first(
        f"{place}: {text}{f' ({counts[text]} rows)' if counts[text] > 1 else ''}"
        for text, place in first.items()
    )


def unseen_labels(task: Task, table: Table, split: str) -> Iterator[str]:
    """Which labels of a held-out table no training row has: a message for each, or one for many.

    None for tasks without a label set.
    """
    known = {*task.labels}
    first: dict[str, str] = {}
    counts = Counter[str]()
    for row in each_row(table) if known else ():
        reference = task.lesson(row)
        for label in reference if isinstance(reference, list) else [reference]:
            if isinstance(label, str) and label not in known:
                first.setdefault(label, table.place_of(row))
                counts[label] += 1
    if len(first) > _SHOWN:
        names = ", ".join(repr(label) for label, _ in counts.most_common(_SHOWN))
        yield (
            f"{next(iter(first.values()))}: tasks.{task.name}: {len(first)} labels occur in {split} "
            f"({counts.total()} times) but never in train; they cannot be learned and count as "
            f"wrong: {names}, ..."
        )
        return
    for label, place in first.items():
        yield (
            f"{place}: tasks.{task.name}: label {label!r} occurs in {split} ({_times(counts[label])}) "
            "but never in train; it cannot be learned and counts as wrong."
        )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _first(messages: Iterator[str]) -> Iterator[str]:
    """The first few messages, and how many there are besides."""
    yield from islice(messages, _SHOWN)
    more = sum(1 for _ in messages)
    if more:
        yield f"... and {more} more like these."
