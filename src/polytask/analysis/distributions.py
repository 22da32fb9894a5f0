"""How the labels of tasks are distributed, and how far such distributions are apart.

The distance is the Jensen-Shannon divergence with equal weights: Lin, "Divergence Measures Based on
the Shannon Entropy", IEEE Transactions on Information Theory, 1991. With base 2 it is 0 for equal
distributions and 1 for those that have no label in common. https://doi.org/10.1109/18.61115
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain, combinations
from typing import Any

import numpy as np

from polytask.assembly.data.labels import Labels
from polytask.assembly.data.loading import SPLITS, TEST, TRAIN, Data
from polytask.tasks import Task

Shares = Mapping[str, float]


def label_facts(
    data: Data, tasks: Mapping[str, Task], labels: Mapping[str, Labels]
) -> dict[str, Any]:
    """Return the label distributions of tasks with a label set, and their distances, as JSON.

    :param labels: The labels that each task may learn from; other training rows do not count.
    :return: ``{"tasks": {task: {"splits": {split: {label: share}}, "train_test": number}},
        "pairs": [{"tasks": [one, other], "train": number}]}``. ``train_test`` is null where there
        is no test. Pairs are tasks with the same label set. Each tag counts, and each of several
        labels of a row.
    """
    shares = {
        name: {split: found for split in SPLITS if (found := _shares(data, task, labels, split))}
        for name, task in tasks.items()
        if task.labels
    }
    pairs = [
        {"tasks": [one, other], "train": divergence(shares[one][TRAIN], shares[other][TRAIN])}
        for one, other in combinations(shares, 2)
        if set(tasks[one].labels) == set(tasks[other].labels)
    ]
    entries = {
        name: {
            "splits": splits,
            "train_test": divergence(splits[TRAIN], splits[TEST]) if TEST in splits else None,
        }
        for name, splits in shares.items()
    }
    return {"tasks": entries, "pairs": pairs}


def divergence(one: Shares, other: Shares) -> float:
    """Return the Jensen-Shannon divergence of two distributions, in bits: 0 to 1."""
    labels = [*dict.fromkeys([*one, *other])]
    shares_2C = np.array([[each.get(label, 0.0) for label in labels] for each in (one, other)])
    mean_C = shares_2C.mean(0)
    # Rounding may make the difference of entropies slightly negative.
    return round(max(0.0, _entropy(mean_C) - float(np.mean([*map(_entropy, shares_2C)]))), 6)


def shares_of(labels: Iterable[str]) -> dict[str, float]:
    """Return the share of each label, most frequent first."""
    counts = Counter(labels)
    return {label: round(n / counts.total(), 6) for label, n in counts.most_common()}


def _shares(data: Data, task: Task, labels: Mapping[str, Labels], split: str) -> dict[str, float]:
    allowed = labels[task.name] if split == TRAIN else Labels(task)
    sources = {view.source for view in data.views if task.name in view.tasks}
    tables = {source: table for source, table in data.split(split).items() if source in sources}
    return shares_of(chain.from_iterable(map(_each, allowed.references(tables))))


def _each(reference: Any) -> list[str]:
    """Return the labels of a row as a sequence."""
    if isinstance(reference, str):
        return [reference]
    return [label for label in reference if isinstance(label, str)]


def _entropy(shares_C: Any) -> float:
    there = shares_C[shares_C > 0]
    return float(-(there * np.log2(there)).sum())
