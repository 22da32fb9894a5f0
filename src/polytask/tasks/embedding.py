"""Vectors of texts."""

from __future__ import annotations

import hashlib
import json
from abc import ABC
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, final

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from polytask.core.accounting import LeftOut
from polytask.core.batch import Fields, Inputs, Row
from polytask.core.errors import DataError
from polytask.core.features import Features
from polytask.core.padding import pad
from polytask.core.texts import texts_in
from polytask.tasks.base import Head, HeadContext, Task, tasks
from polytask.tasks.heads import Pool, pool_of
from polytask.tasks.inputs import InputSpec
from polytask.tasks.numbers import number_of
from polytask.tasks.predictions import Predictions

_NO_TEXT = -1
"""What stands for a text that a row does not have, in collated targets."""

VECTORS, THERE = "vectors_bPD", "there_bP"
"""Keys of the output of an ``EmbeddingHead``: a unit vector for each of P texts, and their mask."""


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
    def forward(self, features: Features, *context: HeadContext) -> dict[str, Tensor]:
        vectors_QD = self.project(self.pool(features.per_segment)).float()
        vectors_bPD = functional.normalize(vectors_QD, dim=-1).unflatten(0, (-1, features.segments))
        return {VECTORS: vectors_bPD, THERE: features.segment_mask_BP}


class VectorTask(Task, ABC):
    """Base of tasks that give every text of a row a vector.

    :param target: Column with the similarity of the first two texts; by default all are similar.
    :param pool: How the tokens of a text become one vector.
    :param size: Length of the vectors, by a linear layer; by default the width of the features.
    """

    label_type = "vectors"
    inputs = InputSpec(read_as="apart")

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
        try:
            return number_of(value)
        except DataError as error:
            raise DataError(f"task {self.name}: column {self.target_column!r}: {error}.") from None

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
    def decode(self, scores: dict[str, Tensor], rows: Sequence[Fields]) -> Predictions:
        """Return the vectors of the texts of each row."""
        found = zip(scores[VECTORS].detach().cpu(), scores[THERE].cpu(), strict=True)
        return Predictions(
            [own_PD[there_P].double().numpy().round(6).tolist() for own_PD, there_P in found]
        )

    @override
    def scorer_lines(
        self, references: Sequence[Any], predictions: Sequence[Any], fields: Sequence[Fields]
    ) -> list[str]:
        """Return the cosine of anchor and partner."""
        return [str(sum(a * b for a, b in zip(*own[:2], strict=True))) for own in predictions]


