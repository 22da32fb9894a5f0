"""What a model predicts for the rows of pools."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from polytask.core.batch import Batch
from polytask.data.pools import Collation, Pool, collate
from polytask.modeling import MultiTaskModel

Progress = Callable[[int], None]
Vectors = npt.NDArray[np.float32]

_FACTOR = 4
"""Tokens of a batch over those of training, as nothing is kept for gradients."""

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
    """

    labels: list[Any] = field(default_factory=list)
    probabilities: list[Any] = field(default_factory=list)

    def by_label(self, row: int, labels: Sequence[str]) -> dict[str, float]:
        """The probabilities of the labels of a row; empty unless it has one for each."""
        if not self.probabilities or self.probabilities[row].ndim != 1:
            return {}
        return dict(zip(labels, self.probabilities[row].round(6).tolist(), strict=True))

    def extend(self, other: Predictions) -> None:
        """Append the output for further rows."""
        self.labels.extend(other.labels)
        self.probabilities.extend(other.probabilities)


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

        :param progress: Told the number of rows of each batch that is done.
        """
        results: dict[str, Predictions] = {}
        for pool in pools:
            for task, found in self._pool(pool, progress).items():
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

    @torch.inference_mode()
    def vectors(
        self, pool: Pool, task: str | None = None, progress: Progress = lambda rows: None
    ) -> Vectors:
        """Encode every row of a pool: the mean over its tokens, vectors_ND.

        :param task: The task whose features are taken; the first of the pool by default. Where all
            tasks share the encoder, as with hard sharing, all have the same.
        :param progress: Called with the number of rows of each finished batch.
        """
        task = pool.tasks[0] if task is None else task
        vectors_ND = np.zeros((len(pool), self.model.sharing.width_of(task)), dtype=np.float32)
        for rows_b, batch in self._each(pool):
            rows_B = torch.arange(batch.size, device=self.device)
            with self.autocast():
                features = self.model.features(batch.inputs, {task: rows_B})[task]
            exact = replace(features, tokens_BLD=features.tokens_BLD.float())
            vectors_ND[rows_b] = exact.mean_BD.cpu().numpy()
            progress(batch.size)
        return vectors_ND

    def _each(self, pool: Pool) -> Iterator[tuple[Any, Batch]]:
        """The batches of a pool and the positions of their rows, in evaluation mode."""
        training = self.model.training
        self.model.eval()
        for rows_b in _batches(pool, self.most_tokens):
            yield rows_b, collate(pool.fetch(rows_b), self.collation).to(self.device)
        self.model.train(training)

    @torch.inference_mode()
    def _pool(self, pool: Pool, progress: Progress) -> dict[str, Predictions]:
        order: list[int] = []
        found = {task: Predictions() for task in pool.tasks}
        for rows_b, batch in self._each(pool):
            for task, part in self._batch(batch, pool.tasks).items():
                found[task].extend(part)
            order.extend(rows_b.tolist())
            progress(batch.size)
        return {
            task: self._answered(task, _reorder(part, order), pool) for task, part in found.items()
        }

    def _answered(self, name: str, found: Predictions, pool: Pool) -> Predictions:
        """What was decoded, as people read it."""
        task = self.model.tasks[name]
        if not task.rewrites:
            return found
        answers = map(task.answer, found.labels, pool.fields())
        return Predictions([*answers], found.probabilities)

    def _batch(self, batch: Batch, tasks: Sequence[str]) -> dict[str, Predictions]:
        rows_B = torch.arange(batch.size, device=self.device)
        with self.autocast():
            scores = self.model(batch.inputs, dict.fromkeys(tasks, rows_B))
        return {
            name: Predictions(
                self.model.tasks[name].decode(scores[name]),
                self.model.tasks[name].probabilities(scores[name]) or [],
            )
            for name in tasks
        }


def _batches(pool: Pool, batch_tokens: int) -> Iterator[Any]:
    """Positions of rows, longest first so that memory is known to suffice at once."""
    order_N = np.argsort(-pool.lengths_N, kind="stable")
    start = 0
    while start < len(order_N):
        longest = max(1, int(pool.lengths_N[order_N[start]]))
        stop = start + max(1, min(batch_tokens // longest, _SQUARED // longest**2))
        yield order_N[start:stop]
        start = stop


def _reorder(found: Predictions, order: Sequence[int]) -> Predictions:
    back = np.argsort(np.array(order), kind="stable").tolist()
    return Predictions(
        [found.labels[position] for position in back],
        [found.probabilities[position] for position in back] if found.probabilities else [],
    )
