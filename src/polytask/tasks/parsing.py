"""The head of every word, and its relation to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias, final

import torch
from pydantic import PositiveInt
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from polytask.core.alignment import Alignment
from polytask.core.batch import Fields, Inputs, Row
from polytask.core.errors import DataError
from polytask.core.padding import pad
from polytask.tasks.base import tasks
from polytask.tasks.biaffine import ARCS, BiaffineHead, relation_scores
from polytask.tasks.heads import KEPT, no_words
from polytask.tasks.inputs import InputSpec
from polytask.tasks.labels import did_you_mean, label_text
from polytask.tasks.linear_head_task import LabelSetTask, Share
from polytask.tasks.lines import column_text
from polytask.tasks.predictions import Predictions
from polytask.tasks.spanning_tree import best_tree
from polytask.tasks.words import IGNORED, mask_cut_words, pad_confidence, words_kept, words_of

Arc: TypeAlias = list[Any]
"""The head of a word, from 1, 0 being the root, and its relation."""

_HEADS, _RELATIONS = "heads_bW", "relations_bW"


@final
@tasks.register("parsing")
class Parsing(LabelSetTask):
    """Dependency parsing: the head of every word and its relation, one word being the root.

    A word's head and then its relation to the right head are learned by cross-entropy; predicted is
    the best tree, and the best relations in it. The target column holds lists of heads, from 1 and
    0 for the root. Words that the encoder cut off take no part in the loss; they are predicted to
    depend on the root word. A changed copy of a row has a tree if no word of it depends on one that
    was left out. Dozat and Manning, ICLR 2017. https://openreview.net/forum?id=Hk95PK9le

    :param relation: Column of the relations to the heads.
    :param dropout: Share of the features, and of hidden layers, that the head drops in training.
    :param hidden: Width of the layers that arcs are scored from.
    :param relation_hidden: Width of the layers that relations are scored from.
    """

    label_type = "tree"
    inputs = InputSpec(columns=("tokens",))
    labels_name = "heads"
    hidden: int

    def __init__(
        self,
        name: str,
        /,
        *,
        relation: str = "deprel",
        dropout: Share = 0.3,
        hidden: PositiveInt = 400,
        relation_hidden: PositiveInt = 100,
        target: str = "head",
        **options: Any,
    ) -> None:
        super().__init__(name, target=target, dropout=dropout, hidden=hidden, **options)
        self.relation_column, self.relation_hidden = relation, relation_hidden

    @property
    @override
    def default_metrics(self) -> Sequence[str | dict[str, Any]]:
        return ("las", "uas")

    @override
    def reference(self, row: Row) -> list[Arc] | None:
        heads = self._column(row)
        if heads is None or not list(heads) or None in heads:
            return None
        relations = row.get(self.relation_column)
        if relations is None or len(relations) != len(heads):
            hint = did_you_mean(self.relation_column, [name for name in row if name[:1] != "_"])
            raise DataError(
                f"task {self.name}: column {self.relation_column!r}: expected {len(heads)} "
                f"relations, one for every head, found {relations!r}.{hint}"
            )
        arcs = enumerate(zip(heads, relations, strict=True), start=1)
        return [
            [self._head_of(head, word, len(heads)), label_text(name)] for word, (head, name) in arcs
        ]

    def _head_of(self, head: Any, word: int, words: int) -> int:
        if isinstance(head, str) and head.isdecimal():
            head = int(head)
        if isinstance(head, int) and 0 <= head <= words and head != word:
            return head
        found = f"{head!r} for word {word} itself" if head == word else repr(head)
        raise DataError(
            f"task {self.name}: column {self.target_column!r}: expected heads from 0 (root) to "
            f"{words}, found {found}"
        )

    @override
    def augment_label(self, label: list[Arc], alignment: Alignment) -> list[Arc] | None:
        """Return the arcs of the words; none if a word depends on one that was left out."""
        arcs = [label[origin] for origin in alignment.origins_W]
        place = {origin + 1: at + 1 for at, origin in enumerate(alignment.origins_W)} | {0: 0}
        if not all(head in place for head, _ in arcs):
            return None
        return [[place[head], relation] for head, relation in arcs]

    @override
    def fit(self, references: Iterable[list[Arc]]) -> None:
        self._learn(relation for arcs in references for _, relation in arcs)

    @override
    def encode(self, reference: list[Arc], inputs: Inputs) -> list[list[int]]:
        words = inputs.get("words")
        if words is None:
            raise no_words(self.name)
        if len(words) != len(reference):
            raise self._miscount_error(len(reference), len(words))
        heads, number_of = [head for head, _ in reference], self._labels.numbers
        return [heads, [number_of.get(relation, IGNORED) for _, relation in reference]]

    @override
    def collate(self, targets: Sequence[list[list[int]]]) -> dict[str, Tensor]:
        heads, relations = zip(*targets, strict=True)
        return {_HEADS: pad(heads, IGNORED), _RELATIONS: pad(relations, IGNORED)}

    @override
    def label_counts(
        self, values: dict[str, Tensor], scores: dict[str, Tensor] | None = None
    ) -> Tensor:
        heads_bW = values[_HEADS]
        if scores is not None:
            heads_bW = _mask_cut_heads(scores[KEPT], heads_bW)
        return (heads_bW != IGNORED).sum(1)

    @override
    def head(self, width: int) -> BiaffineHead:
        sizes = self.hidden, self.relation_hidden
        return BiaffineHead(self.name, width, len(self._labels), self.dropout, *sizes)

    @property
    @override
    def head_shape(self) -> dict[str, Any]:
        return {**super().head_shape, "relation_hidden": self.relation_hidden}

    @override
    def loss(self, scores: dict[str, Tensor], values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the mean over words of the cross-entropies of heads and of relations."""
        heads_bW = _mask_cut_heads(scores[KEPT], values[_HEADS])
        width = heads_bW.shape[1]
        relations_bW = values[_RELATIONS][:, :width].masked_fill(heads_bW == IGNORED, IGNORED)
        arcs_bWH = scores[ARCS][:, :width, : width + 1]
        relations_bWR = relation_scores(scores, heads_bW.clamp(min=0))
        words = (heads_bW != IGNORED).sum().clamp(min=1)
        return {
            "heads": _cross_entropy(arcs_bWH, heads_bW) / words,
            "relations": _cross_entropy(relations_bWR, relations_bW) / words,
        }

    @override
    def decode(self, scores: dict[str, Tensor], rows: Sequence[Fields]) -> Predictions:
        """Return the best tree over all words; the confidence of an arc is by the softmax over heads."""
        found = zip(scores[ARCS].detach(), scores[KEPT], strict=True)
        heads_bW = torch.stack([_heads(*row) for row in found])
        best_bW = relation_scores(scores, heads_bW.to(scores[ARCS].device)).argmax(-1)
        kept_bW = scores[KEPT].tolist()
        best = zip(heads_bW.tolist(), best_bW.tolist(), kept_bW, strict=True)
        trees = [self._tree(*row) for row in best]
        sure = map(_confidence, trees, scores[ARCS].detach(), kept_bW)
        words = [*map(words_of, rows)]
        return Predictions(
            [self.pad_prediction(*row) for row in zip(trees, words, strict=True)],
            confidences=[pad_confidence(*row) for row in zip(sure, words, strict=True)],
        )

    def _tree(self, heads: list[int], best: list[int], kept: list[bool]) -> list[Arc]:
        """Return the arcs of one row; words that were cut off depend on its root word."""
        there = [at for at, real in enumerate(kept) if real]
        root = next((at + 1 for at in there if heads[at] == 0), 0)
        return [
            [heads[at], self.labels[best[at]]] if kept[at] else [root, self._labels.filler]
            for at in range(words_kept(kept))
        ]

    @override
    def pad_prediction(self, prediction: list[Arc], items: Sequence[Any]) -> list[Arc]:
        missing = len(items) - len(prediction)
        if missing < 0:
            raise self._miscount_error(len(items), len(prediction))
        prediction = prediction or [[0, self._labels.filler]][:missing]
        root = next((at + 1 for at, (head, _) in enumerate(prediction) if head == 0), 0)
        return prediction + [[root, self._labels.filler]] * (len(items) - len(prediction))

    @override
    def columns(self, prediction: list[Arc]) -> dict[str, Sequence[Any]]:
        heads, relations = ([arc[part] for arc in prediction] for part in range(2))
        return {self.target_column: heads, self.relation_column: relations}

    @override
    def scorer_lines(
        self, references: Sequence[Any], predictions: Sequence[Any], fields: Sequence[Fields]
    ) -> list[str]:
        """``word head relation head relation``, references first, an empty line after every row."""
        lines: list[str] = []
        for reference, prediction, row in zip(references, predictions, fields, strict=True):
            arcs = zip(words_of(row), reference, prediction, strict=True)
            lines += [" ".join(column_text(str(cell)) for cell in (w, *a, *b)) for w, a, b in arcs]
            lines.append("")
        return lines

    def _miscount_error(self, heads: int, words: int) -> DataError:
        return DataError(
            f"task {self.name}: {heads} heads in column {self.target_column!r}, but {words} words. "
            "Expected one head per word."
        )


