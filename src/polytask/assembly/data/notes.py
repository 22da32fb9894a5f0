"""Notes on the data of a training, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

import numpy as np

from polytask.assembly.data.labels import has_label_column
from polytask.assembly.data.loading import TRAIN, VALIDATION, Data
from polytask.assembly.data.measurable import find_undefined_metrics
from polytask.core.batch import Row
from polytask.core.encoder import Encoder
from polytask.data.augmentation import TextAugmentation, WordAugmentation, augmentations
from polytask.data.pools import Pool
from polytask.data.rows import each_row
from polytask.data.tables import Table
from polytask.recipe import Recipe
from polytask.tasks import Task
from polytask.tasks.labels import merge_hint

_WORTH_SAYING = 0.01
_FEW_ROWS, _FEW_STEPS = 2, 10
_SHOWN = 3
"""How many unseen labels are named one by one."""


def notes(
    recipe: Recipe,
    data: Data,
    encoder: Encoder,
    tasks: Mapping[str, Task],
    pools: Sequence[Pool],
) -> list[str]:
    """Return what a person should read before a training: leaks, the label sets, labels that
    cannot be learned, metrics that tell nothing, texts that are cut or cannot be padded, changed
    copies, batches of too few rows, long rows, trainings of a few steps.
    """
    labels = chain(_files(data), _labels(tasks))
    measured = find_undefined_metrics(recipe, tasks, data.split(VALIDATION))
    seen = _leaks(recipe, data), labels, _unseen(recipe, data, tasks), measured
    texts = _cut(pools), _alone(encoder), _note_copies(recipe, pools)
    sizes = _narrow(recipe, pools), _long(recipe, pools), _short(recipe, pools)
    return [*chain(*seen, *texts, *sizes)]


def _alone(encoder: Encoder) -> Iterator[str]:
    if not encoder.pads:
        yield (
            "this encoder gives a text another meaning beside a longer one: its layers do not mask "
            "padding. Texts of equal length are encoded together, which takes more passes."
        )


def _labels(tasks: Mapping[str, Task]) -> Iterator[str]:
    for name, task in tasks.items():
        yield from (f"tasks.{name}: {note}" for note in task.notes())


def _files(data: Data) -> Iterator[str]:
    """Yield remarks on how files were read."""
    tables = [table for splits in data.tables.values() for table in splits.values()]
    yield from dict.fromkeys(note for table in tables for note in table.notes)


def _leaks(recipe: Recipe, data: Data) -> Iterator[str]:
    if any(len(rows) for rows in data.leaks.train_rows.values()):
        done = "they were dropped" if recipe.drop_leaks else "drop them with drop_leaks: true"
        yield f"{data.leaks.summary()}; {done}."


def _unseen(recipe: Recipe, data: Data, tasks: Mapping[str, Task]) -> Iterator[str]:
    for name, task in tasks.items():
        for source in recipe.tasks[name].sources:
            for split, table in data.tables[source].items():
                if split != TRAIN:
                    yield from unseen_labels(task, table, split)


def _cut(pools: Sequence[Pool]) -> Iterator[str]:
    for pool in pools:
        share = pool.cut / max(1, len(pool))
        if share >= _WORTH_SAYING:
            yield (
                f"{pool.name}: {share:.0%} of the training rows are longer than the encoder "
                "reads; see encoder.max_length."
            )


def _note_copies(recipe: Recipe, pools: Sequence[Pool]) -> Iterator[str]:
    parts = [augmentations.part(chosen.kind) for chosen in recipe.augment]
    if any(issubclass(part, WordAugmentation | TextAugmentation) for part in parts):
        for pool in pools:
            rows = len(pool) - pool.copies
            yield f"{pool.name}: {rows:,} training rows and {pool.copies:,} changed copies of them."


def _narrow(recipe: Recipe, pools: Sequence[Pool]) -> Iterator[str]:
    """Batches so small that most hold a single row, unless that is what was asked for."""
    options = recipe.training
    lengths_N = np.concatenate([pool.lengths_N for pool in pools]).clip(min=1)
    rows_N = (options.batch_tokens // lengths_N).clip(min=1)  # of a batch of rows like this one
    mean = 1 / float(np.mean(1 / rows_N))
    if mean < _FEW_ROWS and options.batch_rows != 1:
        yield (
            f"a batch holds {mean:.1f} rows on average: training.batch_tokens is "
            f"{options.batch_tokens}, and a row has {lengths_N.mean():.0f} tokens. Give it more, "
            "or let the encoder read less of each row."
        )


def _long(recipe: Recipe, pools: Sequence[Pool]) -> Iterator[str]:
    """Rows that exceed the size of a batch."""
    most = recipe.training.batch_tokens
    for pool in pools:
        if (long := int((pool.lengths_N > most).sum())) > 0:
            yield (
                f"{pool.longest}: a row of {pool.lengths_N.max():,} tokens is longer than a batch; "
                f"training.batch_tokens is {most}. {pool.name} has {long:,} such training rows, "
                "each a batch by itself. If memory does not suffice, lower encoder.max_length."
            )


def _short(recipe: Recipe, pools: Sequence[Pool]) -> Iterator[str]:
    """Trainings that end before they begin, unless a number of steps was asked for."""
    options = recipe.training
    rows, tokens = sum(map(len, pools)), sum(int(pool.lengths_N.sum()) for pool in pools)
    batches = max(tokens / options.batch_tokens, rows / (options.batch_rows or rows), 1)
    steps = round(options.epochs * batches / options.accumulate)
    if options.steps is None and steps < _FEW_STEPS:
        yield (
            f"about {max(1, steps)} steps in all: an epoch has {rows:,} rows of {tokens:,} tokens "
            f"together, and a batch up to {options.batch_tokens:,} tokens. Little is learned in so "
            "few; take smaller batches, as in training.batch_rows: 16, or more epochs."
        )


def unseen_labels(task: Task, table: Table, split: str) -> Iterator[str]:
    """Which labels of a held-out table no training row has: a message for each, or one for many.

    None for tasks without a label set.
    """
    first: dict[str, tuple[str, str]] = {}
    counts = Counter[str]()
    for row, label, shown in _unknown(task, table):
        first.setdefault(label, (table.place_of(row), shown))
        counts[label] += 1
    if len(first) > _SHOWN:
        names = ", ".join(first[label][1] for label, _ in counts.most_common(_SHOWN))
        place, _ = next(iter(first.values()))
        yield (
            f"{place}: tasks.{task.name}: {len(first)} {task.label_name}s occur in {split} "
            f"({counts.total()} times) but never in train; they cannot be learned and count as "
            f"wrong: {names}, ..."
        )
        return
    for label, (place, shown) in first.items():
        yield (
            f"{place}: tasks.{task.name}: {task.label_name} {shown} occurs in {split} "
            f"({_times(counts[label])}) but never in train; it cannot be learned and counts as "
            f"wrong.{merge_hint(label, task.labels)}"
        )


def _unknown(task: Task, table: Table) -> Iterator[tuple[Row, str, str]]:
    """Yield row, label and what messages show of it, for each label outside of the label set."""
    known = {*task.labels}
    for row in each_row(table) if known else ():
        whole = task.training_label(row) if has_label_column(task, row) else None
        labels = whole if isinstance(whole, list) else [whole]
        for at, label in enumerate(labels):
            if isinstance(label, str) and label not in known:
                yield row, label, task.shown(whole, row)[at]


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
