"""One tag per word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, final

from pydantic import PositiveInt
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from polytask.core.batch import Fields, Inputs, Row
from polytask.core.errors import DataError
from polytask.core.padding import pad
from polytask.tasks.base import Floats, Task, tasks
from polytask.tasks.heads import KEPT, TAGS, WordHead, no_words
from polytask.tasks.labels import label_order, label_text
from polytask.tasks.sentence import Share
from polytask.tasks.spans import (
    OUTSIDE,
    Scheme,
    detect_scheme,
    read_spans,
    span_prefixes,
    write_spans,
)

_IGNORED = -100


@final
@tasks.register("tagging")
class Tagging(Task):
    """One tag per word: parts of speech, entities, slots, word boundaries.

    The column holds a list of tags, or text in which white space separates them. Where tags mark
    spans, predictions are repaired: a tag that continues no span of its label starts one, as the
    CoNLL evaluation reads it, and the spans are written back in the scheme. Words that the encoder
    cut off take no part in the loss and are predicted to be outside (without a scheme, to have
    the most frequent tag).

    :param scheme: How tags mark spans: ``bio``, ``bmes`` (also BIOES, BILOU, BMEO), ``none``, or
        ``auto``, which looks at the tags of the training rows.
    :param dropout: Share of the features that the head drops in training.
    :param hidden: Width of a hidden layer of the head; a linear head by default.
    """

    form = "tags"

    def __init__(
        self,
        name: str,
        /,
        *,
        scheme: Literal["auto", "bio", "bmes", "none"] = "auto",
        dropout: Share = 0.1,
        hidden: PositiveInt | None = None,
        **options: Any,
    ) -> None:
        super().__init__(name, **options)
        self.dropout, self.hidden = dropout, hidden
        self._asked = scheme
        self._scheme: Scheme = "none"
        self._index: dict[str, int] = {}
        self._filler = OUTSIDE

    @property
    @override
    def default_metrics(self) -> Sequence[str | dict[str, Any]]:
        if self._scheme == "none":
            return ("accuracy",)
        return ("span_f1", "span_precision", "span_recall", "accuracy")

    @property
    @override
    def labels(self) -> Sequence[str]:
        return tuple(self._index)

    @override
    def reference(self, row: Row) -> list[str] | None:
        value = self._column(row)
        tags = value.split() if isinstance(value, str) else value
        if tags is None or isinstance(tags, list | tuple):
            return None if not tags else [label_text(tag) for tag in tags]
        raise DataError(
            f"task {self.name}: column {self.target_column!r}: "
            f"expected a list of tags or text with a tag for every word, found {value!r}"
        )

    @override
    def fit(self, references: Iterable[list[str]]) -> None:
        counts = Counter(tag for tags in references for tag in tags)
        if not counts:
            raise DataError(
                f"task {self.name}: no training row has tags in column {self.target_column!r}"
            )
        self._index = {tag: place for place, tag in enumerate(sorted(counts, key=label_order))}
        self._scheme = detect_scheme(counts) if self._asked == "auto" else self._asked
        self._filler = OUTSIDE if self._scheme != "none" else counts.most_common(1)[0][0]
        if self._scheme != "none":
            read_spans(counts)

    @override
    def encode(self, reference: list[str], inputs: Inputs) -> list[int] | None:
        words = inputs.get("words")
        if words is None:
            raise no_words(self.name)
        if len(words) != len(reference):
            raise self._miscounted(len(reference), len(words))
        target = [self._index.get(tag, _IGNORED) for tag in reference]
        return None if all(tag == _IGNORED for tag in target) else target

    @override
    def collate(self, targets: Sequence[list[int]]) -> Tensor:
        return pad(targets, _IGNORED)

    @override
    def head(self, width: int) -> WordHead:
        return WordHead(self.name, width, len(self._index), self.dropout, self.hidden)

    @property
    @override
    def head_shape(self) -> dict[str, Any]:
        return {**super().head_shape, "dropout": self.dropout, "hidden": self.hidden}

    @override
    def count(self, values: Tensor) -> int:
        return int((values != _IGNORED).sum())

    @override
    def loss(self, scores: dict[str, Tensor], values: Tensor) -> Tensor:
        width = values.shape[1]  # the words of these rows; scores are as wide as the whole batch
        targets_bW = values.masked_fill(~scores[KEPT][:, :width], _IGNORED)
        sums = functional.cross_entropy(
            scores[TAGS][:, :width].float().flatten(0, 1),
            targets_bW.flatten(),
            ignore_index=_IGNORED,
            reduction="sum",
        )
        return sums / (targets_bW != _IGNORED).sum().clamp(min=1)

    @override
    def decode(self, scores: dict[str, Tensor]) -> list[list[str]]:
        rows = zip(scores[TAGS].argmax(-1).tolist(), scores[KEPT].tolist(), strict=True)
        return [self._repair(self._tags(best, kept)) for best, kept in rows]

    @override
    def probabilities(self, scores: dict[str, Tensor]) -> list[Floats]:
        """Of the words of each row, up to the last one that the encoder kept."""
        rows = scores[TAGS].detach().double().softmax(-1).cpu().numpy()
        kept_bW = scores[KEPT].tolist()
        return [row[: _kept(kept)] for row, kept in zip(rows, kept_bW, strict=True)]

    @override
    def complete(self, prediction: list[str], reference: list[str]) -> list[str]:
        if len(prediction) > len(reference):
            raise self._miscounted(len(reference), len(prediction))
        return prediction + [self._filler] * (len(reference) - len(prediction))

    @override
    def state(self) -> dict[str, Any]:
        return {"labels": list(self._index), "scheme": self._scheme, "filler": self._filler}

    @override
    def restore(self, state: Mapping[str, Any]) -> None:
        self._index = {tag: place for place, tag in enumerate(state["labels"])}
        self._scheme, self._filler = state["scheme"], state["filler"]

    @override
    def scorer_lines(
        self, references: Sequence[Any], predictions: Sequence[Any], fields: Sequence[Fields]
    ) -> list[str]:
        """CoNLL columns ``word reference prediction``, with an empty line after every row."""
        lines: list[str] = []
        for reference, prediction, row in zip(references, predictions, fields, strict=True):
            words = next(field for field in row if not isinstance(field, str))
            columns = zip(words, reference, prediction, strict=True)
            # The columns are separated by spaces, so that no word may hold one.
            lines += ["_".join(word.split()) + f" {gold} {tag}" for word, gold, tag in columns]
            lines.append("")
        return lines

    def _miscounted(self, tags: int, words: int) -> DataError:
        return DataError(
            f"task {self.name}: {tags} tags in column {self.target_column!r}, but {words} words. "
            "Expected one tag per word."
        )

    def _tags(self, best: list[int], kept: list[bool]) -> list[str]:
        """The best tags of one row, up to the last word that the encoder kept."""
        labels = self.labels
        pairs = list(zip(best, kept, strict=True))[: _kept(kept)]
        return [labels[tag] if real else self._filler for tag, real in pairs]

    def _repair(self, tags: list[str]) -> list[str]:
        """The same spans, written as the scheme demands."""
        if self._scheme == "none":
            return tags
        prefixes = span_prefixes(self._scheme, self._index)
        return write_spans(read_spans(tags), len(tags), prefixes)


def _kept(kept: list[bool]) -> int:
    """Number of words up to the last one that was kept."""
    return max((place + 1 for place, real in enumerate(kept) if real), default=0)
