"""Texts written from features: translations, summaries, titles."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, ClassVar, final

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from polytask.core.batch import Fields, Inputs, Row
from polytask.core.errors import DataError, RecipeError
from polytask.core.features import Features
from polytask.core.padding import pad
from polytask.tasks.base import Head, HeadContext, Task, tasks
from polytask.tasks.decoder import Decoder, DecoderSizes
from polytask.tasks.labels import is_blank
from polytask.tasks.linear_head_task import Share
from polytask.tasks.predictions import Predictions
from polytask.tasks.search import Search
from polytask.tasks.target_tokens import END, PADDING, TargetTokens

LOGITS, IDS = "logits_bTV", "ids_bT"
"""Keys of the output of a head for texts: logits of a given text in training, else written ids."""


class DecoderTask(Task, ABC):
    """A task whose head is a transformer decoder.

    :param layers: Number of layers of the decoder.
    :param width: Width of its hidden states; by default the width of the features.
    :param heads: Attention heads of a layer; an even part of the width each.
    :param feed_forward: Inner width of the feed-forward layers.
    :param dropout: Share of the numbers dropped in training.
    """

    def __init__(
        self,
        name: str,
        /,
        *,
        layers: PositiveInt = 2,
        width: PositiveInt | None = None,
        heads: PositiveInt = 4,
        feed_forward: PositiveInt = 1024,
        dropout: Share = 0.1,
        **options: Any,
    ) -> None:
        super().__init__(name, **options)
        self._layers, self._width = layers, width
        self._heads, self._feed_forward, self._dropout = heads, feed_forward, dropout


class SearchTask(DecoderTask, ABC):
    """A task that writes token by token.

    :param max_tokens: Most subwords of a text; longer ones are cut in training.
    :param beam: How many texts are followed at a time; 1 takes the best subword each time.
    :param length_penalty: Above 0 makes longer texts of a beam count for more.
    :param temperature: Above 0 draws subwords instead, the higher the more freely.
    """

    def __init__(
        self,
        name: str,
        /,
        *,
        max_tokens: PositiveInt = 64,
        beam: PositiveInt = 1,
        length_penalty: NonNegativeFloat = 0.6,
        temperature: NonNegativeFloat = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(name, **options)
        self._max_tokens = max_tokens
        self._search = Search(max_tokens, END, PADDING, beam, length_penalty, temperature)

    def sizes(self, features: int) -> DecoderSizes:
        """Return the sizes of the decoder.

        :param features: Width of the features, used if no width was given.
        :raises RecipeError: If the heads cannot divide the width.
        """
        width = self._width or features
        if width % (2 * self._heads):
            raise RecipeError(
                [
                    f"tasks.{self.name}.width: {width} is no multiple of {2 * self._heads}, twice "
                    "the heads"
                ]
            )
        return DecoderSizes(
            layers=self._layers,
            width=width,
            heads=self._heads,
            feed_forward=self._feed_forward,
            dropout=self._dropout,
            max_tokens=self._max_tokens,
        )


@final
@tasks.register("generation")
class Generation(SearchTask):
    """A text from a row, written by a transformer decoder that attends to the features.

    The column holds a text, or a list of correct texts, and the first one is learned from. Subwords are learned from the training texts. Tasks that share a head share subwords and
    decoder, and each has its own start token (Johnson et al., "Google's Multilingual
    Neural Machine Translation System", TACL 2017. https://aclanthology.org/Q17-1024).

    :param vocabulary: Learn at most this many subwords, the 256 bytes included.
    :param label_smoothing: Share of the probability that the loss spreads over all subwords.
    """

    label_type = "text"
    joint_fit = True

    def __init__(
        self,
        name: str,
        /,
        *,
        vocabulary: Annotated[int, Field(ge=300)] = 8_000,
        label_smoothing: Share = 0.1,
        **options: Any,
    ) -> None:
        super().__init__(name, **options)
        self._vocabulary = vocabulary
        self._smoothing = label_smoothing
        self._names: list[str] = [name]
        self._tokens: TargetTokens

    @property
    @override
    def default_metrics(self) -> Sequence[str | dict[str, Any]]:
        return ("chrf", "text_match")

    @override
    def reference(self, row: Row) -> str | list[str] | None:
        value = self._column(row)
        if value is None or isinstance(value, str):
            return None if is_blank(value) else value
        if isinstance(value, list) and all(isinstance(text, str) for text in value):
            return [text for text in value if not is_blank(text)] or None
        raise DataError(
            f"task {self.name}: column {self.target_column!r}: "
            f"expected a text or a list of texts, found {value!r}"
        )

    @override
    def set_group(self, names: Sequence[str]) -> None:
        self._names = list(names)

    @override
    def fit(self, references: Iterable[str | list[str]]) -> None:
        texts = [first_text(reference) for reference in references]
        if not texts:
            raise DataError(
                f"task {self.name}: no training row has a text in column {self.target_column!r}"
            )
        self._tokens = TargetTokens.train(texts, self._vocabulary, self._names)

    @override
    def encode(self, reference: str | list[str], inputs: Inputs) -> list[int]:
        return self._tokens.encode(first_text(reference), self._max_tokens)

    @override
    def collate(self, targets: Sequence[list[int]]) -> Tensor:
        return pad(targets, PADDING)

    @override
    def label_counts(self, values: Tensor, scores: Any | None = None) -> Tensor:
        return (values != PADDING).sum(1)

    @override
    def head(self, width: int) -> GenerationHead:
        decoder = Decoder(width, len(self._tokens), self.sizes(width))
        return GenerationHead(decoder, self._tokens, self._search)

    @property
    @override
    def head_shape(self) -> dict[str, Any]:
        sizes = asdict(self.sizes(self._width or 0))
        return {**super().head_shape, **sizes, "subwords": len(self._tokens)}

    @override
    def loss(self, scores: dict[str, Tensor], values: Tensor) -> Tensor:
        sums = functional.cross_entropy(
            scores[LOGITS].float().flatten(0, 1),
            values.flatten(),
            ignore_index=PADDING,
            label_smoothing=self._smoothing,
            reduction="sum",
        )
        return sums / (values != PADDING).sum().clamp(min=1)

    @override
    def decode(self, scores: dict[str, Tensor], rows: Sequence[Fields]) -> Predictions:
        ids_bT = scores[IDS] if IDS in scores else scores[LOGITS].argmax(-1)
        return Predictions([self._tokens.decode(ids) for ids in ids_bT.tolist()])

    @override
    def state(self) -> dict[str, Any]:
        return {"tokenizer": self._tokens.tokenizer.to_str(), "tasks": self._tokens.names}

    @override
    def restore(self, state: Mapping[str, Any]) -> None:
        self._tokens = TargetTokens(Tokenizer.from_str(state["tokenizer"]), state["tasks"])

    @override
    def scorer_lines(
        self, references: Sequence[Any], predictions: Sequence[Any], fields: Sequence[Any]
    ) -> list[str]:
        """Return one text per line, white space within it as one space each."""
        return [" ".join(prediction.split()) for prediction in predictions]


@final
class GenerationHead(Head):
    """A head that writes texts: logits of the given text in training, else the ids that it finds.

    :param decoder: Reads features, writes tokens.
    :param tokens: The tokens it writes.
    :param search: How it chooses them.
    """

    reads_rows: ClassVar[bool] = True

    def __init__(self, decoder: Decoder, tokens: TargetTokens, search: Search) -> None:
        super().__init__()
        self.decoder = decoder
        self._tokens, self._search = tokens, search

    @override
    def forward(self, features: Features, *context: HeadContext) -> dict[str, Tensor]:
        (rows,) = context
        start_b = torch.full(
            (len(features.mask_BL),), self._tokens.start(rows.task), device=features.mask_BL.device
        )
        if rows.values is None:
            state = self.decoder.begin(features)
            return {IDS: self._search(self.decoder.step, start_b, state)}
        before_bT = torch.cat([start_b.unsqueeze(1), rows.values[:, :-1]], dim=1)
        return {LOGITS: self.decoder(before_bT, features)}


def first_text(reference: str | list[str]) -> str:
    """Return the text that is learned from."""
    return reference if isinstance(reference, str) else reference[0]
