"""Texts without labels: predicting their own tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, final

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from polytask.core.accounting import LeftOut
from polytask.core.batch import Fields, Inputs, Row
from polytask.core.errors import DataError, RecipeError
from polytask.core.texts import texts_in
from polytask.tasks.base import Task, tasks
from polytask.tasks.inputs import InputSpec
from polytask.tasks.language_head import KEPT, NATS, CausalHead, LanguageHead, MaskedHead
from polytask.tasks.masking import hidden_count
from polytask.tasks.predictions import Predictions


@final
@tasks.register("language_model")
class LanguageModel(Task):
    """Tokens of the text itself: hidden ones from all others, or each from those before it.

    It stands alone, or is an auxiliary of other tasks on the same texts. Its rows are encoded
    separately, since other tasks need the hidden tokens. Predictions are the negative
    log-likelihoods of the predicted tokens, in nats.

    Devlin et al., "BERT", NAACL 2019, section 3.1. https://doi.org/10.18653/v1/N19-1423

    Deviation: the number of hidden tokens is a share of each text, rounded, and never varies.

    :param objective: ``causal`` predicts each token from those before it, which needs an encoder
        that reads from left to right; ``masked`` predicts hidden tokens from all others.
    :param share: Share of the tokens that ``masked`` hides.
    :param target: A column that is not empty where there is a text.
    """

    label_type = "surprisals"
    inputs = InputSpec(rows="exclusive")

    def __init__(
        self,
        name: str,
        /,
        *,
        objective: Literal["causal", "masked"] = "causal",
        share: Annotated[float, Field(gt=0, lt=1)] = 0.15,
        target: str = "text",
        **options: Any,
    ) -> None:
        super().__init__(name, target=target, **options)
        self._objective, self._share = objective, share

    @property
    @override
    def default_metrics(self) -> Sequence[str | dict[str, Any]]:
        return ("perplexity",)

    @override
    def reference(self, row: Row) -> Any | None:
        return self._column(row) or None

    @override
    def fit(self, references: Iterable[Any]) -> None:
        if not any(True for _ in references):
            raise DataError(
                f"task {self.name}: no training row has a text in column {self.target_column!r}"
            )

    @override
    def encode(self, reference: Any, inputs: Inputs) -> int | LeftOut:
        if len(texts_in(inputs)) > 1:
            raise RecipeError(
                [
                    f"tasks.{self.name}: predicts every token once, but long texts are read in "
                    "windows that overlap. Set encoder.stride to 0."
                ]
            )
        tokens = len(inputs["ids"])
        if self._objective == "masked":
            return int(hidden_count(torch.tensor(tokens), self._share))
        return tokens - 1 or LeftOut("a single token, nothing to predict")

    @override
    def collate(self, targets: Sequence[int]) -> Tensor:
        return torch.tensor(targets)

    @override
    def label_counts(self, values: Tensor, scores: dict[str, Tensor] | None = None) -> Tensor:
        return values if scores is None else scores[KEPT].sum(1)

    @override
    def head(self, width: int) -> LanguageHead:
        if self._objective == "masked":
            return MaskedHead(self.name, width, self._share)
        return CausalHead(self.name, width)

    @property
    @override
    def head_shape(self) -> dict[str, Any]:
        return {**super().head_shape, "objective": self._objective, "share": self._share}

    @override
    def loss(self, scores: dict[str, Tensor], values: Tensor) -> Tensor:
        return scores[NATS].sum() / scores[KEPT].sum().clamp(min=1)

    @override
    def decode(self, scores: dict[str, Tensor], rows: Sequence[Fields]) -> Predictions:
        found = zip(scores[NATS].tolist(), scores[KEPT].tolist(), strict=True)
        return Predictions(
            [[nats for nats, kept in zip(*row, strict=True) if kept] for row in found]
        )

    @override
    def state(self) -> dict[str, Any]:
        return {}

    @override
    def restore(self, state: Mapping[str, Any]) -> None: ...
