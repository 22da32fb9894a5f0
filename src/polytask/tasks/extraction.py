"""The sentences of a text that are worth keeping."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from polytask.core.batch import Fields, Inputs, Row
from polytask.core.errors import DataError, RecipeError
from polytask.core.features import Features
from polytask.tasks.base import Head, HeadContext, tasks
from polytask.tasks.candidates import MISSING, SCORES, THERE, collate_numbers, list_items, relevance
from polytask.tasks.heads import scorer, stretch_means
from polytask.tasks.linear_head_task import ScoredTask
from polytask.tasks.lines import one_space
from polytask.tasks.predictions import Predictions


class SentencesHead(Head):
    """Scores the mean of the tokens of every sentence: ``{scores_bP, there_bP}``.

    :param task: Name of the task, for messages.
    :param width: D of the features.
    :param dropout: Share of the features dropped in training.
    :param hidden: Width of a hidden layer, or None for a linear head.
    """

    def __init__(self, task: str, width: int, dropout: float, hidden: int | None) -> None:
        super().__init__()
        self.task = task
        self.scorer = scorer(width, 1, dropout, hidden)

    @override
    def forward(self, features: Features, *context: HeadContext) -> dict[str, Tensor]:
        if features.words_BW is None:
            raise no_sentences(self.task)
        scores_bW1 = self.scorer(sentence_means(features, features.words_BW))
        return {SCORES: scores_bW1.squeeze(-1), THERE: features.words_BW >= 0}


@final
@tasks.register("extraction")
class Extraction(ScoredTask):
    """A score of every sentence of a text: the sentences of a summary, the evidence of a claim.

    The input column holds the list of sentences, which are encoded together, each seeing the
    others; the target column a number from 0 to 1 for each. A sentence is the mean of its tokens
    (Liu and Lapata, "Text Summarization with Pretrained Encoders", EMNLP 2019, section 3.1, put a
    special token before each instead. https://aclanthology.org/D19-1387), and its loss is binary
    cross-entropy. Sentences that the encoder cut off take no part in the loss and score 0.
    """

    label_type = "ranking"

    @property
    @override
    def default_metrics(self) -> Sequence[str | dict[str, Any]]:
        return ("ndcg", "gain")

    @override
    def reference(self, row: Row) -> list[float] | None:
        fields = (row.get(column) for column in self.input_columns)
        sentences = next((field for field in fields if isinstance(field, list)), None)
        numbers = relevance(self.name, self.target_column, self._column(row), sentences)
        if numbers is not None and max(numbers) > 1:
            raise DataError(
                f"task {self.name}: column {self.target_column!r}: expected numbers from 0 to 1, "
                f"found {max(numbers)}"
            )
        return numbers

    @override
    def fit(self, references: Iterable[list[float]]) -> None:
        if not any(True for _ in references):
            raise DataError(
                f"task {self.name}: no training row has numbers in column {self.target_column!r}"
            )

    @override
    def encode(self, reference: list[float], inputs: Inputs) -> list[float]:
        sentences = inputs.get("words")
        if sentences is None:
            raise no_sentences(self.name)
        if len(sentences) != len(reference):
            raise self._miscount_error(len(reference), len(sentences))
        return reference

    @override
    def collate(self, targets: Sequence[list[float]]) -> Tensor:
        return collate_numbers(targets)

    @override
    def head(self, width: int) -> SentencesHead:
        return SentencesHead(self.name, width, self.dropout, self.hidden)

    @override
    def label_counts(self, values: Tensor, scores: dict[str, Tensor] | None = None) -> Tensor:
        labelled_bP = values != MISSING
        return (labelled_bP if scores is None else _find_kept(values, scores)).sum(1)

    @override
    def loss(self, scores: dict[str, Tensor], values: Tensor) -> Tensor:
        kept_bP = _find_kept(values, scores)
        width = kept_bP.shape[1]
        losses_bP = functional.binary_cross_entropy_with_logits(
            scores[SCORES][:, :width].float(), values[:, :width].clamp(min=0), reduction="none"
        )
        return (losses_bP * kept_bP).sum() / kept_bP.sum().clamp(min=1)

    @override
    def decode(self, scores: dict[str, Tensor], rows: Sequence[Fields]) -> Predictions:
        """Return the probability of every sentence; 0 for those that the encoder cut off."""
        kept = list_items({**scores, SCORES: scores[SCORES].float().sigmoid()})
        sentences = map(_sentences_of, rows)
        return Predictions([self.pad_prediction(*row) for row in zip(kept, sentences, strict=True)])

    @override
    def pad_prediction(self, prediction: list[float], items: Sequence[Any]) -> list[float]:
        if len(prediction) > len(items):
            raise self._miscount_error(len(items), len(prediction))
        return prediction + [0.0] * (len(items) - len(prediction))

    @override
    def state(self) -> dict[str, Any]:
        return {}

    @override
    def restore(self, state: Mapping[str, Any]) -> None: ...

    @override
    def scorer_lines(
        self, references: Sequence[Any], predictions: Sequence[Any], fields: Sequence[Fields]
    ) -> list[str]:
        """Return the best sentence of every text."""
        best = [max(range(len(own)), key=own.__getitem__) for own in predictions]
        sentences = map(_sentences_of, fields)
        return [one_space(own[at]) for own, at in zip(sentences, best, strict=True)]

    def _miscount_error(self, numbers: int, sentences: int) -> DataError:
        return DataError(
            f"task {self.name}: {numbers} numbers in column {self.target_column!r}, but {sentences} "
            "sentences. Expected one for each."
        )


def _sentences_of(fields: Fields) -> list[str]:
    """Return the sentences of a row: its first field that is a list."""
    sentences: list[str] = next(field for field in fields if not isinstance(field, str))
    return sentences


def _find_kept(values_bP: Tensor, scores: dict[str, Tensor]) -> Tensor:
    """Return which labels are of sentences that the encoder kept.

    Scores are as wide as what was read of the batch, values as wide as these rows.
    """
    width = min(values_bP.shape[1], scores[THERE].shape[1])
    return (values_bP[:, :width] != MISSING) & scores[THERE][:, :width]


def sentence_means(features: Features, first_BW: Tensor) -> Tensor:
    """Return the mean of the tokens of each sentence, up to the start of the next, means_BWD."""
    lengths_B1 = features.mask_BL.sum(1, keepdim=True)
    next_BW = functional.pad(first_BW[:, 1:], (0, 1), value=-1)
    next_BW = torch.where(next_BW < 0, lengths_B1, next_BW)
    return stretch_means(features, first_BW.clamp(min=0), next_BW)


def no_sentences(task: str) -> RecipeError:
    """Return the error for a task about sentences on rows without a list of them."""
    return RecipeError(
        [
            f"tasks.{task}: scores the sentences of a list, but the input column is a text, or the "
            "encoder gives one vector per text. Choose an encoder of subwords (transformer, "
            "huggingface) and an input column of lists of sentences."
        ]
    )