@final
@tasks.register("embedding")
class Embedding(VectorTask):
    """Vectors of texts, near to each other where the texts belong together.

    Every input column is a text, encoded by itself: an anchor, its partner, and, if there are more,
    texts that are none. Predictions are the vectors.

    ``contrastive`` finds the partner among all other texts of the rows in the batch that are
    labelled for the task, but for those equal to the anchor or to a partner of an equal anchor (Henderson et al., "Efficient Natural Language Response Suggestion for
    Smart Reply", 2017, section 4.4. https://arxiv.org/abs/1705.00652; with cosines and a temperature
    as InfoNCE, van den Oord et al., 2018. https://arxiv.org/abs/1807.03748): the more rows a batch
    has, the harder. A loss thus belongs to a batch, and a row alone has none to speak of.
    ``triplet`` wants the partner nearer than the other texts by a margin, but for those equal to it
    or to the anchor (Schroff et al., CVPR 2015,
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
    def encode(self, reference: float, inputs: Inputs) -> float | list[int] | LeftOut:
        """Return the number of the row for ``cosine``, else what tells each of its texts from others."""
        needed = 3 if self._kind == "triplet" else 2
        texts = texts_in(inputs)
        found = len(texts)
        if found < needed:
            raise DataError(
                f"task {self.name}: loss {self._kind} needs {needed} input columns or more, found "
                f"{found}"
            )
        if self._kind != "cosine":
            if reference < self.positive:
                return LeftOut("number below positive")
            return [text_id(text) for text in texts]
        return (reference - self._low) / ((self._high - self._low) or 1.0)

    @override
    def collate(self, targets: Sequence[Any]) -> Tensor:
        return super().collate(targets) if self._kind == "cosine" else pad(targets, _NO_TEXT)

    @override
    def loss(self, scores: dict[str, Tensor], values: Tensor) -> Tensor:
        vectors_bPD, there_bP = scores[VECTORS].float(), scores[THERE]
        if self._kind == "contrastive":
            return contrastive_loss(vectors_bPD, there_bP, self.temperature, values)
        cosines_bp = (vectors_bPD[:, :1] * vectors_bPD[:, 1:]).sum(-1)
        if self._kind == "cosine":
            return functional.mse_loss(cosines_bp[:, 0], values)
        short_bn = functional.relu(self.margin - cosines_bp[:, :1] + cosines_bp[:, 1:])
        others_bn = there_bP[:, 2:] & ~_equal_to_pair(_as_wide(values, there_bP))
        return ((short_bn * others_bn).sum(1) / others_bn.sum(1).clamp(min=1)).mean()

    @property
    @override
    def couples_rows(self) -> bool:
        return self._kind == "contrastive"

    @override
    def state(self) -> dict[str, Any]:
        return {"low": self._low, "high": self._high}

    @override
    def restore(self, state: Mapping[str, Any]) -> None:
        self._low, self._high = state["low"], state["high"]


def contrastive_loss(
    vectors_bPD: Tensor, there_bP: Tensor, temperature: float, texts_bP: Tensor | None = None
) -> Tensor:
    """Return the mean cross-entropy of finding the partner of each of b anchors.

    A text is no wrong answer if it equals the anchor, or a partner of an equal anchor in the batch.

    :param vectors_bPD: Vectors of length 1: anchor, partner, other texts.
    :param there_bP: Which texts a row has.
    :param texts_bP: Numbers that are equal for equal texts; by default, vectors tell texts apart.
    """
    texts_bP = _as_wide(_number_texts(vectors_bPD) if texts_bP is None else texts_bP, there_bP)
    candidates_bp = there_bP[:, 1:]
    candidates_cD = vectors_bPD[:, 1:][candidates_bp]
    partner_b = (candidates_bp.flatten().cumsum(0) - 1).view_as(candidates_bp)[:, 0].clamp(min=0)
    scores_bc = vectors_bPD[:, 0] @ candidates_cD.T / temperature
    right_bc = _right_answers(texts_bP, texts_bP[:, 1:][candidates_bp])
    right_bc = right_bc.scatter(1, partner_b.unsqueeze(1), False)  # its own partner is the target
    return functional.cross_entropy(scores_bc.masked_fill(right_bc, -torch.inf), partner_b)


def text_id(text: Inputs) -> int:
    """Return a number that is equal for texts which an encoder reads alike: a hash of its inputs.

    Vectors do not tell: dropout makes them differ for equal texts.
    """
    content = json.dumps(text, sort_keys=True, default=lambda array: array.tolist())
    return int.from_bytes(hashlib.blake2b(content.encode(), digest_size=8).digest()) >> 1


def _right_answers(texts_bP: Tensor, candidates_c: Tensor) -> Tensor:
    """Return whether a candidate equals an anchor, or a partner of an anchor equal to it: (b, c)."""
    anchors_b, partners_b = texts_bP[:, 0], texts_bP[:, 1]
    equal_anchors_bb = (anchors_b.unsqueeze(1) == anchors_b).float()
    partners_bc = (partners_b.unsqueeze(1) == candidates_c).float()
    return (anchors_b.unsqueeze(1) == candidates_c) | (equal_anchors_bb @ partners_bc > 0)


def _equal_to_pair(texts_bP: Tensor) -> Tensor:
    """Return whether each text after the first two equals one of them."""
    others_bn = texts_bP[:, 2:]
    return (others_bn == texts_bP[:, :1]) | (others_bn == texts_bP[:, 1:2])


def _as_wide(texts_bP: Tensor, there_bP: Tensor) -> Tensor:
    """Return the numbers of texts, of as many texts a row as the whole batch has."""
    missing = there_bP.shape[1] - texts_bP.shape[1]
    return functional.pad(texts_bP, (0, missing), value=_NO_TEXT)


def _number_texts(vectors_bPD: Tensor) -> Tensor:
    """The same number for equal vectors; anchors, which learn to be near candidates, are none of these."""
    _, numbers = vectors_bPD.detach().flatten(0, 1).unique(dim=0, return_inverse=True)
    texts_bP: Tensor = numbers.view(vectors_bPD.shape[:2]).clone()
    texts_bP[:, 0] += numbers.numel()
    return texts_bP
