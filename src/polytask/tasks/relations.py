"""How marked spans of a text are related."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import permutations
from typing import Any, Literal, TypeAlias, final

import torch
from pydantic import PositiveInt
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from polytask.core.accounting import UNKNOWN_LABEL, LeftOut
from polytask.core.batch import Fields, Inputs, Row
from polytask.core.errors import DataError, RecipeError
from polytask.core.texts import SPANS, require_spans
from polytask.tasks.base import tasks
from polytask.tasks.heads import no_words
from polytask.tasks.inputs import InputSpec
from polytask.tasks.labels import Label, is_blank, label_text
from polytask.tasks.linear_head_task import LabelSetTask, Share
from polytask.tasks.lines import column_text, one_space
from polytask.tasks.pairs import KEPT_PAIRS, PAIRS, PairsHead
from polytask.tasks.predictions import Predictions
from polytask.tasks.spans import parse_spans
from polytask.tasks.spelling import SpelledTask
from polytask.tasks.words import IGNORED

Relation: TypeAlias = dict[str, Any]
"""``head`` and ``tail``, each the first word of a span and that after the last, and ``type``."""

TO_ITSELF = "relation of a span to itself, never predicted"
"""Remark on rows with a relation that the model cannot predict."""

_NONE = 0
"""The class of pairs that are not related."""


@final
@tasks.register("relations")
class Relations(SpelledTask, LabelSetTask):
    """How marked spans of a text are related: a label, or none, of every ordered pair of them.

    There are two input columns, the words and the spans: a tag for every word, as of ``tagging``, or
    a list of spans, each as its first word and the word after its last. The target column lists
    relations, each with ``head`` and ``tail`` (a span, or any word of one) and ``type``. If a pair
    has several, the first one is trained on. Pairs are classified by softmax and cross-entropy; pairs
    with a span that the encoder cut off take no part in the loss and are predicted as unrelated.

    :param pairs: ``all``, or ``first``: the target column holds the label of the first two spans, of
        which alone a relation is predicted.
    :param negative: The label of pairs that are not related, for ``first``.
    :param dropout: Share of the features, and of the hidden layer, that the head drops in training.
    :param hidden: Width of the hidden layer of the head.
    """

    label_type = labels_name = "relations"
    hidden: int
    inputs = InputSpec(columns=("tokens", "tags"), read_as="marked", needs_offsets=True)

    def __init__(
        self,
        name: str,
        /,
        *,
        pairs: Literal["all", "first"] = "all",
        negative: Label | None = None,
        dropout: Share = 0.1,
        hidden: PositiveInt = 150,
        target: str = "relations",
        **options: Any,
    ) -> None:
        super().__init__(name, target=target, dropout=dropout, hidden=hidden, **options)
        self.pairs = pairs
        self.negative = None if negative is None else label_text(negative)
        self._fix([self.negative] if self.negative is not None else [], "negative")

    @property
    @override
    def default_metrics(self) -> Sequence[str | dict[str, Any]]:
        macro = {"kind": "relation_f1", "average": "macro"}
        return ("relation_f1", macro, "relation_precision", "relation_recall")

    @override
    def set_columns(self, columns: Sequence[str]) -> None:
        super().set_columns(columns)
        if len(columns) < 2:
            raise RecipeError(
                [
                    f"tasks.{self.name}.input: found {', '.join(columns)}; expected two columns, the "
                    "words and the spans."
                ]
            )

    @override
    def reference(self, row: Row) -> list[Relation] | None:
        value = self._column(row)
        if value is None or is_blank(value):
            return None
        spans = self._spans(row)
        if self.pairs == "first":
            return self._first(self._label(value), spans)
        try:
            found = [(one["head"], one["tail"], self._label(one["type"])) for one in value]
        except (TypeError, KeyError):
            raise DataError(
                f"task {self.name}: column {self.target_column!r}: expected a list of relations with "
                f"head, tail and type, found {value!r}. If it holds one label, set pairs: first."
            ) from None
        relations = [
            {"head": self._span(head, spans), "tail": self._span(tail, spans), "type": label}
            for head, tail, label in found
        ]
        return sorted(relations, key=_order)

    @override
    def correction(self, row: Row) -> str | None:
        found = self.reference(row) or ()
        return TO_ITSELF if any(one["head"] == one["tail"] for one in found) else None

    @override
    def fit(self, references: Iterable[list[Relation]]) -> None:
        self._learn(self._merge(Counter(one["type"] for found in references for one in found)))

    @override
    def encode(self, reference: list[Relation], inputs: Inputs) -> list[list[int]] | LeftOut:
        """Return the class of every pair: _NONE, or the number of the label plus one."""
        spans = inputs.get(SPANS)
        if inputs.get("words") is None or spans is None:
            raise no_words(self.name)
        known: dict[tuple[int, int], int] = {}
        for one in reference:
            pair = spans.index(one["head"]), spans.index(one["tail"])
            known.setdefault(pair, self._labels.numbers.get(one["type"], IGNORED - 1) + 1)
        target = [[IGNORED] * len(spans) for _ in spans]
        for head, tail in self._candidate_pairs(len(spans)):
            target[head][tail] = known.get((head, tail), _NONE)
        if all(one == IGNORED for own in target for one in own):
            return LeftOut("fewer than two spans" if len(spans) < 2 else UNKNOWN_LABEL)
        return target

    @override
    def collate(self, targets: Sequence[list[list[int]]]) -> Tensor:
        most = max(map(len, targets))
        values_bMM = torch.full((len(targets), most, most), IGNORED)
        for row, target in enumerate(targets):
            values_bMM[row, : len(target), : len(target)] = torch.tensor(target)
        return values_bMM

    @override
    def head(self, width: int) -> PairsHead:
        return PairsHead(self.name, width, len(self._labels) + 1, self.dropout, self.hidden)

    @override
    def label_counts(self, values: Tensor, scores: dict[str, Tensor] | None = None) -> Tensor:
        if scores is not None:
            values = _mask_cut_pairs(values, scores)
        return (values != IGNORED).sum((1, 2))

    @override
    def loss(self, scores: dict[str, Tensor], values: Tensor) -> Tensor:
        targets_bMM, most = _mask_cut_pairs(values, scores), values.shape[1]
        sums = functional.cross_entropy(
            scores[PAIRS][:, :most, :most].float().flatten(0, 2),
            targets_bMM.flatten(),
            ignore_index=IGNORED,
            reduction="sum",
        )
        return sums / (targets_bMM != IGNORED).sum().clamp(min=1)

    @override
    def decode(self, scores: dict[str, Tensor], rows: Sequence[Fields]) -> Predictions:
        """Return the relations of each row, each with the probability of its type as confidence."""
        best_bMM = scores[PAIRS].argmax(-1).masked_fill(~scores[KEPT_PAIRS], _NONE)
        chances_bMMC = scores[PAIRS].detach().float().softmax(-1).cpu()
        spans = [row[-1] for row in rows]
        tensors = zip(best_bMM.tolist(), chances_bMMC, spans, strict=True)
        found = [self._decode_row(*row) for row in tensors]
        return Predictions(
            [[relation for relation, _ in own] for own in found],
            confidences=[[chance for _, chance in own] for own in found],
        )

    def _decode_row(
        self, best_MM: list[list[int]], chances_MMC: Tensor, spans: Sequence[list[int]]
    ) -> list[tuple[Relation, float]]:
        """Return the relations of one row with their probabilities, in order."""
        found = [
            (self._relation(spans[head], spans[tail], type_), float(chances_MMC[head, tail, type_]))
            for head, tail in self._candidate_pairs(len(best_MM))
            if (type_ := best_MM[head][tail]) != _NONE
        ]
        return sorted(found, key=lambda one: _order(one[0]))

    def _relation(self, head: list[int], tail: list[int], type_: int) -> Relation:
        return {"head": head, "tail": tail, "type": self.labels[type_ - 1]}

    @override
    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self._restore_spellings(self.labels)

    @override
    def scorer_lines(
        self, references: Sequence[Any], predictions: Sequence[Any], fields: Sequence[Fields]
    ) -> list[str]:
        """Return the relations of a text, ``head type tail`` with the words of the spans, tab-separated."""
        return [
            "\t".join(
                f"{_quote(words, one['head'])} {column_text(one['type'])} "
                f"{_quote(words, one['tail'])}"
                for one in own
            )
            for own, (words, *_) in zip(predictions, fields, strict=True)
        ]

    def _candidate_pairs(self, spans: int) -> Iterable[tuple[int, int]]:
        """Return the pairs that may be related."""
        if self.pairs == "first":
            return [(0, 1)] if spans > 1 else []
        return permutations(range(spans), 2)

    def _spans(self, row: Row) -> list[list[int]]:
        words, marks = row.get(self.input_columns[0]), row.get(self.input_columns[-1])
        spans = parse_spans(marks)
        if isinstance(words, list):
            require_spans(spans, len(words))
        return spans

    def _span(self, value: Any, spans: Sequence[list[int]]) -> list[int]:
        """Return the span that a relation means by its ends, or by a word of it."""
        for start, stop in spans:
            if value == [start, stop] or (isinstance(value, int) and start <= value < stop):
                return [start, stop]
        raise DataError(
            f"task {self.name}: column {self.target_column!r}: {value!r} is neither a span nor a "
            f"word of one. {_advice(value, spans)}Spans: {spans}"
        )

    def _first(self, label: str, spans: Sequence[list[int]]) -> list[Relation]:
        if len(spans) < 2:
            raise DataError(f"task {self.name}: expected two spans, found {spans!r}")
        negative = label == self.negative
        return [] if negative else [{"head": spans[0], "tail": spans[1], "type": label}]


def _mask_cut_pairs(values_bMM: Tensor, scores: dict[str, Tensor]) -> Tensor:
    """Return the targets; pairs that the encoder cut off are ignored."""
    most = values_bMM.shape[1]  # the spans of these rows; scores are as wide as the batch
    return values_bMM.masked_fill(~scores[KEPT_PAIRS][:, :most, :most], IGNORED)


def _advice(value: Any, spans: Sequence[list[int]]) -> str:
    """Return what is likely wrong with the place of a relation."""
    if isinstance(value, int):
        return "A number names a word, counted from 0, not a span. "
    if any(value == [start, stop - 1] for start, stop in spans):
        return "The second number of a span is the word after its last one. "
    return ""


def _order(relation: Relation) -> tuple[list[int], list[int], str]:
    return relation["head"], relation["tail"], relation["type"]


def _quote(words: Sequence[str], span: Sequence[int]) -> str:
    return one_space(" ".join(words[span[0] : span[1]]))
