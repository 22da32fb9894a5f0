"""Metrics of the order of the rows of a group, such as the answers to a question.

They are means over groups. Groups without a row to find do not count. Groups with only rows to find
count 1, as in trec_eval.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Hashable, Sequence
from typing import Any, ClassVar, NamedTuple, final

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from polytask.core.errors import RecipeError
from polytask.tasks.labels import Label
from polytask.tasks.metrics.base import Floats, Metric, Rows, known_label, mean_of_defined, metrics
from polytask.tasks.metrics.ranking_scores import MAP, MRR


class Groups(NamedTuple):
    """G groups of rows, in the order of their first rows."""

    first_G: npt.NDArray[np.int64]
    """The first row of each group."""
    values_G: Floats
    """The metric of each group; nan without a row to find."""


class _GroupMetric(Metric, ABC):
    """The mean over groups of a metric of rankings, whose items are the rows of a group.

    A group counts as often as its first row, so that the bootstrap resamples whole groups. The mean
    weight of its rows would vary less than a resample of groups, and intervals would be too narrow.

    :param group: Column whose equal values form a group, such as the id of a question. A row
        without a value is a group of one.
    :param label: The label of the rows to find, ranked by its probability; by default the second
        of two. Where numbers are predicted, rows with a number above 0 are to be found.
    """

    forms = ("label", "number")
    needs_probabilities = True
    kind: ClassVar[str]
    ranking: ClassVar[type[Metric]]

    def __init__(self, labels: Sequence[str], /, *, group: str, label: Label | None = None) -> None:
        super().__init__(labels)
        self.group = group
        if label is None and len(labels) > 2:
            known = ", ".join(labels)
            raise RecipeError(
                [f"metrics: {self.kind} ranks by one label. Add label: one of {known}."]
            )
        self.named = label is not None
        last = labels[-1] if labels else ""  # numbers have none, nor have tasks that are not fitted
        self.label = last if label is None else known_label(label, labels)

    @property
    @override
    def name(self) -> str:
        return f"{self.kind}_{self.label}" if self.named else self.kind

    @override
    def evidence(self, references: Rows, predictions: Rows, probabilities: Rows) -> Groups:
        return self.gather_evidence(references, predictions, probabilities, ())

    @override
    def gather_evidence(
        self, references: Rows, predictions: Rows, probabilities: Rows, groups: Sequence[Hashable]
    ) -> Groups:
        places: dict[Hashable, list[int]] = {}
        for place, group in enumerate(groups or [None] * len(references)):
            places.setdefault(group, []).append(place)
        relevance_N = self._relevance(references)
        scores_N = self._scores(references, predictions, probabilities)
        rankings = [
            [[column_N[place] for place in group] for group in places.values()]
            for column_N in (relevance_N, scores_N)
        ]
        values_G: Floats = self.ranking(()).evidence(rankings[0], rankings[1], ())
        return Groups(np.array([group[0] for group in places.values()], np.int64), values_G)

    @override
    def value(self, evidence: Groups, weights_N: Floats) -> float:
        return mean_of_defined(evidence.values_G, weights_N[evidence.first_G])

    @override
    def why_uninformative(self, references: Sequence[Any]) -> str | None:
        labels = f"no row has the label {self.label!r}"
        none = labels if _are_labels(references) else "no number is above 0"
        found = any(value > 0 for value in self._relevance(references))
        return super().why_uninformative(references) or (None if found else none)

    def _relevance(self, references: Sequence[Any]) -> Sequence[float]:
        """Return a number above 0 for each row to find."""
        labels = _are_labels(references)
        return [float(one == self.label) for one in references] if labels else references

    def _scores(self, references: Rows, predictions: Rows, probabilities: Rows) -> Sequence[float]:
        """Return the scores that rank the rows."""
        if not _are_labels(references):
            return predictions
        place = self.label_set.index(self.label)
        return [row_C[place] for row_C in probabilities]


def _are_labels(references: Sequence[Any]) -> bool:
    return len(references) > 0 and isinstance(references[0], str)


@final
@metrics.register("group_map")
class GroupMAP(_GroupMetric):
    """Mean average precision of the rankings of the rows of groups.

    So the answers to a question are scored in WikiQA: Yang et al., EMNLP 2015.
    https://aclanthology.org/D15-1237
    """

    kind = "group_map"
    ranking = MAP


@final
@metrics.register("group_mrr")
class GroupMRR(_GroupMetric):
    """Mean over groups of one divided by the place of the first row to find."""

    kind = "group_mrr"
    ranking = MRR
