"""What a model predicts for the rows of pools."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from polytask.core.batch import Batch
from polytask.core.features import Features
from polytask.data.pools import Collation, Pool, collate
from polytask.modeling import MultiTaskModel
from polytask.tasks import Task

Progress = Callable[[int], None]

_FACTOR = 4
"""Tokens of a batch over those of training, as nothing is kept for gradients."""

_DIGITS = 6
"""Digits of probabilities and vectors after the point."""

_CACHED = 2**20
"""Numbers of a vector of every token that a processor goes through fastest: more do not stay in its
caches, and memory is asked for anew for each layer. Measured on all-MiniLM-L6-v2, see RESULTS.md."""

_SQUARED = 2**25
"""Most rows times the square of their tokens in a batch: attention and parsers keep numbers for pairs.
Rows up to 512 tokens long do not reach it in a batch of 65,536 tokens."""


@dataclass
class Predictions:
    """The output of one task for N rows, in their order.

    :param labels: Predictions in the form of references.
    :param probabilities: Probabilities of the labels, empty if the task has none.
    :param confidences: Probabilities of the predictions, empty if the task has none.
    """

    labels: list[Any] = field(default_factory=list)
    probabilities: list[Any] = field(default_factory=list)
    confidences: list[Any] = field(default_factory=list)

    def certainty(
        self, row: int, labels: Sequence[str], top_k: int | None = None
    ) -> dict[str, Any]:
        """Return ``confidence`` and ``probabilities`` of a row, as far as the task has them.

        :param labels: The label set of the task.
        :param top_k: Keep this many labels at most, the most probable first; None for all labels in
            their order.
        """
        found: dict[str, Any] = {}
        if self.confidences:
            found["confidence"] = _rounded(self.confidences[row])
        if top_k != 0 and (probabilities := self._by_label(row, labels, top_k)):
            found["probabilities"] = probabilities
        return found

    def _by_label(self, row: int, labels: Sequence[str], top_k: int | None) -> dict[str, float]:
        """Return the probabilities of the labels of a row; empty unless it has one for each."""
        if not self.probabilities or self.probabilities[row].ndim != 1:
            return {}
        chances_C = self.probabilities[row]
        order = range(len(labels))
        if top_k is not None:
            order = np.argsort(-chances_C, kind="stable")[:top_k].tolist()
        return {labels[place]: round(float(chances_C[place]), _DIGITS) for place in order}

    def extend(self, other: Predictions) -> None:
        """Append the output for further rows."""
        self.labels.extend(other.labels)
        self.probabilities.extend(other.probabilities)
        self.confidences.extend(other.confidences)

    def reordered(self, order: Sequence[int]) -> Predictions:
        """Return rows that were predicted in some order in the order of their numbers."""
        back = np.argsort(np.array(order), kind="stable").tolist()
        columns = self.labels, self.probabilities, self.confidences
        return Predictions(*([own[at] for at in back] if own else [] for own in columns))


@dataclass(frozen=True)
class Predictor:
    """A model with all that is needed to run it over pools; several tasks cost one encoder pass.

    :param batch_tokens: Most tokens of a batch of training, padding included.
    :param autocast: Makes the context of the forward pass.
    """

    model: MultiTaskModel
    collation: Collation
    device: torch.device
    batch_tokens: int
    autocast: Callable[[], AbstractContextManager[object]]

    def __call__(
        self, pools: Sequence[Pool], progress: Progress = lambda rows: None
    ) -> dict[str, Predictions]:
        """Predict every task of every pool; a task over several pools has their rows in turn.

        :param progress: Called with the number of rows of each batch that is done.
        """
        results: dict[str, Predictions] = {}
        for pool in pools:
            for task, found in self._pool(pool, progress, self._batch).items():
                results.setdefault(task, Predictions()).extend(self._answered(task, found, pool))
        return results

    def vectors(
        self, pools: Sequence[Pool], progress: Progress = lambda rows: None
    ) -> dict[str, Predictions]:
        """Return the features that each task reads, averaged over the tokens of a row, as labels."""
        results: dict[str, Predictions] = {}
        for pool in pools:
            for task, found in self._pool(pool, progress, self._features).items():
                results.setdefault(task, Predictions()).extend(found)
        return results

    @property
    def most_tokens(self) -> int:
        """Most tokens of a batch, padding included; a longer row is a batch by itself."""
        most = _FACTOR * self.batch_tokens
        if self.device.type != "cpu":
            return most
        width = max(self.model.sharing.width_of(task) for task in self.model.tasks)
        return min(most, _CACHED // width)

    def _each(self, pool: Pool) -> Iterator[tuple[Any, Batch]]:
        """The batches of a pool and the positions of their rows, in evaluation mode."""
        training = self.model.training
        self.model.eval()
        for rows_b in _batches(pool, self.most_tokens):
            yield rows_b, collate(pool.fetch(rows_b), self.collation).to(self.device)
        self.model.train(training)

    @torch.inference_mode()
    def _pool(
        self,
        pool: Pool,
        progress: Progress,
        predict: Callable[[Batch, Sequence[str]], dict[str, Predictions]],
    ) -> dict[str, Predictions]:
        order: list[int] = []
        found = {task: Predictions() for task in pool.tasks}
        for rows_b, batch in self._each(pool):
            for task, part in predict(batch, pool.tasks).items():
                found[task].extend(part)
            order.extend(rows_b.tolist())
            progress(batch.size)
        return {task: part.reordered(order) for task, part in found.items()}

    def _answered(self, name: str, found: Predictions, pool: Pool) -> Predictions:
        """What was decoded, as people read it."""
        task = self.model.tasks[name]
        if not task.rewrites:
            return found
        answers = map(task.answer, found.labels, pool.fields())
        sure = map(task.answer_confidence, found.confidences, found.labels, pool.fields())
        return Predictions([*answers], found.probabilities, [*sure])

    def _batch(self, batch: Batch, tasks: Sequence[str]) -> dict[str, Predictions]:
        rows_B = torch.arange(batch.size, device=self.device)
        with self.autocast():
            scores = self.model(batch.inputs, dict.fromkeys(tasks, rows_B))
        return {name: _decoded(self.model.tasks[name], scores[name]) for name in tasks}

    def _features(self, batch: Batch, tasks: Sequence[str]) -> dict[str, Predictions]:
        rows_B = torch.arange(batch.size, device=self.device)
        with self.autocast():
            features = self.model.features(batch.inputs, dict.fromkeys(tasks, rows_B))
        return {name: Predictions(_means(own)) for name, own in features.items()}


def _decoded(task: Task, scores: Any) -> Predictions:
    labels, probabilities = task.decode(scores), task.probabilities(scores)
    confidences = task.confidences(scores, labels, probabilities)
    return Predictions(labels, probabilities or [], confidences or [])


def _means(features: Features) -> list[Any]:
    """Return the mean of the tokens of each row, in fp32."""
    means_BD = replace(features, tokens_BLD=features.tokens_BLD.float()).mean_BD
    return [[round(number, _DIGITS) for number in row] for row in means_BD.tolist()]


def _rounded(confidence: Any) -> Any:
    if isinstance(confidence, list):
        return [_rounded(part) for part in confidence]
    return None if confidence is None else round(float(confidence), _DIGITS)


def _batches(pool: Pool, batch_tokens: int) -> Iterator[Any]:
    """Positions of rows, longest first so that memory is known to suffice at once."""
    order_N = np.argsort(-pool.lengths_N, kind="stable")
    start = 0
    while start < len(order_N):
        longest = max(1, int(pool.lengths_N[order_N[start]]))
        stop = start + max(1, min(batch_tokens // longest, _SQUARED // longest**2))
        yield order_N[start:stop]
        start = stop
