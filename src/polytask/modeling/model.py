"""The model: an architecture over an encoder, and a head per task."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from polytask.core.batch import Batch
from polytask.core.collated import Collated
from polytask.core.errors import RecipeError
from polytask.core.features import Features
from polytask.core.partition import Partition, find_partition
from polytask.core.texts import Unfolded, texts_at, unfold
from polytask.data.augmentation import Adversary, EmbeddingAugmentation, Mix, RowMixing
from polytask.modeling.attack import Attack, token_tables
from polytask.modeling.encoding import encode, pack_segments
from polytask.modeling.fitting import check_heads
from polytask.modeling.losses import Losses, losses_of
from polytask.modeling.readers import Readers
from polytask.modeling.stored import StoredState
from polytask.sharing import Architecture
from polytask.tasks import Head, HeadContext, PooledHead, Task


class MultiTaskModel(nn.Module):
    """``sharing(encoder)`` and heads; tasks that name the same head share one.

    ``mixing`` mixes the rows of a batch while the model is trained; None by default.

    :param sharing: Gives every task the features of its rows.
    :param tasks: Fitted tasks by name.
    :param trained: Names of the T tasks that are trained; all of them by default.
    :raises RecipeError: If tasks that share a head do not have the same labels.
    """

    def __init__(
        self,
        sharing: Architecture,
        tasks: Mapping[str, Task],
        trained: Collection[str] | None = None,
    ) -> None:
        super().__init__()
        self.sharing = sharing
        self.tasks = dict(tasks)
        wanted = self.tasks if trained is None else trained
        self.trained_tasks = {name: task for name, task in tasks.items() if name in wanted}
        self.given: frozenset[str] = frozenset()
        """Names in the state of frozen parameters that are as the encoder's base has them."""
        self.tasks_apart = True
        """Whether a packed sequence holds texts of one task only, as task gradients need."""
        self.loss_parts: dict[str, tuple[str, ...]] = {}
        """The names of the parts of losses that have several, as ``partition`` found them."""
        self.mixing: RowMixing | None = None
        self._attack: Attack | None = None
        self._augmented = True
        self._readers = Readers(tasks)
        self.heads = nn.ModuleDict()
        owners: dict[str, Task] = {}
        for name, task in tasks.items():
            owner = owners.setdefault(task.head_key, task)
            if owner is task:
                self.heads[task.head_key] = self._new_head(task)
            elif owner.head_shape != task.head_shape:
                raise RecipeError(
                    [
                        f"tasks.{name}.head: cannot share head {task.head_key!r} with task "
                        f"{owner.name!r}: {task.head_differences(owner.head_shape)}. "
                        "Give both the same options and labels."
                    ]
                )
        self._try_out()

    @property
    def scores_alone(self) -> bool:
        """Whether the loss of every task depends on its own head alone."""
        return not self._readers.tasks

    @property
    def stored(self) -> StoredState:
        """Its state without what can be had again from the encoder's base."""
        return StoredState(self, self.given)

    @torch.no_grad()
    def _try_out(self) -> None:
        self.eval()
        heads = {task: self._head(task) for task in self.tasks}
        self._readers.check_heads(heads)
        reads_scores = bool(self._readers.tasks)
        check_heads(self.sharing, heads, self._encode, reads_scores=reads_scores)
        self.train()

    def _encode(self, task: str, inputs: Collated) -> Features:
        """Return the features of all rows as a task reads them."""
        rows_B = torch.arange(inputs.size, device=next(iter(inputs.values())).device)
        features: Features = self.sharing(inputs, {task: rows_B})[task]
        return features

    def _new_head(self, task: Task) -> Head:
        head = task.head(self.sharing.width_of(task.name))
        head.bind(self.sharing.encoder_of(task.name))
        return head

    def forward(
        self,
        inputs: Collated,
        rows: Mapping[str, Tensor],
        values: Mapping[str, Any] | None = None,
        mixes: Mapping[str, Mix] = MappingProxyType({}),
    ) -> dict[str, Any]:
        """Scores of every task for its rows.

        :param inputs: Collated inputs of B rows.
        :param rows: For each task wanted, the rows it reads, ascending.
        :param values: Their targets, in training.
        :param mixes: How to mix the rows of some tasks, whose heads are pooled.
        """
        wanted = self._readers.rows(rows)
        single = unfold(inputs, wanted)
        features = self._features(single, wanted)
        for task, mix in mixes.items():
            features[task] = self._mix(task, features[task], mix)
        scores = {
            task: self._head(task)(features[task], *self._context(task, single, values))
            for task in wanted
        }
        return self._readers.hand_over(scores, wanted, rows)

    def features(self, inputs: Collated, rows: Mapping[str, Tensor]) -> dict[str, Features]:
        """Return the features of rows as they are, with no tokens hidden; see ``forward``."""
        return self._encode_rows(unfold(inputs, rows), rows)

    def _features(self, single: Unfolded, rows: Mapping[str, Tensor]) -> dict[str, Features]:
        read = single.inputs
        for task, texts_n in single.rows.items():
            read = self._head(task).corrupt_inputs(read, texts_n)
        return self._encode_rows(replace(single, inputs=read), rows)

    def _encode_rows(self, single: Unfolded, rows: Mapping[str, Tensor]) -> dict[str, Features]:
        return encode(self.sharing, single, rows, self._packs)

    @property
    def _packs(self) -> bool | None:
        """How segments are packed, if the encoder asks for it: in training alone."""
        return self.tasks_apart if self.training else None

    def lines(self, batch: Batch) -> dict[str, Tensor]:
        """Return the rows of what the encoder reads that each task of a batch reads."""
        own = {task: batch.targets[task].rows_b for task in self.tasks if task in batch.targets}
        texts = {task: texts_at(batch.inputs, rows_b) for task, rows_b in own.items()}
        inputs = unfold(batch.inputs, own).inputs
        packed = pack_segments(self.sharing, inputs, texts, self._packs)
        return texts if packed is None else packed.rows

    def _mix(self, task: str, features: Features, mix: Mix) -> Features:
        head = self._head(task)
        assert isinstance(head, PooledHead)
        pooled = head.pooled(features)
        return replace(pooled, tokens_BLD=mix.vectors(pooled.tokens_BLD))

    def _head(self, task: str) -> Head:
        head = self.heads[self.tasks[task].head_key]
        assert isinstance(head, Head)
        return head

    def _context(
        self, task: str, single: Unfolded, values: Mapping[str, Any] | None
    ) -> tuple[HeadContext, ...]:
        """Return the further input of a head beside features; most heads have none."""
        if not self._head(task).reads_rows:
            return ()

        own = single.inputs.select(single.rows[task])
        targets = None if values is None else values[task]
        return (HeadContext(task, own, targets, partial(self._encode, task)),)

    def losses(self, batch: Batch) -> Losses:
        """Return the mean loss of every task that the batch holds labels for, in the order of the tasks."""
        mixes = self._mixes(batch)
        compute = partial(self._losses, batch, mixes)
        if self._attack is None or not self._augments:
            return compute()
        rows = {task: targets.weight for task, targets in batch.targets.items()}
        return self._attack.losses(compute, rows)

    def _losses(self, batch: Batch, mixes: Mapping[str, Mix]) -> Losses:
        rows = {task: batch.targets[task].rows_b for task in self.tasks if task in batch.targets}
        values = {task: batch.targets[task].values for task in rows}
        scores = self(batch.inputs, rows, values, mixes)
        return losses_of(self.tasks, scores, batch, mixes)

    def _mixes(self, batch: Batch) -> dict[str, Mix]:
        """How to mix the rows of each task in this step of training."""
        if self.mixing is None or not self._augments:
            return {}
        present = [task for task in self.tasks if task in batch.targets]
        # Rows that a task scores for another one have no target to be mixed.
        alone = [task for task in present if task not in self._readers.tasks]
        pooled = [task for task in alone if isinstance(self._head(task), PooledHead)]
        return {task: self.mixing.draw(len(batch.targets[task].rows_b)) for task in pooled}

    def change_embeddings(self, augmentation: EmbeddingAugmentation) -> None:
        """Let the token vectors that enter encoders pass an augmentation while they are trained.

        :raises RecipeError: If an encoder has no table of token vectors.
        """
        for table in self._tables():
            table.register_forward_hook(
                lambda module, _, vectors: (
                    augmentation.change(vectors) if module.training and self._augmented else vectors
                )
            )

    def attack_embeddings(self, adversary: Adversary) -> None:
        """Let an adversary change the token vectors that enter encoders while they are trained.

        :raises RecipeError: If an encoder has no table of token vectors.
        """
        self._attack = Attack(adversary, self._tables())

    @property
    def _augments(self) -> bool:
        """Whether batches are changed now."""
        return self.training and self._augmented

    @contextmanager
    def unaugmented(self) -> Iterator[None]:
        """Rows stay as they are, also while the model is trained."""
        self._augmented = False
        try:
            yield
        finally:
            self._augmented = True

    def _tables(self) -> list[nn.Embedding]:
        """Return the tables of token vectors of the encoders that are trained."""
        return token_tables(self.sharing.encoder_of(task) for task in self.trained_tasks)

    def trainable(self) -> dict[str, Parameter]:
        """Return the parameters that training changes, tied ones once, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def partition(self, batch: Batch) -> Partition:
        """Which trainable parameters each task's loss reaches.

        Every task goes through the model alone: where rows of several tasks are in one tensor, the
        graph of each of them leads to the parameters of all.

        :param batch: Rows with a label for every task.
        """
        with torch.random.fork_rng():
            present = [task for task in self.tasks if task in batch.targets]
            alone = [self._losses(batch.only(task), {}) for task in present]
            losses = {task: loss for own in alone for task, loss in own.items()}
            self.loss_parts = {task: (*own,) for one in alone for task, own in one.parts.items()}
            return find_partition(losses, self.trainable())
