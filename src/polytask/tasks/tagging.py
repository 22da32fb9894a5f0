"""One tag per word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor
from typing_extensions import override

from polytask.core.batch import Row
from polytask.core.errors import DataError
from polytask.tasks.base import Head, tasks
from polytask.tasks.crf import chain_losses, marginals, viterbi
from polytask.tasks.heads import KEPT, MOVES, TAGS, ChainHead
from polytask.tasks.labels import is_blank
from polytask.tasks.losses import Loss
from polytask.tasks.predictions import Floats
from polytask.tasks.spans import (
    OUTSIDE,
    Scheme,
    Window,
    detect_scheme,
    marks_spans,
    read_spans,
    resembles_spans,
    span_label,
    span_prefixes,
    valid_moves,
    windows_of,
    write_spans,
)
from polytask.tasks.spelling import SpelledTask
from polytask.tasks.words import IGNORED, WordTask, mask_cut_words

_REFUSED = -1e4
"""Added to the score of a move that the scheme does not allow: never chosen, but still a number."""


@tasks.register("tagging")
class Tagging(SpelledTask, WordTask):
    """One tag per word: parts of speech, entities, slots, word boundaries.

    The column holds a list of tags, or text in which white space separates them. Where tags mark
    spans, labels and predictions are repaired: a tag that continues no span of its label starts
    one, as the CoNLL evaluation reads it, and the spans are written back in the scheme. Words that the encoder
    cut off take no part in the loss and are predicted to be outside (without a scheme, to have
    the most frequent tag).

    :param scheme: How tags mark spans: ``bio`` (also called IOB2), ``iob1``, ``bmes`` (also BIOES,
        BILOU, BMEO), ``none``, or ``auto``: the one that the tags of the training rows keep to.
    :param crf: Score whole sequences of tags by a conditional random field, instead of each tag
        alone. Where tags mark spans, only sequences that the scheme allows are predicted; training
        counts all of them, so that rows which break the scheme can be learned from. Lafferty et
        al., ICML 2001.
    """

    label_type = "tags"

    def __init__(
        self,
        name: str,
        /,
        *,
        scheme: Literal["auto", "bio", "iob1", "bmes", "none"] = "auto",
        crf: bool = False,
        target: str = "tags",
        **options: Any,
    ) -> None:
        super().__init__(name, target=target, **options)
        self.crf = crf
        self._asked = scheme
        self._scheme: Scheme = "none"
        self._prefixes = ""
        self._marked = False

    @property
    @override
    def default_metrics(self) -> Sequence[str | dict[str, Any]]:
        if self._scheme == "none":
            return ("accuracy",)
        return ("span_f1", "span_precision", "span_recall", "accuracy")

    @override
    def reference(self, row: Row) -> list[str] | None:
        tags = super().reference(row)
        try:
            return None if tags is None else self._repair(_require_tags(tags))
        except DataError as error:
            raise DataError(f"task {self.name}: column {self.target_column!r}: {error}") from None

    @override
    def correction(self, row: Row) -> str | None:
        if super().reference(row) == self.reference(row):
            return None
        return f"tags rewritten in scheme {self._scheme}"

    @override
    def fit(self, references: Iterable[list[str]]) -> None:
        self._scheme = "none"
        windows = Counter(one for tags in references for one in windows_of(tags))
        counts = _tag_counts(windows)
        self._marked = marks_spans(counts)
        self._merge(counts)
        windows = _each(windows, lambda window: map(self._respell, window))
        self._scheme = detect_scheme(windows) if self._asked == "auto" else self._asked
        if self._scheme != "none":
            self._prefixes = span_prefixes(self._scheme, _tag_counts(windows))
            windows = _each(windows, self._repair)
        self._learn(_tag_counts(windows))
        if self._scheme != "none":
            self._labels = replace(self._labels, filler=OUTSIDE)

    @override
    def _parts(self, label: str) -> tuple[str, str]:
        return span_label(label) if self._marked else super()._parts(label)

    @override
    def notes(self) -> Sequence[str]:
        if self._asked != "auto":
            return super().notes()
        if self._scheme != "none":
            return (
                *super().notes(),
                f"Tags are read as spans (scheme: {self._scheme}). If they mark no spans, set "
                "scheme: none.",
            )
        marks = [*filter(resembles_spans, self.labels)]
        if not marks or len(marks) * 2 < len(self.labels):
            return super().notes()
        other = next((tag for tag in self.labels if not marks_spans([tag])), None)
        why = (
            "since most rows keep to no scheme of spans. If they mark spans, name the scheme: bio, "
            "iob1 or bmes."
            if other is None
            else f"since {other!r} is no tag of a scheme of spans. If they mark spans, write all tags "
            "as O, B-x and I-x, or as in another scheme."
        )
        return (*super().notes(), f"Tags such as {marks[0]!r} are read as plain labels, {why}")

    @override
    def head(self, width: int) -> Head:
        return ChainHead(super().head(width), len(self.labels)) if self.crf else super().head(width)

    @property
    @override
    def head_shape(self) -> dict[str, Any]:
        return {**super().head_shape, "crf": self.crf}

    @override
    def loss(self, scores: dict[str, Tensor], values: Tensor) -> Loss:
        if not self.crf:
            return super().loss(scores, values)
        targets_bW = mask_cut_words(scores[KEPT], values)
        learned_bW = targets_bW != IGNORED
        scores_bWC = scores[TAGS][:, : targets_bW.shape[1]]
        losses_b = chain_losses(scores_bWC, scores[MOVES], targets_bW, learned_bW)
        return losses_b.sum() / learned_bW.sum().clamp(min=1)

    @override
    def best_tags(self, scores: dict[str, Tensor]) -> list[list[str]]:
        if self.crf:
            best_bW = viterbi(scores[TAGS], self._mask_moves(scores[MOVES]), scores[KEPT])
        else:
            best_bW = scores[TAGS].argmax(-1)
        rows = zip(best_bW.tolist(), scores[KEPT].tolist(), strict=True)
        return [self._repair(self._tags(best, kept)) for best, kept in rows]

    @override
    def chances(self, scores: dict[str, Tensor]) -> list[Floats]:
        if self.crf:
            chances_bWC = marginals(scores[TAGS], self._mask_moves(scores[MOVES]), scores[KEPT])
            scores = {**scores, TAGS: chances_bWC.log()}
        return super().chances(scores)

    @override
    def state(self) -> dict[str, Any]:
        return {**super().state(), "scheme": self._scheme, "prefixes": self._prefixes}

    @override
    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self._scheme, self._prefixes = state["scheme"], state["prefixes"]
        self._marked = marks_spans(self.labels)
        self._restore_spellings(self.labels)

    def _mask_moves(self, moves_bSS: Tensor) -> Tensor:
        """Return the scores of moves, those that the scheme does not allow being very low."""
        allowed = valid_moves(self.labels, self._scheme)
        refused_SS = ~torch.tensor(allowed, device=moves_bSS.device)
        return moves_bSS.float() + _REFUSED * refused_SS

    def _repair(self, tags: Sequence[str]) -> list[str]:
        """Return the same spans, written as the scheme demands."""
        if self._scheme == "none":
            return [*tags]
        return write_spans(read_spans(tags), len(tags), self._prefixes)


def _require_tags(tags: list[str]) -> list[str]:
    """Return tags; refuse empty ones.

    :raises DataError: If one is.
    """
    empty = next((place for place, tag in enumerate(tags) if is_blank(tag)), None)
    if empty is not None:
        raise DataError(f"expected a tag for every word, found an empty one for word {empty + 1}.")
    return tags


def _tag_counts(windows: Mapping[Window, int]) -> Counter[str]:
    counts = Counter[str]()
    for (_, tag, _), count in windows.items():
        counts[tag] += count
    return counts


def _each(
    windows: Mapping[Window, int], change: Callable[[Sequence[str]], Iterable[str]]
) -> Counter[Window]:
    """Change the tags of windows, and count those that become equal."""
    changed = Counter[Window]()
    for window, count in windows.items():
        before, tag, after = change(window)
        changed[before, tag, after] += count
    return changed
