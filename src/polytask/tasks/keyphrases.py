"""Keyphrases: the phrases of a text that describe its topic."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, final

from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from polytask.core.batch import Fields, Inputs, Row
from polytask.core.errors import DataError
from polytask.core.features import Features
from polytask.core.padding import pad
from polytask.core.texts import ENDS, STARTS, texts_in
from polytask.tasks.base import Head, HeadContext, tasks
from polytask.tasks.heads import no_places, scorer
from polytask.tasks.inputs import InputSpec
from polytask.tasks.linear_head_task import ScoredTask
from polytask.tasks.lines import csv_line, one_space
from polytask.tasks.occurrences import (
    Folded,
    fold,
    fold_with_places,
    inside_word,
    is_word_letter,
)
from polytask.tasks.predictions import Predictions

TAGS, PLACES = "tags_bPLC", "places_bPL2"
"""The outputs of a ``PhrasesHead``: scores of the tags of every token, and the places of tokens."""

Phrase: TypeAlias = dict[str, Any]
"""``text``, and ``places``: where it starts and ends wherever it is found, in characters."""

NONE_FOUND = "no phrase of the label occurs in the text"
"""Remark on rows that teach that a text has no phrases."""

_IGNORED = -100
_OUTSIDE, _FIRST, _INSIDE = range(3)
_WORD = re.compile(r"\w")


class PhrasesHead(Head):
    """Scores every token as outside of a phrase, the first of one, or inside.

    :param task: Name of the task, for messages.
    :param width: D of the features.
    :param dropout: Share of the features dropped in training.
    :param hidden: Width of a hidden layer, or None for a linear head.
    """

    def __init__(self, task: str, width: int, dropout: float, hidden: int | None) -> None:
        super().__init__()
        self.task = task
        self.scorer: nn.Module = scorer(width, _INSIDE + 1, dropout, hidden)

    @override
    def forward(self, features: Features, *context: HeadContext) -> dict[str, Tensor]:
        if features.offsets_BL2 is None:
            raise no_places(self.task)
        tags_bLC, shape = self.scorer(features.tokens_BLD), (features.segments, -1)
        places_bL2 = features.offsets_BL2
        return {TAGS: tags_bLC.unflatten(1, shape), PLACES: places_bL2.unflatten(1, shape)}


@final
@tasks.register("keyphrases")
class Keyphrases(ScoredTask):
    """Phrases of the last input column, found by tagging its tokens.

    The target column holds a list of phrases. Those that the text holds, in any case and Unicode form
    and with any space between their words, are trained on; the longer one where two overlap. Predictions are
    extended to whole words, and ordered by the mean probability of their tags (Sahrawat et al.,
    "Keyphrase Extraction from Scholarly Articles as Sequence Labeling using Contextualized
    Embeddings", ECIR 2020. https://arxiv.org/abs/1910.08840).
    """

    label_type = "phrases"
    inputs = InputSpec(needs_offsets=True)

    @property
    @override
    def default_metrics(self) -> Sequence[str | dict[str, Any]]:
        return ({"kind": "keyphrase_f1", "k": 5}, {"kind": "keyphrase_f1", "k": 10}, "keyphrase_f1")

    @override
    def reference(self, row: Row) -> list[Phrase] | None:
        value = self._column(row)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise DataError(
                f"task {self.name}: column {self.target_column!r}: expected a list of phrases, "
                f"found {value!r}"
            )
        text = row.get(self.input_columns[-1])
        if not isinstance(text, str):
            raise DataError(
                f"task {self.name}: column {self.input_columns[-1]!r}: expected a text, found "
                f"{text!r}"
            )
        plain = fold(text, " ")
        return [{"text": phrase, "places": _places(phrase, text, plain)} for phrase in value]

    @override
    def correction(self, row: Row) -> str | None:
        phrases = self.reference(row)
        return NONE_FOUND if phrases and not any(one["places"] for one in phrases) else None

    @override
    def fit(self, references: Iterable[list[Phrase]]) -> None:
        if not any(phrase["places"] for phrases in references for phrase in phrases):
            raise DataError(
                f"task {self.name}: no training row has phrases of its text in column "
                f"{self.target_column!r}"
            )

    @override
    def encode(self, reference: list[Phrase], inputs: Inputs) -> list[list[int]]:
        texts = texts_in(inputs)
        if any(text.get(STARTS) is None for text in texts):
            raise no_places(self.name)
        places = [place for phrase in reference for place in phrase["places"]]
        return [_tags(text[STARTS], text[ENDS], places) for text in texts]

    @override
    def collate(self, targets: Sequence[list[list[int]]]) -> Tensor:
        most = max(map(len, targets))
        none: list[int] = []
        texts = [own for target in targets for own in [*target, *[none] * (most - len(target))]]
        tags_bPL: Tensor = pad(texts, _IGNORED).unflatten(0, (-1, most))
        return tags_bPL

    @override
    def head(self, width: int) -> PhrasesHead:
        return PhrasesHead(self.name, width, self.dropout, self.hidden)

    @override
    def label_counts(self, values: Tensor, scores: Any | None = None) -> Tensor:
        return (values != _IGNORED).sum((1, 2))

    @override
    def loss(self, scores: dict[str, Tensor], values: Tensor) -> Tensor:
        _, texts, length = values.shape  # of these rows; scores are as wide as the whole batch
        tags_NC = scores[TAGS][:, :texts, :length].float().flatten(0, 2)
        sums = functional.cross_entropy(
            tags_NC, values.flatten(), ignore_index=_IGNORED, reduction="sum"
        )
        return sums / (values != _IGNORED).sum().clamp(min=1)

    @override
    def decode(self, scores: dict[str, Tensor], rows: Sequence[Fields]) -> Predictions:
        """Return the phrases of each text, ordered by their confidence: the mean probability of tags."""
        chances_bPL, best_bPL = scores[TAGS].detach().float().softmax(-1).max(-1)
        tags = zip(best_bPL.tolist(), chances_bPL.tolist(), scores[PLACES].tolist(), strict=True)
        spans = [[one for text in zip(*row, strict=True) for one in _spans(*text)] for row in tags]
        found = [phrases_of(own, row[-1]) for own, row in zip(spans, rows, strict=True)]
        return Predictions(
            [[phrase for phrase, _ in own] for own in found],
            confidences=[[score for _, score in own] for own in found],
        )

    @override
    def state(self) -> dict[str, Any]:
        return {}

    @override
    def restore(self, state: Mapping[str, Any]) -> None: ...

    @override
    def scorer_lines(
        self, references: Sequence[Any], predictions: Sequence[Any], fields: Sequence[Fields]
    ) -> list[str]:
        """Return the phrases of a text, the best first: a line of CSV separated by semicolons."""
        return [csv_line((one_space(one["text"]) for one in row), ";") for row in predictions]


def phrases_of(spans: Iterable[Mapping[str, Any]], text: str) -> list[tuple[Phrase, float]]:
    """Return each phrase once, the best first, with the score of its best place.

    :param spans: ``start``, ``end`` and ``score`` of parts of the text.
    """
    found: dict[str, tuple[Phrase, float]] = {}
    for one in sorted(spans, key=lambda one: (-round(one["score"], 6), one["start"])):
        start, end = _whole_words(text, one["start"], one["end"])
        phrase = " ".join(text[start:end].split())
        new = {"text": phrase, "places": []}, one["score"]
        known, _ = found.setdefault(phrase.lower(), new)
        known["places"] += [[start, end]] if [start, end] not in known["places"] else []
    return [own for key, own in found.items() if _WORD.search(key)]


def _places(phrase: str, text: str, plain: Folded) -> list[list[int]]:
    """Return where a phrase starts and ends in a text, as whole words; places do not overlap.

    :param plain: The text, folded.
    """
    found: list[list[int]] = []
    for start, end in fold_with_places(fold(phrase.strip(), " "), plain):
        whole = not (inside_word(text, start) or inside_word(text, end))
        if whole and (not found or found[-1][1] <= start):
            found.append([start, end])
    return found


def _tags(starts: Sequence[int], ends: Sequence[int], places: Sequence[Sequence[int]]) -> list[int]:
    """Return the tag of every token; tokens of no text have none."""
    tags = [_OUTSIDE if start >= 0 else _IGNORED for start in starts]
    for first, last in sorted(places, key=lambda place: place[0] - place[1]):
        inside = [at for at, start in enumerate(starts) if 0 <= start < last and ends[at] > first]
        if inside and all(tags[at] == _OUTSIDE for at in inside):
            for at in inside:
                tags[at] = _INSIDE
            tags[inside[0]] = _FIRST
    return tags


def _spans(
    best_L: Sequence[int], chances_L: Sequence[float], places_L2: Sequence[Sequence[int]]
) -> list[dict[str, Any]]:
    """Return the phrases that the tags of one text mark; a tag inside of none starts one."""
    spans: list[dict[str, Any]] = []
    open_ = False
    for tag, chance, (start, end) in zip(best_L, chances_L, places_L2, strict=True):
        marked = tag != _OUTSIDE and start >= 0
        if marked and open_ and tag == _INSIDE:
            spans[-1]["end"] = end
            spans[-1]["chances"].append(chance)
        elif marked:
            spans.append({"start": start, "end": end, "chances": [chance]})
        open_ = marked
    return [
        {"start": one["start"], "end": one["end"], "score": sum(chances) / len(chances)}
        for one in spans
        for chances in [one["chances"]]
    ]


def _whole_words(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a part of a text without white space around it, extended to whole words.

    The word that a hyphen at its border joins on belongs to it.
    """
    part = text[start:end]
    start, end = start + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip())
    if start >= end:
        return start, end
    if text[start] == "-" and start and is_word_letter(text[start - 1]):
        start -= 1
    if text[end - 1] == "-" and end < len(text) and is_word_letter(text[end]):
        end += 1
    while inside_word(text, start):
        start -= 1
    while inside_word(text, end):
        end += 1
    return start, end
