"""Answers that are parts of a text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from polytask.core.accounting import CUT as CUT_OFF, NOT_ALIGNED, LeftOut
from polytask.core.batch import Fields, Inputs, Row
from polytask.core.errors import DataError
from polytask.core.features import Features
from polytask.core.texts import CUT, ENDS, STARTS, texts_in
from polytask.tasks.base import Floats, Head, Reading, Task, tasks
from polytask.tasks.heads import no_places
from polytask.tasks.scored import Share
from polytask.tasks.span_confidence import span_confidence

EDGES, PLACES = "edges_bPL2", "places_bPL2"
"""What a ``SpanHead`` returns: scores to start and to end an answer, and the places of tokens."""

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
    def forward(self, features: Features, *reading: Reading) -> dict[str, Tensor]:
        if features.places_BL2 is None:
            raise no_places(self.task)
        edges_bL2, shape = self.scorer(features.tokens_BLD), (features.texts, -1)
        places_bL2 = features.places_BL2
        return {EDGES: edges_bL2.unflatten(1, shape), PLACES: places_bL2.unflatten(1, shape)}


@final
@tasks.register("span")
class SpanAnswer(Task):
    """An answer that is part of the last input column: its start and its end are scored.

    The column holds a list of answers, each with ``text`` and ``start`` (in characters), or the
    text of one if ``start`` names the column with its place. No answer (an empty list, an empty
    text, a start below 0) is a row whose question cannot be answered; the first token of a text
    stands for that. In training the first answer counts. Where the encoder reads a text in windows,
    a window without the answer is trained to have none, and the best answer of all windows is
    given (Devlin et al., NAACL 2019, section 4.3; Alberti, Lee and Collins, "A BERT Baseline for the
    Natural Questions", 2019. https://arxiv.org/abs/1901.08634). Rows whose answer was cut off are
    not trained on.

    :param start: Column of the place of the answer, if ``target`` is the column of its text.
    :param longest: Most tokens of an answer.
    :param threshold: How much better than no answer an answer must score, in logits; counts only
        if some training row has none.
    :param dropout: Share of the features that the head drops in training.
    """

    form = "answers"
    usual_columns = ("question", "context")
    quotes = rewrites = True

    def __init__(
        self,
        name: str,
        /,
        *,
        start: str | None = None,
        longest: PositiveInt = 30,
        threshold: float = 0.0,
        dropout: Share = 0.1,
        target: str = "answers",
        **options: Any,
    ) -> None:
        super().__init__(name, target=target, **options)
        self.start, self.longest, self.threshold, self.dropout = start, longest, threshold, dropout
        self._may_have_none = False

    @property
    @override
    def default_metrics(self) -> Sequence[str | dict[str, Any]]:
        return ("squad_f1", "squad_em")

    @override
    def reference(self, row: Row) -> list[dict[str, Any]] | None:
        value = self._column(row)
        if self.start is not None:
            place = row.get(self.start)
            if value is None and place is None:
                return None
            value = [{"text": value or "", "start": -1 if place is None else place}]
        if value is None:
            return None
        if isinstance(value, Mapping):  # SQuAD as the datasets library has it
            pairs = zip(value.get("text", ()), value.get("answer_start", ()), strict=True)
            value = [{"text": text, "start": start} for text, start in pairs]
        return self._answers(value)

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
        first, last = _ends(reference[0])
        found = [_tokens(text[STARTS], text[ENDS], first, last) for text in texts]
        if not any(found):
            return LeftOut(CUT_OFF if inputs.get(CUT) else NOT_ALIGNED)
        return [one or [0, 0] for one in found]

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
        edges_bPL2 = _possible(scores)[:, : values.shape[1]]
        losses_bP2 = functional.cross_entropy(
            edges_bPL2.transpose(1, 2), values, ignore_index=_IGNORED, reduction="none"
        )
        there_bP2 = values != _IGNORED
        losses_b = losses_bP2.sum((1, 2)) / there_bP2.sum((1, 2)).clamp(min=1)
        return losses_b.mean()

    @override
    def decode(self, scores: dict[str, Tensor]) -> list[list[dict[str, int]]]:
        """Places of answers, which ``answer`` turns into text."""
        rows = zip(_possible(scores).detach().cpu(), scores[PLACES].cpu(), strict=True)
        return [self._best(edges_PL2, places_PL2) for edges_PL2, places_PL2 in rows]

    @override
    def confidences(
        self, scores: Any, predictions: Sequence[Any], probabilities: Sequence[Floats] | None
    ) -> list[float | None]:
        rows = zip(predictions, _possible(scores).detach().cpu(), scores[PLACES].cpu(), strict=True)
        return [span_confidence(*row, may_have_none=self._may_have_none) for row in rows]

    @override
    def answer(self, prediction: list[dict[str, int]], fields: Fields) -> list[dict[str, Any]]:
        return [_quoted(fields[-1], one["start"], one["end"]) for one in prediction]

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
        """The text of every answer, an empty line for none."""
        return [
            " ".join(word for one in row for word in one["text"].split()) for row in predictions
        ]

    def _answers(self, value: Any) -> list[dict[str, Any]]:
        """The answers of a row that there are."""
        try:
            answers: list[dict[str, Any]] = [
                {"text": str(one["text"]), "start": int(one["start"])} for one in value
            ]
        except (TypeError, KeyError, ValueError):
            raise DataError(
                f"task {self.name}: column {self.target_column!r}: expected a list of answers with "
                f"text and start, found {value!r}. If it holds the text of one answer, name the "
                "column of its place with start."
            ) from None
        return [one for one in answers if one["text"] and one["start"] >= 0]

    def _best(self, edges_PL2: Tensor, places_PL2: Tensor) -> list[dict[str, int]]:
        """The best answer of one row, none if that scores better."""
        none = float(edges_PL2[:, 0].sum(-1).min())
        length = edges_PL2.shape[1]
        band_LL = torch.ones(length, length, dtype=torch.bool).triu().tril(self.longest - 1)
        in_text_PL = places_PL2[..., 0] >= 0
        starts_PL1 = edges_PL2[..., 0].masked_fill(~in_text_PL, -torch.inf).unsqueeze(2)
        sums_PLL = starts_PL1 + edges_PL2[..., 1].masked_fill(~in_text_PL, -torch.inf).unsqueeze(1)
        sums_PLL = sums_PLL.masked_fill(~band_LL, -torch.inf)
        best = int(sums_PLL.argmax())
        text, first, last = best // length**2, best // length % length, best % length
        score = float(sums_PLL[text, first, last])
        if score == -torch.inf or (self._may_have_none and score - none <= self.threshold):
            return []
        start, end = int(places_PL2[text, first, 0]), int(places_PL2[text, last, 1])
        return [{"start": start, "end": end}]


def _possible(scores: dict[str, Tensor]) -> Tensor:
    """The scores of tokens of the text, and of the first one; others score next to nothing."""
    edges_bPL2 = scores[EDGES].float()
    allowed_bPL = scores[PLACES][..., 0] >= 0
    allowed_bPL = allowed_bPL | (
        torch.arange(allowed_bPL.shape[-1], device=allowed_bPL.device) == 0
    )
    return edges_bPL2.masked_fill(~allowed_bPL.unsqueeze(-1), torch.finfo(torch.float32).min / 4)


def _ends(answer: Mapping[str, Any]) -> tuple[int, int]:
    """Where an answer starts and ends, in characters."""
    return answer["start"], answer["start"] + len(answer["text"])


def _tokens(starts: Sequence[int], ends: Sequence[int], first: int, last: int) -> list[int] | None:
    """The first and the last token of an answer, or None if not all of it is there."""
    own = [at for at, start in enumerate(starts) if start >= 0]
    inside = [at for at in own if starts[at] < last and ends[at] > first]
    if not inside or starts[inside[0]] > first or ends[inside[-1]] < last:
        return None
    return [inside[0], inside[-1]]


def _quoted(text: str, start: int, end: int) -> dict[str, Any]:
    """A part of a text without white space around it, and where it starts."""
    part = text[start:end]
    return {"text": part.strip(), "start": start + len(part) - len(part.lstrip())}
