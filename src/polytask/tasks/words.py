"""Task types with one answer per word, out of a set of labels."""

from __future__ import annotations

from abc import ABC
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from polytask.core.accounting import UNKNOWN_LABEL, LeftOut
from polytask.core.alignment import Alignment
from polytask.core.batch import Fields, Inputs, Row
from polytask.core.errors import DataError
from polytask.core.padding import pad
from polytask.tasks.base import Head
from polytask.tasks.heads import KEPT, TAGS, WordHead, no_words
from polytask.tasks.inputs import InputSpec
from polytask.tasks.labels import label_text, require_no_list
from polytask.tasks.linear_head_task import LabelSetTask
from polytask.tasks.lines import column_text
from polytask.tasks.losses import Loss
from polytask.tasks.predictions import Floats, Predictions

IGNORED = -100
"""The target of a word that takes no part in the loss."""


class WordTask(LabelSetTask, ABC):
    """One label per word, by softmax and cross-entropy on the first token of each word.

    In a changed copy of a row every label goes with its word.
    """

    inputs = InputSpec(columns=("tokens",))
    labels_name = "tags"

    of_forms: ClassVar[bool] = False
    """Whether a label says something of the very word, so that one put in its place has none."""

    @property
    @override
    def default_metrics(self) -> Sequence[str | dict[str, Any]]:
        return ("accuracy",)

    @override
    def reference(self, row: Row) -> list[str] | None:
        value = self._column(row)
        try:
            tags = _split(value) if isinstance(value, str) else value
            if tags is None or isinstance(tags, list | tuple):
                return None if not tags else [self._label(tag) for tag in tags]
        except DataError as error:
            raise DataError(f"task {self.name}: column {self.target_column!r}: {error}.") from None
        raise DataError(
            f"task {self.name}: column {self.target_column!r}: "
            f"expected a list of tags or text with a tag for every word, found {value!r}"
        )

    @override
    def augment_label(self, label: list[str], alignment: Alignment) -> list[str | None]:
        return [
            label[origin] if same or not self.of_forms else None
            for origin, same in zip(alignment.origins_W, alignment.same_W, strict=True)
        ]

    @override
    def fit(self, references: Iterable[list[str]]) -> None:
        self._learn(Counter(tag for tags in references for tag in tags))

    def _label(self, value: Any) -> str:
        """Return the label of a word as text.

        :raises DataError: If the value is no label.
        """
        return label_text(value)

    @override
    def encode(self, reference: Sequence[str | None], inputs: Inputs) -> list[int] | LeftOut:
        words = inputs.get("words")
        if words is None:
            raise no_words(self.name)
        if len(words) != len(reference):
            raise self._miscount_error(len(reference), len(words))
        number_of = self._labels.numbers
        target = [IGNORED if tag is None else number_of.get(tag, IGNORED) for tag in reference]
        return LeftOut(UNKNOWN_LABEL) if all(tag == IGNORED for tag in target) else target

    @override
    def collate(self, targets: Sequence[list[int]]) -> Tensor:
        return pad(targets, IGNORED)

    @override
    def head(self, width: int) -> Head:
        return WordHead(self.name, width, len(self._labels), self.dropout, self.hidden)

    @override
    def label_counts(self, values: Tensor, scores: dict[str, Tensor] | None = None) -> Tensor:
        if scores is not None:
            values = mask_cut_words(scores[KEPT], values)
        return (values != IGNORED).sum(1)

    @override
    def loss(self, scores: dict[str, Tensor], values: Tensor) -> Loss:
        targets_bW = mask_cut_words(scores[KEPT], values)
        sums = functional.cross_entropy(
            scores[TAGS][:, : targets_bW.shape[1]].float().flatten(0, 1),
            targets_bW.flatten(),
            ignore_index=IGNORED,
            reduction="sum",
        )
        return sums / (targets_bW != IGNORED).sum().clamp(min=1)

    @override
    def decode(self, scores: dict[str, Tensor], rows: Sequence[Fields]) -> Predictions:
        """Return the tags of all words; those that the encoder cut off have the filler and no confidence.

        Probabilities end with the last word that the encoder kept.
        """
        kept_bW = scores[KEPT].tolist()
        best, probabilities = self.best_tags(scores), self.chances(scores)
        found = zip(best, probabilities, kept_bW, strict=True)
        sure, words = [self._confidence(*row) for row in found], [*map(words_of, rows)]
        return Predictions(
            [self.answer(*row) for row in zip(best, words, strict=True)],
            probabilities,
            [pad_confidence(*row) for row in zip(sure, words, strict=True)],
        )

    def best_tags(self, scores: dict[str, Tensor]) -> list[list[str]]:
        """Return the best tags of every row, up to the last word that the encoder kept."""
        rows = zip(scores[TAGS].argmax(-1).tolist(), scores[KEPT].tolist(), strict=True)
        return [self._tags(best, kept) for best, kept in rows]

    def chances(self, scores: dict[str, Tensor]) -> list[Floats]:
        """Return the probabilities of the tags of the same words, (W, C) for each row."""
        rows = scores[TAGS].detach().double().softmax(-1).cpu().numpy()
        kept_bW = scores[KEPT].tolist()
        return [row[: words_kept(kept)] for row, kept in zip(rows, kept_bW, strict=True)]

    def answer(self, tags: list[str], words: list[str]) -> list[str]:
        """Return what the tags of the kept words say of all words."""
        return self.pad_prediction(tags, words)

    def _confidence(self, tags: list[str], chances_WC: Floats, kept: list[bool]) -> list[Any]:
        """Return the probability of the tag of each word.

        A repair of spans may write a tag that is no label; the highest probability stands for it.
        """
        number_of = self._labels.numbers
        return [
            float(chances_C[number_of.get(tag, int(chances_C.argmax()))]) if real else None
            for tag, chances_C, real in zip(tags, chances_WC, kept, strict=False)
        ]

    @override
    def pad_prediction(self, prediction: list[str], items: Sequence[Any]) -> list[str]:
        if len(prediction) > len(items):
            raise self._miscount_error(len(items), len(prediction))
        return prediction + [self._labels.filler] * (len(items) - len(prediction))

    @override
    def scorer_lines(
        self, references: Sequence[Any], predictions: Sequence[Any], fields: Sequence[Fields]
    ) -> list[str]:
        """CoNLL columns ``word reference prediction``, with an empty line after every row."""
        lines: list[str] = []
        for reference, prediction, row in zip(references, predictions, fields, strict=True):
            columns = zip(words_of(row), reference, prediction, strict=True)
            lines += [" ".join(map(column_text, cells)) for cells in columns]
            lines.append("")
        return lines

    def _miscount_error(self, tags: int, words: int) -> DataError:
        return DataError(
            f"task {self.name}: {tags} tags in column {self.target_column!r}, but {words} words. "
            "Expected one tag per word."
        )

    def _tags(self, best: list[int], kept: list[bool]) -> list[str]:
        """Return the best tags of one row, up to the last word that the encoder kept."""
        labels = self.labels
        pairs = list(zip(best, kept, strict=True))[: words_kept(kept)]
        return [labels[tag] if real else self._labels.filler for tag, real in pairs]


def _split(text: str) -> list[str]:
    require_no_list(text)
    return text.split()


def mask_cut_words(kept_bW: Tensor, values_bW: Tensor) -> Tensor:
    """Return the targets; words that the encoder cut off are ignored.

    :param kept_bW: As wide as what was read of the whole batch, which may be more or less than
        the targets.
    :return: As wide as the narrower of both.
    """
    width = min(values_bW.shape[1], kept_bW.shape[1])
    return values_bW[:, :width].masked_fill(~kept_bW[:, :width], IGNORED)


def words_kept(kept: Sequence[bool]) -> int:
    """Return the number of words up to the last one that was kept."""
    return max((place + 1 for place, real in enumerate(kept) if real), default=0)


def pad_confidence(confidence: list[Any], items: Sequence[Any]) -> list[Any]:
    """Return the confidences of all items; None for those that the encoder cut off."""
    return confidence + [None] * (len(items) - len(confidence))


def words_of(fields: Fields) -> list[str]:
    """Return the words of a row: its first field that is a list of them."""
    words: list[str] = next(field for field in fields if not isinstance(field, str))
    return words
