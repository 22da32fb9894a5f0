"""Vectors of texts."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, final

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from polytask.core.accounting import LeftOut
from polytask.core.batch import Fields, Inputs, Row
from polytask.core.errors import DataError
from polytask.core.features import Features
from polytask.core.texts import ReadAs, texts_in
from polytask.tasks.base import Head, Reading, Task, tasks
from polytask.tasks.heads import Pool, pool_of

VECTORS, THERE = "vectors_bPD", "there_bP"
"""What an ``EmbeddingHead`` returns: a vector of length 1 for each of P texts, and which there are."""


class EmbeddingHead(Head):
    """Pools each text of a row by itself.

    :param width: D of the features.
    :param pool: How the tokens of a text become one vector.
    :param size: Length of the vectors, by a linear layer; None for the width of the features.
    """

    def __init__(self, width: int, pool: Pool, size: int | None) -> None:
        super().__init__()
        self.pool = pool_of(pool, width)
        self.project = nn.Identity() if size is None else nn.Linear(width, size)

    @override
    def forward(self, features: Features, *reading: Reading) -> dict[str, Tensor]:
        vectors_QD = self.project(self.pool(features.apart)).float()
        vectors_bPD = functional.normalize(vectors_QD, dim=-1).unflatten(0, (-1, features.texts))
        return {VECTORS: vectors_bPD, THERE: features.there_BP}


class VectorTask(Task, ABC):
    """Base of tasks that give every text of a row a vector.

    :param target: Column that says how alike the first two texts are; by default they all are.
    :param pool: How the tokens of a text become one vector.
    :param size: Length of the vectors, by a linear layer; by default that of the features.
    """

    form = "vectors"
    read_as: ClassVar[ReadAs] = "apart"

    def __init__(
        self,
        name: str,
        /,
        *,
        target: str = "",
        pool: Pool = "mean",
        size: PositiveInt | None = None,
        **options: Any,
    ) -> None:
        super().__init__(name, target=target, **options)
        self.pool, self.size = pool, size

    @override
    def reference(self, row: Row) -> float | None:
        if not self.target_column:
            return 1.0
        value = self._column(row)
        if value is None or value == "":
            return None
        try:
            return float(value)
        except (TypeError, ValueError):
            raise DataError(
                f"task {self.name}: column {self.target_column!r}: expected a number, found {value!r}"
            ) from None

    @override
    def collate(self, targets: Sequence[float]) -> Tensor:
        return torch.tensor(targets, dtype=torch.float)

    @override
    def head(self, width: int) -> EmbeddingHead:
        return EmbeddingHead(width, self.pool, self.size)

    @property
    @override
    def head_shape(self) -> dict[str, Any]:
        return {**super().head_shape, "pool": self.pool, "size": self.size}

    @override
    def decode(self, scores: dict[str, Tensor]) -> list[list[list[float]]]:
        """The vectors of the texts of each row."""
        rows = zip(scores[VECTORS].detach().cpu(), scores[THERE].cpu(), strict=True)
        return [own_PD[there_P].double().numpy().round(6).tolist() for own_PD, there_P in rows]

    @override
    def scorer_lines(
        self, references: Sequence[Any], predictions: Sequence[Any], fields: Sequence[Fields]
    ) -> list[str]:
        """The cosine of anchor and partner."""
        return [str(sum(a * b for a, b in zip(*own[:2], strict=True))) for own in predictions]


@final
@tasks.register("embedding")
class Embedding(VectorTask):
    """Vectors of texts, near to each other where the texts belong together.

    Every input column is a text, encoded by itself: an anchor, its partner, and, if there are more,
    texts that are none. Predictions are the vectors.

    ``contrastive`` finds the partner among all other texts of the rows in the batch that are
    labelled for the task (Henderson et al., "Efficient Natural Language Response Suggestion for
    Smart Reply", 2017, section 4.4. https://arxiv.org/abs/1705.00652; with cosines and a temperature
    as InfoNCE, van den Oord et al., 2018. https://arxiv.org/abs/1807.03748): the more rows a batch
    has, the harder. A loss thus belongs to a batch, and a row alone has none to speak of.
    ``triplet`` wants the partner nearer than the other texts by a margin (Schroff et al., CVPR 2015,
    equation 3, with cosines. https://arxiv.org/abs/1503.03832). ``cosine`` wants the cosine to be
    the number of the row, scaled to 0 to 1 (Reimers and Gurevych, EMNLP 2019, section 3.
    https://arxiv.org/abs/1908.10084).

    :param loss: ``contrastive``, ``triplet`` or ``cosine``.
    :param positive: Rows whose number is lower are not trained on by ``contrastive`` and ``triplet``.
    :param temperature: What cosines are divided by, for ``contrastive``.
    :param margin: How much nearer the partner is to be, for ``triplet``.
    """

    def __init__(
        self,
        name: str,
        /,
        *,
        loss: Literal["contrastive", "triplet", "cosine"] = "contrastive",
        positive: float = 1.0,
        temperature: PositiveFloat = 0.05,
        margin: PositiveFloat = 0.2,
        **options: Any,
    ) -> None:
        super().__init__(name, **options)
        self._kind, self.positive = loss, positive
        self.temperature, self.margin = temperature, margin
        self._low, self._high = 0.0, 1.0

    @property
    @override
    def default_metrics(self) -> Sequence[str | dict[str, Any]]:
        if self._low < self._high:
            return ("cosine_spearman", "cosine_pearson")
        return ("retrieval_mrr", "retrieval_recall")

    @override
    def fit(self, references: Iterable[float]) -> None:
        numbers = [*references]
        if not numbers:
            raise DataError(
                f"task {self.name}: no training row has a number in column {self.target_column!r}"
            )
        self._low, self._high = min(numbers), max(numbers)

    @override
    def encode(self, reference: float, inputs: Inputs) -> float | LeftOut:
        needed = 3 if self._kind == "triplet" else 2
        found = len(texts_in(inputs))
        if found < needed:
            raise DataError(
                f"task {self.name}: loss {self._kind} needs {needed} input columns or more, found "
                f"{found}"
            )
        if self._kind != "cosine":
            return 1.0 if reference >= self.positive else LeftOut("number below positive")
        return (reference - self._low) / ((self._high - self._low) or 1.0)

    @override
    def loss(self, scores: dict[str, Tensor], values: Tensor) -> Tensor:
        vectors_bPD, there_bP = scores[VECTORS].float(), scores[THERE]
        if self._kind == "contrastive":
            return contrastive_loss(vectors_bPD, there_bP, self.temperature)
        cosines_bp = (vectors_bPD[:, :1] * vectors_bPD[:, 1:]).sum(-1)
        if self._kind == "cosine":
            return functional.mse_loss(cosines_bp[:, 0], values)
        short_bn = functional.relu(self.margin - cosines_bp[:, :1] + cosines_bp[:, 1:])
        others_bn = there_bP[:, 2:]
        return ((short_bn * others_bn).sum(1) / others_bn.sum(1).clamp(min=1)).mean()

    @override
    def state(self) -> dict[str, Any]:
        return {"low": self._low, "high": self._high}

    @override
    def restore(self, state: Mapping[str, Any]) -> None:
        self._low, self._high = state["low"], state["high"]


def contrastive_loss(vectors_bPD: Tensor, there_bP: Tensor, temperature: float) -> Tensor:
    """The mean cross-entropy of finding the partner of each of b anchors.

    :param vectors_bPD: Vectors of length 1: anchor, partner, other texts.
    :param there_bP: Which texts a row has.
    """
    candidates_bp = there_bP[:, 1:]
    candidates_cD = vectors_bPD[:, 1:][candidates_bp]
    partner_b = (candidates_bp.flatten().cumsum(0) - 1).view_as(candidates_bp)[:, 0]
    scores_bc = vectors_bPD[:, 0] @ candidates_cD.T / temperature
    return functional.cross_entropy(scores_bc, partner_b.clamp(min=0))
