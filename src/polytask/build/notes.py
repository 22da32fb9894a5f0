"""What a person should know about the data of a training before its results are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

import numpy as np

from polytask.build.checking import unseen_labels
from polytask.build.data import TRAIN, Data
from polytask.core.encoder import Encoder
from polytask.data.augmentation import TextAugmentation, WordAugmentation, augmentations
from polytask.data.pools import Pool
from polytask.recipe import Recipe
from polytask.tasks import Task

_WORTH_SAYING = 0.01
_FEW_ROWS, _FEW_STEPS = 2, 10


def notes(
    recipe: Recipe,
    data: Data,
    encoder: Encoder,
    tasks: Mapping[str, Task],
    pools: Sequence[Pool],
) -> list[str]:
    """Leaks, labels that cannot be learned, texts that the encoder cuts off or cannot pad, changed
    copies, batches of one row, long rows, trainings of a few steps.
    """
    seen = _leaks(recipe, data), _unseen(recipe, data, tasks), _cut(pools), _alone(encoder)
    sizes = _narrow(recipe, pools), _long(recipe, pools), _short(recipe, pools)
    return [*chain(*seen, _copied(recipe, pools), *sizes)]


def _alone(encoder: Encoder) -> Iterator[str]:
    if not encoder.pads:
        yield (
            "this encoder gives a text another meaning beside a longer one: its layers do not mask "
            "padding. Texts of equal length are encoded together, which takes more passes."
        )


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
        if "cut" in pool.rows.column_names and len(pool):
            share = sum(pool.rows["cut"]) / len(pool)
            if share >= _WORTH_SAYING:
                yield (
                    f"{pool.name}: {share:.0%} of the training rows are longer than the encoder "
                    "reads; see encoder.max_length."
                )


def _copied(recipe: Recipe, pools: Sequence[Pool]) -> Iterator[str]:
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
