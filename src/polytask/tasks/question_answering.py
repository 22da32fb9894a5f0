"""Answers that are parts of a text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from polytask.core.accounting import LeftOut
from polytask.core.batch import Fields, Inputs, Row
from polytask.core.errors import DataError
from polytask.core.features import Features
from polytask.core.texts import CUT, STARTS, texts_in
from polytask.tasks.answer_tokens import answer_tokens
from polytask.tasks.answered import AnsweredRow
from polytask.tasks.answers import Answer, Found, find_answers, given_answers
from polytask.tasks.base import Head, HeadContext, Task, tasks
from polytask.tasks.heads import no_places
from polytask.tasks.inputs import InputSpec
from polytask.tasks.linear_head_task import Share
from polytask.tasks.occurrences import quote, shorten
from polytask.tasks.predictions import Predictions
from polytask.tasks.span_confidence import span_confidence

EDGES, PLACES = "edges_bPL2", "places_bPL2"
"""Keys of the output of a ``SpanHead``: scores to start and end an answer, and offsets of tokens."""

_IGNORED = -100


class SpanHead(Head):
    """Scores every token as the start and the end of an answer.

    Devlin et al., "BERT", NAACL 2019, section 4.2. https://doi.org/10.18653/v1/N19-1423

    :param task: Name of the task, for messages.
    :param width: D of the features.
    :param dropout: Share of the features dropped in training.
    """

    def __init__(self, task: str, width: int, dropout: float) -> None:
        super().__init__()
        self.task = task
        self.scorer = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, 2))

    @override
    def forward(self, features: Features, *context: HeadContext) -> dict[str, Tensor]:
        if features.offsets_BL2 is None:
            raise no_places(self.task)
        edges_bL2, shape = self.scorer(features.tokens_BLD), (features.segments, -1)
        places_bL2 = features.offsets_BL2
        return {EDGES: edges_bL2.unflatten(1, shape), PLACES: places_bL2.unflatten(1, shape)}


@final
@tasks.register("span")
class SpanAnswer(Task):
    """An answer that is part of the last input column: its start and its end are scored.

    The column holds a list of answers, each with ``text`` and ``start`` (in characters), or the
    text of one if ``start`` names the column with its place. No answer (an empty list, an empty
    text) is a row whose question cannot be answered; the first token of a text stands for that.

    A start is compared with the text. Starts counted in UTF-16 units or UTF-8 bytes are recognised;
    a wrong one moves to the nearest occurrence of the answer: an exact one, else one that differs in
    case, white space or Unicode form. Without a start, or with one below 0, the first occurrence
    counts, one of whole words before others. Such rows are counted. A row whose start points at none of its answers, which do not
    occur either, is a mistake; without a start it is not trained on. In training the first answer
    counts, one with a right start before others. All are scored as they are written.

    Where the encoder reads a text in windows,
    a window without the answer is trained to have none, and the best answer of all windows is
    given (Devlin et al., NAACL 2019, section 4.3; Alberti, Lee and Collins, "A BERT Baseline for the
    Natural Questions", 2019. https://arxiv.org/abs/1901.08634). Rows whose answer was cut off are
    not trained on. White space around an answer, and marks that the tokenizer strips, do not count.

    :param start: Column of the place of the answer, if ``target`` is the column of its text.
    :param max_tokens: Most tokens of an answer.
    :param threshold: How much better than no answer an answer must score, in logits; counts only
        if some training row has none.
    :param dropout: Share of the features that the head drops in training.
    """

    label_type = "answers"
    inputs = InputSpec(columns=("question", "context"), needs_offsets=True)

    def __init__(
        self,
        name: str,
        /,
        *,
        start: str | None = None,
        max_tokens: PositiveInt = 30,
        threshold: float = 0.0,
        dropout: Share = 0.1,
        target: str = "answers",
        **options: Any,
    ) -> None:
        super().__init__(name, target=target, **options)
        self.start, self.max_tokens = start, max_tokens
        self.threshold, self.dropout = threshold, dropout
        self._may_have_none = False

    @property
    @override
    def default_metrics(self) -> Sequence[str | dict[str, Any]]:
        return ("squad_f1", "squad_em")

    @override
    def reference(self, row: Row) -> list[dict[str, Any]] | None:
        """Return the answers as they are written, with the starts found in the text."""
        found = self._find(row)
        if found is None:
            return None
        return [
            {"text": answer.text, "start": answer.start if place is None else place.start}
            for answer, place in found
        ]

    @override
    def training_label(self, row: Row) -> list[dict[str, Any]] | None:
        """Return the answer that is learned, as the text has it.

        :raises DataError: If the text holds none of the answers where they are said to start.
        """
        found = self._find(row)
        if not found:
            return None if found is None else []
        places = [place for _, place in found if place is not None]
        if places:
            best = min(places, key=lambda place: bool(place.how))
            return [{"text": best.text, "start": best.start}]
        for answer, _ in found:
            if answer.start is not None:
                raise self._find_misplaced(answer.text, answer.start, self._text(row) or "")
        return [{"text": found[0][0].text, "start": None}]

    @override
    def correction(self, row: Row) -> str | None:
        places = [place for _, place in self._find(row) or () if place is not None]
        return next((place.how for place in places if place.how), None)

    @override
    def fit(self, references: Iterable[list[dict[str, Any]]]) -> None:
        counts = {True: 0, False: 0}
        for reference in references:
            counts[bool(reference)] += 1
        if not any(counts.values()):
            raise DataError(
                f"task {self.name}: no training row has answers in column {self.target_column!r}"
            )
        self._may_have_none = counts[False] > 0

    @override
    def encode(self, reference: list[dict[str, Any]], inputs: Inputs) -> list[list[int]] | LeftOut:
        texts = texts_in(inputs)
        if any(text.get(STARTS) is None for text in texts):
            raise no_places(self.name)
        if not reference:
            return [[0, 0]] * len(texts)
        return answer_tokens(reference[0], texts, cut=bool(inputs.get(CUT)))

    @override
    def collate(self, targets: Sequence[list[list[int]]]) -> Tensor:
        most = max(map(len, targets))
        missing = [[_IGNORED, _IGNORED]]
        return torch.tensor([target + missing * (most - len(target)) for target in targets])

    @override
    def head(self, width: int) -> SpanHead:
        return SpanHead(self.name, width, self.dropout)

    @property
    @override
    def head_shape(self) -> dict[str, Any]:
        return {**super().head_shape, "dropout": self.dropout}

    @override
    def loss(self, scores: dict[str, Tensor], values: Tensor) -> Tensor:
        edges_bPL2 = possible_edges(scores)[:, : values.shape[1]]
        losses_bP2 = functional.cross_entropy(
            edges_bPL2.transpose(1, 2), values, ignore_index=_IGNORED, reduction="none"
        )
        there_bP2 = values != _IGNORED
        losses_b = losses_bP2.sum((1, 2)) / there_bP2.sum((1, 2)).clamp(min=1)
        return losses_b.mean()

    @override
    def decode(self, scores: dict[str, Tensor], rows: Sequence[Fields]) -> Predictions:
        edges_bPL2, places_bPL2 = possible_edges(scores).detach().cpu(), scores[PLACES].cpu()
        tensors = [*zip(edges_bPL2, places_bPL2, strict=True)]
        spans = [self.best_span(*row) for row in tensors]
        sure = [
            span_confidence(span, *row, may_have_none=self._may_have_none)
            for span, row in zip(spans, tensors, strict=True)
        ]
        answers = [
            [quote(row[-1], one["start"], one["end"]) for one in span]
            for span, row in zip(spans, rows, strict=True)
        ]
        return Predictions(answers, confidences=sure)

    @override
    def state(self) -> dict[str, Any]:
        return {"may_have_none": self._may_have_none}

    @override
    def restore(self, state: Mapping[str, Any]) -> None:
        self._may_have_none = state["may_have_none"]

    @override
    def scorer_lines(
        self, references: Sequence[Any], predictions: Sequence[Any], fields: Sequence[Fields]
    ) -> list[str]:
        """Return the text of every answer, an empty line for none."""
        return [
            " ".join(word for one in row for word in one["text"].split()) for row in predictions
        ]

    @override
    def export(self, rows: Iterable[AnsweredRow]) -> dict[str, Sequence[str]]:
        """Also ``json``: the answer to each question by its ``id``, as scorers of SQuAD read it.

        It is left out unless every row has an id that no other row has.
        """
        found = [(row.row.get("id"), row.prediction) for row in rows]
        ids = {id_ for id_, _ in found}
        files = super().export(rows)
        if not found or None in ids or len(ids) < len(found):
            return files
        texts = {str(id_): answers[0]["text"] if answers else "" for id_, answers in found}
        return {**files, "json": json.dumps(texts, indent=2, ensure_ascii=False).split("\n")}

    def _find(self, row: Row) -> list[tuple[Answer, Found | None]] | None:
        """Return the answers of a row, each with its place in the text."""
        value = self._column(row)
        if self.start is not None:
            place = row.get(self.start)
            if value is None and place is None:
                return None
            value = {"text": "" if value is None else str(value), "start": place}
        if value is None:
            return None
        try:
            answers = given_answers(value)
        except (TypeError, KeyError, ValueError, AttributeError):
            raise DataError(
                f"task {self.name}: column {self.target_column!r}: expected a list of answers with "
                f"text and start, found {value!r}. If it holds the text of one answer, name the "
                "column of its place with start."
            ) from None
        return [*zip(answers, find_answers(answers, self._text(row)), strict=True)]

    def _text(self, row: Row) -> str | None:
        """Return the text that holds the answers; None if the row has none."""
        text = row.get(self.input_columns[-1]) if self.input_columns else None
        return text if isinstance(text, str) else None

    def _find_misplaced(self, answer: str, start: int, text: str) -> DataError:
        there = text[start : start + len(answer)]
        return DataError(
            f"task {self.name}: column {self.target_column!r}: found an answer that does not occur in "
            f"column {self.input_columns[-1]!r}: expected {shorten(answer)} at character {start}, "
            f"where {shorten(there) if there else 'the text has ended'} stands. Correct the answer, "
            "remove the row, or set its start to null to leave the row out of training."
        )

    def best_span(self, edges_PL2: Tensor, places_PL2: Tensor) -> list[dict[str, int]]:
        """Return the place of the best answer of one row, none if that scores better."""
        none = float(edges_PL2[:, 0].sum(-1).min())
        in_text_PL = places_PL2[..., 0] >= 0
        edges_PL2 = edges_PL2.masked_fill(~in_text_PL.unsqueeze(-1), -torch.inf)
        starts_PL, ends_PL = edges_PL2.unbind(-1)
        window = min(self.max_tokens, ends_PL.shape[1])
        padded_PL = functional.pad(ends_PL, (0, window - 1), value=-torch.inf)
        sums_PL = starts_PL + functional.max_pool1d(padded_PL, window, stride=1)
        text, first = divmod(int(sums_PL.argmax()), sums_PL.shape[1])
        score = float(sums_PL[text, first])
        last = first + int((starts_PL[text, first] + ends_PL[text, first:][:window]).argmax())
        if score == -torch.inf or (self._may_have_none and score - none <= self.threshold):
            return []
        start, end = int(places_PL2[text, first, 0]), int(places_PL2[text, last, 1])
        return [{"start": start, "end": end}]


def possible_edges(scores: dict[str, Tensor]) -> Tensor:
    """Return the scores of tokens of the text, and of the first one; others score next to nothing."""
    edges_bPL2 = scores[EDGES].float()
    allowed_bPL = scores[PLACES][..., 0] >= 0
    allowed_bPL = allowed_bPL | (
        torch.arange(allowed_bPL.shape[-1], device=allowed_bPL.device) == 0
    )
    return edges_bPL2.masked_fill(~allowed_bPL.unsqueeze(-1), torch.finfo(torch.float32).min / 4)