def _heads(arcs_WH: Tensor, kept_W: Tensor) -> Tensor:
    """Return the heads in the best tree over the kept words of one row; 0 of other words."""
    places_w = kept_W.nonzero().flatten()
    nodes_h = functional.pad(places_w + 1, (1, 0))
    arcs_wh = arcs_WH[: len(places_w), : len(nodes_h)]
    if len(places_w) and int(places_w[-1]) >= len(places_w):  # copied only if words are missing
        arcs_wh = arcs_WH[places_w][:, nodes_h]
    heads_w = torch.from_numpy(best_tree(arcs_wh.float().cpu().numpy()))
    heads_W = torch.zeros(len(kept_W), dtype=torch.long)
    heads_W[places_w.cpu()] = nodes_h.cpu()[heads_w]
    return heads_W


def _confidence(arcs: list[Arc], scores_WH: Tensor, kept: list[bool]) -> list[float | None]:
    chances_WH = scores_WH[: len(arcs)].float().softmax(-1).cpu()
    return [
        float(own_H[head]) if real else None
        for own_H, (head, _), real in zip(chances_WH, arcs, kept, strict=False)
    ]


def _mask_cut_heads(kept_bW: Tensor, heads_bW: Tensor) -> Tensor:
    """Return the heads; ignored if the encoder cut off the word or its head."""
    heads_bW = mask_cut_words(kept_bW, heads_bW)
    there_bH = functional.pad(kept_bW, (1, 0), value=True)
    cut_bW = heads_bW >= there_bH.shape[1]
    there_bW = there_bH.gather(1, heads_bW.masked_fill(cut_bW, 0).clamp(min=0))
    return heads_bW.masked_fill(cut_bW | ~there_bW, IGNORED)


def _cross_entropy(scores_bWC: Tensor, targets_bW: Tensor) -> Tensor:
    """Return the sum over words, in fp32."""
    return functional.cross_entropy(
        scores_bWC.float().flatten(0, 1),
        targets_bW.flatten(),
        ignore_index=IGNORED,
        reduction="sum",
    )
