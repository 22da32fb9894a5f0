"""Prediction over prepared rows: batches by length, one encoder pass for all tasks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch

from polytask.core.batch import Batch, Fields
from polytask.core.features import Features
from polytask.data.pools import Collation, Ints, collate
from polytask.data.prepared_rows import PreparedRow
from polytask.data.rows import LateRows
from polytask.modeling import MultiTaskModel
from polytask.tasks import Predictions

Progress = Callable[[int], None]

_FACTOR = 4
"""Tokens of a batch over the tokens of a training batch, as nothing is kept for gradients."""

_DIGITS = 6
"""Digits of the numbers of vectors after the point."""

_CACHED = 2**20
"""Tokens times width of a batch on a processor. Larger tensors do not stay in caches, and each layer
allocates memory from the system. Measured on all-MiniLM-L6-v2, see RESULTS.md."""

_SQUARED = 2**25
"""Most rows times the square of their tokens in a batch: attention and parsers keep numbers for pairs.
Rows up to 512 tokens long do not reach it in a batch of 65,536 tokens."""


class RowPool(Protocol):
    """Prepared rows that can be fetched; see ``Pool`` for the members."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that read these rows."""

    @property
    def lengths_N(self) -> Ints:
        """Number of tokens of each row."""

    @property
    def fields(self) -> Callable[[Ints], Sequence[Fields]]:
        """Reads the input fields of some rows."""

    def fetch(self, rows_b: Ints) -> list[PreparedRow]:
        """Return some prepared rows, in the order asked for."""


@dataclass(frozen=True)
class Predictor:
    """A model, its collation and device; it predicts several tasks in one encoder pass.

    :param batch_tokens: Most tokens of a batch of training, padding included.
    :param autocast: Makes the context of the forward pass.
    :param lock: Held during forward passes, so that several threads can predict.
    """

    model: MultiTaskModel
    collation: Collation
    device: torch.device
    batch_tokens: int
    autocast: Callable[[], AbstractContextManager[object]]
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def __call__(
        self, pools: Sequence[RowPool], progress: Progress = lambda rows: None
    ) -> dict[str, Predictions]:
        """Predict every task of every pool; a task over several pools has their rows in turn.

        :param progress: Called with the number of rows of each batch that is done.
        """
        results: dict[str, Predictions] = {}
        for pool in pools:
            for task, found in self._pool(pool, progress, self.answers).items():
                results.setdefault(task, Predictions()).extend(found)
        return results

    def answers(
        self, batch: Batch, tasks: Sequence[str], rows: Sequence[Fields]
    ) -> dict[str, Predictions]:
        """Predict some tasks for all rows of a batch on the device; call in evaluation mode.

        :param rows: The input fields of the rows of the batch.
        """
        rows_B = torch.arange(batch.size, device=self.device)
        with self._compute_alone():
            scores = self.model(batch.inputs, dict.fromkeys(tasks, rows_B))
        return {name: self.model.tasks[name].decode(scores[name], rows) for name in tasks}

    @torch.inference_mode()
    def answer_rows(
        self,
        rows: Sequence[PreparedRow],
        fields: Sequence[Fields],
        asked: Mapping[str, Ints],
        *,
        vectors: bool = False,
    ) -> dict[str, Predictions]:
        """Encode rows once, as one batch, and predict each task for the rows that ask for it.

        :param fields: The input fields of each row.
        :param asked: For each task the positions of its rows, ascending.
        :param vectors: Return vectors of rows in place of labels.
        """
        batch = collate(rows, self.collation).to(self.device)
        places = {task: torch.from_numpy(own).to(self.device) for task, own in asked.items()}
        with self._evaluation_mode(), self._compute_alone():
            if vectors:
                features = self.model.features(batch.inputs, places)
                return {task: Predictions(_means(own)) for task, own in features.items()}
            scores = self.model(batch.inputs, places)
        return {
            task: self.model.tasks[task].decode(scores[task], [fields[row] for row in own.tolist()])
            for task, own in asked.items()
        }

    @torch.inference_mode()
    def scores(self, pool: RowPool, task: str) -> Iterator[tuple[Ints, list[PreparedRow], Any]]:
        """Yield the positions and rows of each batch of a pool, and the scores of one task."""
        with self._evaluation_mode():
            for rows_b in self.split(pool.lengths_N):
                rows = pool.fetch(rows_b)
                batch = collate(rows, self.collation).to(self.device)
                with self._compute_alone():
                    rows_B = torch.arange(batch.size, device=self.device)
                    found = self.model(batch.inputs, {task: rows_B})[task]
                yield rows_b, rows, found

    def split(self, lengths_N: Ints) -> Iterator[Ints]:
        """Yield the positions of the rows of each batch, longest rows first.

        :param lengths_N: Number of tokens of each row.
        """
        return _batches(lengths_N, self.most_tokens)

    def vectors(
        self, pools: Sequence[RowPool], progress: Progress = lambda rows: None
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

    @contextmanager
    def _compute_alone(self) -> Iterator[None]:
        """Let one thread at a time compute.

        Many architectures keep what belongs to a pass, such as the tasks present, in attributes that
        hooks on layers read. Processors or a device are busy with one pass anyway.
        """
        with self.lock, self.autocast():
            yield

    @contextmanager
    def _evaluation_mode(self) -> Iterator[None]:
        """Put a model that is being trained into evaluation mode; another one is left alone."""
        training = self.model.training
        if training:
            self.model.eval()
        try:
            yield
        finally:
            if training:
                self.model.train()

    def _each(self, pool: RowPool) -> Iterator[tuple[Any, Batch]]:
        """Yield the batches of a pool and the positions of their rows, in evaluation mode."""
        with self._evaluation_mode():
            for rows_b in self.split(pool.lengths_N):
                yield rows_b, collate(pool.fetch(rows_b), self.collation).to(self.device)

    @torch.inference_mode()
    def _pool(
        self,
        pool: RowPool,
        progress: Progress,
        predict: Callable[[Batch, Sequence[str], Sequence[Fields]], dict[str, Predictions]],
    ) -> dict[str, Predictions]:
        order: list[int] = []
        found = {task: Predictions() for task in pool.tasks}
        for rows_b, batch in self._each(pool):
            rows = LateRows(batch.size, partial(pool.fields, rows_b))
            for task, part in predict(batch, pool.tasks, rows).items():
                found[task].extend(part)
            order.extend(rows_b.tolist())
            progress(batch.size)
        return {task: part.reorder(order) for task, part in found.items()}

    def _features(
        self, batch: Batch, tasks: Sequence[str], rows: Sequence[Fields]
    ) -> dict[str, Predictions]:
        rows_B = torch.arange(batch.size, device=self.device)
        with self._compute_alone():
            features = self.model.features(batch.inputs, dict.fromkeys(tasks, rows_B))
        return {name: Predictions(_means(own)) for name, own in features.items()}


def _means(features: Features) -> list[Any]:
    """Return the mean of the tokens of each row, in fp32."""
    means_BD = replace(features, tokens_BLD=features.tokens_BLD.float()).mean_BD
    return [[round(number, _DIGITS) for number in row] for row in means_BD.tolist()]


def _batches(lengths_N: Ints, batch_tokens: int) -> Iterator[Ints]:
    """Positions of rows, longest first so that memory is known to suffice at once."""
    order_N = np.argsort(-lengths_N, kind="stable")
    start = 0
    while start < len(order_N):
        longest = max(1, int(lengths_N[order_N[start]]))
        stop = start + max(1, min(batch_tokens // longest, _SQUARED // longest**2))
        yield order_N[start:stop]
        start = stop
