"""One tag per word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor
from typing_extensions import override

from polytask.tasks.base import Floats, Head, tasks
from polytask.tasks.crf import chain_losses, marginals, viterbi
from polytask.tasks.heads import KEPT, MOVES, TAGS, ChainHead
from polytask.tasks.spans import (
    OUTSIDE,
    Scheme,
    Window,
    detect_scheme,
    marks_spans,
    read_spans,
    span_label,
    span_prefixes,
    valid_moves,
    windows_of,
    write_spans,
)
from polytask.tasks.spelling import SpelledTask
from polytask.tasks.words import IGNORED, WordTask, learned_targets

_REFUSED = -1e4
"""Added to the score of a move that the scheme does not allow: never chosen, but still a number."""


@tasks.register("tagging")
class Tagging(SpelledTask, WordTask):
    """One tag per word: parts of speech, entities, slots, word boundaries.

    The column holds a list of tags, or text in which white space separates them. Where tags mark
    spans, predictions are repaired: a tag that continues no span of its label starts one, as the
    CoNLL evaluation reads it, and the spans are written back in the scheme. Words that the encoder
    cut off take no part in the loss and are predicted to be outside (without a scheme, to have
    the most frequent tag).

    :param scheme: How tags mark spans: ``bio`` (also called IOB2), ``iob1``, ``bmes`` (also BIOES,
        BILOU, BMEO), ``none``, or ``auto``: the one that the tags of the training rows keep to.
    :param crf: Score whole sequences of tags by a conditional random field, instead of each tag
        alone. Where tags mark spans, only sequences that the scheme allows are predicted; training
        counts all of them, so that rows which break the scheme can be learned from. Lafferty et
        al., ICML 2001.
    """

    form = "tags"

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
        self._marked = False

    @property
    @override
    def default_metrics(self) -> Sequence[str | dict[str, Any]]:
        if self._scheme == "none":
            return ("accuracy",)
        return ("span_f1", "span_precision", "span_recall", "accuracy")

    @override
    def fit(self, references: Iterable[list[str]]) -> None:
        windows = Counter(one for tags in references for one in windows_of(tags))
        counts = Counter[str]()
        for (_, tag, _), count in windows.items():
            counts[tag] += count
        self._marked = marks_spans(counts)
        self._learn(self._merged(counts))
        self._scheme = self._detected(windows) if self._asked == "auto" else self._asked
        if self._scheme != "none":
            self._labels = replace(self._labels, filler=OUTSIDE)
            read_spans(self.labels)

    def _detected(self, windows: Mapping[Window, int]) -> Scheme:
        merged = Counter[Window]()
        for (before, tag, after), count in windows.items():
            merged[self._spelled(before), self._spelled(tag), self._spelled(after)] += count
        return detect_scheme(merged)

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
        marks = [tag for tag in self.labels if span_label(tag)[1]]
        if len(marks) * 2 < len(self.labels):
            return super().notes()
        return (
            *super().notes(),
            f"Tags such as {marks[0]!r} are read as plain labels, since most rows keep to no scheme "
            "of spans. If they mark spans, name the scheme: bio, iob1 or bmes.",
        )

    @override
    def head(self, width: int) -> Head:
        return ChainHead(super().head(width), len(self.labels)) if self.crf else super().head(width)

    @property
    @override
    def head_shape(self) -> dict[str, Any]:
        return {**super().head_shape, "crf": self.crf}

    @override
    def loss(self, scores: dict[str, Tensor], values: Tensor) -> Tensor:
        if not self.crf:
            return super().loss(scores, values)
        targets_bW = learned_targets(scores[KEPT], values)
        learned_bW = targets_bW != IGNORED
        scores_bWC = scores[TAGS][:, : targets_bW.shape[1]]
        losses_b = chain_losses(scores_bWC, scores[MOVES], targets_bW, learned_bW)
        return losses_b.sum() / learned_bW.sum().clamp(min=1)

    @override
    def decode(self, scores: dict[str, Tensor]) -> list[list[str]]:
        if self.crf:
            best_bW = viterbi(scores[TAGS], self._allowed(scores[MOVES]), scores[KEPT])
        else:
            best_bW = scores[TAGS].argmax(-1)
        rows = zip(best_bW.tolist(), scores[KEPT].tolist(), strict=True)
        return [self._repair(self._tags(best, kept)) for best, kept in rows]

    @override
    def probabilities(self, scores: dict[str, Tensor]) -> list[Floats]:
        """Of the words of each row, up to the last one that the encoder kept; sum to 1."""
        if self.crf:
            chances_bWC = marginals(scores[TAGS], self._allowed(scores[MOVES]), scores[KEPT])
            scores = {**scores, TAGS: chances_bWC.log()}
        return super().probabilities(scores)

    @override
    def state(self) -> dict[str, Any]:
        return {**super().state(), "scheme": self._scheme}

    @override
    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self._scheme = state["scheme"]
        self._marked = marks_spans(self.labels)
        self._known(self.labels)

    def _allowed(self, moves_bSS: Tensor) -> Tensor:
        """The scores of moves, those that the scheme does not allow being very low."""
        allowed = valid_moves(self.labels, self._scheme)
        refused_SS = ~torch.tensor(allowed, device=moves_bSS.device)
        return moves_bSS.float() + _REFUSED * refused_SS

    def _repair(self, tags: list[str]) -> list[str]:
        """The same spans, written as the scheme demands."""
        if self._scheme == "none":
            return tags
        prefixes = span_prefixes(self._scheme, self.labels)
        return write_spans(read_spans(tags), len(tags), prefixes)
