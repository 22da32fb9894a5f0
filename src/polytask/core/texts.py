"""Rows of several texts that are encoded separately: windows of a long text, choices, pairs.

A prepared row is one text, or a list of texts under ``texts``. If rows have several, their collated
tensors are B × P, and ``texts`` is the number of texts of each row. An encoder and an architecture
see a batch of single texts. A head sees the tokens of a row's texts one after the other. Marked
``spans`` bypass the encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from polytask.core.batch import Fields, Inputs
from polytask.core.collated import Collated
from polytask.core.errors import DataError
from polytask.core.features import Features, TextLayout
from polytask.core.padding import lengths_to_mask, pad

ReadAs: TypeAlias = Literal["joined", "apart", "each", "marked"]
"""The texts of a row that are encoded: all columns as one text, every column, every item of the last
column, or the words of the first column, with spans from the last one.
"""

TEXTS, CUT, STARTS, ENDS, SPANS = "texts", "cut", "starts", "ends", "spans"


class Located(str):
    """A text whose tokens carry their offsets, if the encoder has offsets."""

    __slots__ = ()


class Marked(list[str]):
    """Words with marked spans, which a head receives.

    :param spans_M2: The first word of each span, and the word after its last.
    """

    def __init__(self, words: Iterable[str], spans_M2: list[list[int]]) -> None:
        super().__init__(words)
        self.spans_M2 = spans_M2


def texts_of_row(fields: Fields, read_as: ReadAs, *, located: bool = False) -> list[Fields]:
    """Return the texts of a row that are encoded.

    :param read_as: ``joined``: the columns together; ``apart``: each column by itself; ``each``:
        the columns together with each item of the last one, which is a list of texts;
        ``marked``: the words of the first column, with the spans in the second.
    :param located: Request the offsets of tokens in the last column.
    :raises DataError: If a column is not the expected list of texts, words or spans.
    """
    if read_as == "joined":
        last = Located(fields[-1]) if located and isinstance(fields[-1], str) else fields[-1]
        return [(*fields[:-1], last)]
    if read_as == "apart":
        return [(field,) for field in fields]
    if read_as == "marked":
        return [(_mark_spans(fields),)]
    *front, items = fields
    if not isinstance(items, list) or not items or not all(isinstance(one, str) for one in items):
        raise DataError(f"the last input column: expected a list of texts, found {items!r}")
    return [(*front, item) for item in items]


def require_spans(spans: Iterable[Sequence[int]], words: int) -> None:
    """Check that spans lie within a number of words.

    :raises DataError: If a span does not; the message names the first one.
    """
    for start, stop in spans:
        if not 0 <= start < stop <= words:
            raise DataError(
                f"found span [{start}, {stop}], but there are {words} words. Expected the first word "
                "of the span, counted from 0, and the word after its last one."
            )


def prepare_texts(
    rows: Sequence[Sequence[Fields]], prepare: Callable[[Sequence[Fields]], list[Inputs]]
) -> list[Inputs]:
    """Prepare rows of one or more texts. In rows of several, long texts are cut, not windowed."""
    prepared = iter(prepare([fields for texts in rows for fields in texts]))
    return [_with_spans(_as_row([next(prepared) for _ in texts]), texts) for texts in rows]


def read_texts(
    inputs: Inputs,
    rng: np.random.Generator | None,
    *,
    read: Callable[[Inputs, np.random.Generator | None], Inputs],
) -> Inputs:
    """Return a prepared row of one or more segments, each read in turn (see ``Encoder.read``)."""
    if not inputs.get(TEXTS):
        return read(inputs, rng)
    return {**inputs, TEXTS: [read(text, rng) for text in inputs[TEXTS]]}


def texts_in(inputs: Inputs) -> list[Inputs]:
    """Return the prepared texts of a prepared row."""
    return inputs.get(TEXTS) or [inputs]


def length_of(inputs: Inputs, length: Callable[[Inputs], int]) -> int:
    """Return the number of tokens of a row whose texts are padded to the longest."""
    texts = texts_in(inputs)
    return len(texts) * max(map(length, texts))


def collate_texts(
    rows: Sequence[Inputs], collate: Callable[[Sequence[Inputs]], Collated]
) -> Collated:
    """Stack B prepared rows; with several texts in one of them, tensors are B × P."""
    texts = [texts_in(row) for row in rows]
    singles = [text for own in texts for text in own]
    tensors = collate(singles)
    if any(text.get(SPANS) is not None for text in singles):
        tensors[SPANS] = _pad_spans([text.get(SPANS) or [] for text in singles])
    counts_B = torch.tensor([len(own) for own in texts])
    if len(counts_B) == int(counts_B.sum()):
        return tensors
    segment_mask_BP = lengths_to_mask(counts_B, int(counts_B.max()))
    return tensors.map(lambda value: _spread(value, segment_mask_BP)).update_with({TEXTS: counts_B})


@dataclass(frozen=True)
class Unfolded:
    """A batch as N single texts.

    :param inputs: Tensors with N rows.
    :param rows: For each task, the texts of the rows that it reads, ascending.
    :param segment_mask_BP: True for each text of a row; None if every row has one text.
    """

    inputs: Collated
    rows: dict[str, Tensor]
    segment_mask_BP: Tensor | None = None

    def fold(self, features: Features, rows_b: Tensor, task: str) -> Features:
        """Return the features of a task's rows from its texts, with offsets and spans."""
        features = self._with_places(features, self.rows[task])
        if SPANS in self.inputs:
            features = _with_layout(features, spans_BM2=self.inputs[SPANS][self.rows[task]])
        if self.segment_mask_BP is None:
            return features
        segment_mask_bP = self.segment_mask_BP[rows_b]
        parts = [features.tokens_BLD, features.mask_BL]
        tokens_bPLD, mask_bPL = (_spread(part, segment_mask_bP) for part in parts)
        layout = features.text
        offsets_BL2, spans_BM2 = layout.offsets_BL2, layout.spans_BM2
        if offsets_BL2 is not None:
            offsets_BL2 = _spread(offsets_BL2, segment_mask_bP, -1).flatten(1, 2)
        if spans_BM2 is not None:  # a row with spans has one text
            spans_BM2 = _spread(spans_BM2, segment_mask_bP, -1)[:, 0]
        layout = TextLayout(_fold_words(features, segment_mask_bP), offsets_BL2, spans_BM2)
        tokens_BLD, mask_BL = tokens_bPLD.flatten(1, 2), mask_bPL.flatten(1, 2)
        return Features(tokens_BLD, mask_BL, layout, segments=segment_mask_bP.shape[1])

    def _with_places(self, features: Features, rows_n: Tensor) -> Features:
        if STARTS not in self.inputs:
            return features
        places_NL2 = torch.stack([self.inputs[STARTS], self.inputs[ENDS]], dim=-1)
        if places_NL2.shape[1] != features.mask_BL.shape[1]:
            return features  # one vector per text
        return _with_layout(features, offsets_BL2=places_NL2[rows_n])


