"""What a person should know about the data of a training before its results are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from polytask.build.checking import unseen_labels
from polytask.build.data import TRAIN, Data
from polytask.data.pools import Pool
from polytask.recipe import Recipe
from polytask.tasks import Task

_WORTH_SAYING = 0.01


def notes(
    recipe: Recipe, data: Data, tasks: Mapping[str, Task], pools: Sequence[Pool]
) -> list[str]:
    """Leaks, labels that cannot be learned, and texts that the encoder cuts off."""
    return [*_leaks(recipe, data), *_unseen(recipe, data, tasks), *_cut(pools)]


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
