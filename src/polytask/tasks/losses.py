"""The loss of a task: its parts, and what each row counts in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

Loss: TypeAlias = Tensor | Mapping[str, Tensor]
"""A loss, or its named parts, which add up to it."""


class Objective(ABC):
    """Part of the interface of a task: the loss that is minimised."""

    reads_scores: tuple[str, ...] = ()
    """The tasks whose scores for the same rows its loss reads, as in ESMM (Ma et al., SIGIR 2018).

    ``scores`` are then a mapping from its own name and theirs to the scores of each, also in
    ``decode``. Its loss reaches the parameters of their heads. https://arxiv.org/abs/1804.07931
    """

    @abstractmethod
    def loss(self, scores: Any, values: Any) -> Loss:
        """Return the mean loss over the labels of b rows: a scalar with a graph.

        A loss of several parts may return these by name. They add up to the loss that is
        minimised, and are recorded beside it.
        """

    def label_counts(self, values: Any, scores: Any | None = None) -> Tensor:
        """Return the number of labels of each of b rows, counts_b: what ``loss`` is a mean over.

        :param scores: Where given, labels of what the encoder cut off do not count.
        """
        while isinstance(values, Mapping):
            values = next(iter(values.values()))
        return torch.ones(len(values), dtype=torch.long, device=values.device)

    @property
    def couples_rows(self) -> bool:
        """Whether the loss compares rows of a batch, so that a row alone has none."""
        return False

    @property
    def reads_start(self) -> bool:
        """Whether its loss compares scores with the scores of the model before training."""
        return False

    def start_targets(self, targets: Sequence[Any], scores: Any) -> list[Any]:
        """Return the targets of b rows with what the loss reads of the scores before training.

        Called once for each training row, if ``reads_start``.
        """
        return [*targets]

    def weighted_loss(self, scores: Any, values: Any, weights_b: Tensor) -> Loss:
        """Return ``loss`` with each row counted by its weight, as if it were there so many times.

        ``loss`` is vectorised over rows by ``torch.vmap``. One that cannot be, as it indexes by
        a mask or calls ``item``, overrides this. Not called for tasks that couple rows.

        :param weights_b: Weights of the b rows, above 0.
        """
        labels_b = weights_b * self.label_counts(values, scores)
        return weighted_mean(self.loss, scores, values, labels_b)


def total(loss: Loss) -> Tensor:
    """Return a loss as one scalar."""
    return loss if isinstance(loss, Tensor) else reduce(torch.add, loss.values())


def weighted_mean(
    loss: Callable[[Any, Any], Loss], scores: Any, values: Any, labels_b: Tensor
) -> Loss:
    """Return a mean loss over labels in which each row counts by its weight.

    The loss of every row is computed alone, by one vectorised call.

    :param loss: Scores and collated targets of some rows to the mean loss over their labels.
    :param scores: Scores of b rows.
    :param values: Their collated targets.
    :param labels_b: The number of labels of each row, times its weight.
    """

    def of_row(row: Any) -> Loss:
        found = loss(*tree_map(lambda tensor: tensor.unsqueeze(0), row))
        return found if isinstance(found, Tensor) else dict(found)

    def mean(losses_b: Tensor) -> Tensor:
        # No row may have a label that the encoder kept; the mean is then 0, as without weights.
        whole = labels_b.sum().clamp(min=torch.finfo(labels_b.dtype).tiny)
        return (losses_b * labels_b).sum() / whole

    losses: Loss = torch.vmap(of_row)((scores, values))
    if isinstance(losses, Tensor):
        return mean(losses)
    return {name: mean(losses_b) for name, losses_b in losses.items()}
