"""The same answer for every row."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
from typing_extensions import override

from polytask.analysis.comparison import Comparison
from polytask.analysis.costs import COSTS
from polytask.analysis.linear_strategies import select_labelled
from polytask.analysis.strategies.base import Answered, Strategy, strategies
from polytask.assembly.data.labels import Labels
from polytask.assembly.data.loading import TRAIN
from polytask.evaluation.bootstrap import Floats
from polytask.evaluation.score import Outcome


class Constant(NamedTuple):
    """The answer for every row.

    :param shares_C: Probabilities of the C labels; None if the task has no probabilities per row.
    """

    prediction: Any
    shares_C: Floats | None = None


Answer: TypeAlias = Callable[[Any, Sequence[str]], Constant]
"""A function from the references and the labels of a task to its constant."""


@strategies.register("majority")
class MajorityStrategy(Strategy):
    """The most frequent label of a task for every row, or the mean of its numbers."""

    seeded: ClassVar[bool] = False

    @override
    def answer(self, comparison: Comparison, seed: int) -> Answered:
        started = time.perf_counter()
        outcomes = {name: _outcome(comparison, name) for name in comparison.tasks}
        seconds = time.perf_counter() - started
        costs: dict[str, float | None] = dict.fromkeys(COSTS)
        nothing = ("parameters", "trained_parameters", "flops", "inference_parameters")
        costs |= {**dict.fromkeys(nothing, 0), "inference_flops_per_row": 0, "seconds": seconds}
        return Answered(costs, outcomes)


def _outcome(comparison: Comparison, name: str) -> Outcome:
    task, data = comparison.tasks[name], comparison.data
    learned = select_labelled(name, data, comparison.labels[name], TRAIN).references
    rows = select_labelled(name, data, Labels(task), comparison.held_out)
    answer: Answer = CONSTANTS.get(task.label_type, most_frequent)
    constant = answer(learned, task.labels)
    return Outcome(
        rows.references,
        [task.pad_prediction(constant.prediction, reference) for reference in rows.references],
        [] if constant.shares_C is None else [constant.shares_C] * len(rows.references),
        rows.places,
        rows.groups,
    )


def most_frequent(references: Sequence[Any], labels: Sequence[str]) -> Constant:
    """Return the most frequent reference; of equally frequent ones the first."""
    counts = Counter(json.dumps(reference, sort_keys=True) for reference in references)
    return Constant(json.loads(counts.most_common(1)[0][0]))


def label(references: Sequence[str], labels: Sequence[str]) -> Constant:
    """Return the most frequent label, and the share of each label."""
    counts = Counter(references)
    counts_C = np.array([counts[each] for each in labels], dtype=np.float64)
    return Constant(labels[int(counts_C.argmax())], counts_C / max(1.0, counts_C.sum()))


def label_set(references: Sequence[Sequence[str]], labels: Sequence[str]) -> Constant:
    """Return the labels that more than half of the rows have."""
    counts = Counter(chain.from_iterable(references))
    shares_C = np.array([counts[each] / max(1, len(references)) for each in labels])
    chosen = [each for each, share in zip(labels, shares_C, strict=True) if share > 0.5]
    return Constant(chosen, shares_C)


def mean(references: Sequence[float], labels: Sequence[str]) -> Constant:
    """Return the mean of the references."""
    return Constant(float(np.mean(references)))


def no_tags(references: Sequence[Sequence[str]], labels: Sequence[str]) -> Constant:
    """Return no tags: the task then fills in the tag of unseen words."""
    return Constant([])


CONSTANTS: Mapping[str, Answer] = {
    "label": label,
    "labels": label_set,
    "number": mean,
    "tags": no_tags,
}
"""The constant of each ``Task.label_type``; of any other, the most frequent reference."""