def unfold(inputs: Collated, rows: Mapping[str, Tensor]) -> Unfolded:
    """Return a batch as single texts.

    :param inputs: Collated inputs of B rows; a number per row holds for all of its texts.
    :param rows: For each task, the rows it reads, ascending.
    """
    if TEXTS not in inputs:
        return Unfolded(inputs, dict(rows))
    segment_mask_BP = _segment_mask(inputs)
    rows_N = segment_mask_BP.nonzero()[:, 0]
    singles = Collated(
        {
            name: value[segment_mask_BP] if value.dim() > 1 else value[rows_N]
            for name, value in inputs.items()
            if name != TEXTS
        }
    )
    return Unfolded(
        singles, {task: texts_at(inputs, own) for task, own in rows.items()}, segment_mask_BP
    )


def texts_at(inputs: Collated, rows_b: Tensor) -> Tensor:
    """Return the positions of the texts of some rows among all texts of a batch, ascending."""
    if TEXTS not in inputs:
        return rows_b
    segment_mask_BP = _segment_mask(inputs).to(rows_b.device)
    number_BP = segment_mask_BP.flatten().cumsum(0).view_as(segment_mask_BP) - 1
    return number_BP[rows_b][segment_mask_BP[rows_b]]


def _as_row(texts: list[Inputs]) -> Inputs:
    if len(texts) == 1:
        return texts[0]
    first = [texts_in(text)[0] for text in texts]
    return {TEXTS: first, CUT: max(text.get(CUT) or 0 for text in texts)}


def _mark_spans(fields: Fields) -> Marked:
    """Return the words of a row, and spans of them."""
    if len(fields) != 2 or not isinstance(fields[0], list):
        raise DataError(
            f"expected two input columns, a list of words and spans of them, found {list(fields)!r}"
        )
    words, spans = fields
    require_spans(spans, len(words))
    return Marked(words, spans)


def _with_spans(inputs: Inputs, texts: Sequence[Fields]) -> Inputs:
    words = texts[0][-1]
    return {**inputs, SPANS: words.spans_M2} if isinstance(words, Marked) else inputs


def _pad_spans(spans: Sequence[list[list[int]]]) -> Tensor:
    """Return the spans of N texts, spans_NM2; -1 where there is none."""
    edges = [[edge for span in own for edge in span] or [-1, -1] for own in spans]
    spans_NM2: Tensor = pad(edges, -1).unflatten(1, (-1, 2))
    return spans_NM2


def _with_layout(features: Features, **tensors: Tensor) -> Features:
    """Return features with parts of the layout of a text added."""
    return replace(features, layout=replace(features.text, **tensors))


def _segment_mask(inputs: Collated) -> Tensor:
    """Return a mask of the texts of each row, (B, P)."""
    most = next(value.shape[1] for value in inputs.values() if value.dim() > 1)
    return lengths_to_mask(inputs[TEXTS], most)


def _spread(value_N: Tensor, segment_mask_BP: Tensor, filler: int = 0) -> Tensor:
    """N texts at their places in B × P."""
    spread = value_N.new_full((*segment_mask_BP.shape, *value_N.shape[1:]), filler)
    spread[segment_mask_BP] = value_N
    return spread


def _fold_words(features: Features, segment_mask_bP: Tensor) -> Tensor | None:
    """Return the words of a row's texts, one text after the other."""
    if features.words_BW is None:
        return None
    words_bPW = _spread(features.words_BW, segment_mask_bP, -1)
    length = features.mask_BL.shape[1]
    first_P1 = length * torch.arange(segment_mask_bP.shape[1], device=words_bPW.device).unsqueeze(1)
    return torch.where(words_bPW < 0, -1, words_bPW + first_P1).flatten(1, 2)
