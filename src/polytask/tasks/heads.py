"""Heads that several task types use: one vector per row, or one per word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from polytask.core.capabilities import Causal
from polytask.core.errors import RecipeError
from polytask.core.features import Features
from polytask.tasks.base import Head, HeadContext, PooledHead

Pool: TypeAlias = Literal["auto", "mean", "first", "last", "attention"]
"""How the tokens of a row become one vector. ``auto``: the last one if the encoder reads from left to right,
as it alone has read the whole text; else the mean."""

TAGS, KEPT = "tags_bWC", "kept_bW"
"""Keys of the output of a ``WordHead``: scores of every word, and the mask of words that the encoder kept."""

MOVES = "moves_bSS"
"""The key that a ``ChainHead`` adds: scores of a tag after another (see ``tasks.crf``)."""


class SentenceHead(PooledHead):
    """Pools the tokens of a row and scores the result: scores_bC.

    :param width: D of the features.
    :param outputs: Number of scores, C.
    :param pool: How tokens become one vector.
    :param dropout: Share of the features dropped in training.
    :param hidden: Width of a hidden layer, or None for a linear head.
    """

    def __init__(
        self, width: int, outputs: int, pool: Pool, dropout: float, hidden: int | None
    ) -> None:
        super().__init__()
        self.pool = pool_of(pool, width)
        self.scorer = scorer(width, outputs, dropout, hidden)

    @override
    def bind(self, encoder: nn.Module) -> None:
        if isinstance(self.pool, AutoPool):
            self.pool.takes_last = isinstance(encoder, Causal) and encoder.reads_forward

    @override
    def forward(self, features: Features, *context: HeadContext) -> Tensor:
        scores_bC: Tensor = self.scorer(self.pool(features))
        return scores_bC

    @override
    def pooled(self, features: Features) -> Features:
        vectors_bD: Tensor = self.pool(features)
        mask_b1 = torch.ones_like(vectors_bD[:, :1], dtype=torch.bool)
        return Features(vectors_bD.unsqueeze(1), mask_b1)


class WordHead(Head):
    """Scores the first token of every word: ``{tags_bWC, kept_bW}``.

    Devlin et al., "BERT", NAACL 2019, section 5.3: the first sub-token stands for its word.
    https://doi.org/10.18653/v1/N19-1423

    :param task: Name of the task, for messages.
    :param width: D of the features.
    :param outputs: Number of tags, C.
    :param dropout: Share of the features dropped in training.
    :param hidden: Width of a hidden layer, or None for a linear head.
    """

    def __init__(
        self, task: str, width: int, outputs: int, dropout: float, hidden: int | None
    ) -> None:
        super().__init__()
        self.task = task
        self.scorer = scorer(width, outputs, dropout, hidden)

    @override
    def forward(self, features: Features, *context: HeadContext) -> dict[str, Tensor]:
        words_bWD, kept_bW = word_vectors(features, self.task)
        return {TAGS: self.scorer(words_bWD), KEPT: kept_bW}


class ChainHead(Head):
    """Scores words by another head, and every tag after every other: adds ``moves_bSS``.

    :param words: Scores the words.
    :param outputs: Number of tags, C; the border of a row is one more state.
    """

    def __init__(self, words: Head, outputs: int) -> None:
        super().__init__()
        self.words = words
        self.moves_SS = nn.Parameter(torch.zeros(outputs + 1, outputs + 1))

    @override
    def forward(self, features: Features, *context: HeadContext) -> dict[str, Tensor]:
        scores: dict[str, Tensor] = self.words(features)
        rows = scores[KEPT].shape[0]
        return {**scores, MOVES: self.moves_SS.unsqueeze(0).expand(rows, -1, -1)}


def word_vectors(features: Features, task: str) -> tuple[Tensor, Tensor]:
    """Return the first token of every word, and which words the encoder kept: words_bWD, kept_bW.

    :param task: Name of the task, for the message.
    :raises RecipeError: If the encoder keeps no words.
    """
    if features.words_BW is None:
        raise no_words(task)
    index_bW1 = features.words_BW.clamp(min=0).unsqueeze(-1)
    index_bWD = index_bW1.expand(-1, -1, features.tokens_BLD.shape[-1])
    # Not take_along_dim: its export is fixed to one number of rows.
    return features.tokens_BLD.gather(1, index_bWD), features.words_BW >= 0


def stretch_means(features: Features, starts_BS: Tensor, stops_BS: Tensor) -> Tensor:
    """Return the mean of the tokens of S stretches of each row, means_BSD; 0 of an empty one.

    :param starts_BS: The first token of each stretch.
    :param stops_BS: The token after its last.
    """
    tokens_BLD = features.tokens_BLD.float().masked_fill(~features.mask_BL.unsqueeze(-1), 0)
    sums_BLD = functional.pad(tokens_BLD.cumsum(1), (0, 0, 1, 0))
    stops_BS = stops_BS.maximum(starts_BS)
    starts_BSD, stops_BSD = (
        sums_BLD.gather(1, at_BS.unsqueeze(-1).expand(-1, -1, sums_BLD.shape[-1]))
        for at_BS in (starts_BS, stops_BS)
    )
    counts_BS1 = (stops_BS - starts_BS).clamp(min=1).unsqueeze(-1)
    return ((stops_BSD - starts_BSD) / counts_BS1).to(features.tokens_BLD.dtype)


def no_words(task: str) -> RecipeError:
    """Return the error for a task about words on rows without words."""
    return RecipeError(
        [
            f"tasks.{task}: labels words, but the encoder gives one vector per text, or the text is "
            "not split into words. Choose an encoder that keeps words (cnn, bilstm, transformer, "
            "huggingface) and an input column of lists of words, or a text step that splits it."
        ]
    )


def no_places(task: str) -> RecipeError:
    """Return the error for a task about parts of a text on rows whose tokens have no places."""
    return RecipeError(
        [
            f"tasks.{task}: predicts parts of the last input column, but the encoder gives "
            "no offsets of tokens. Choose an encoder of subwords (transformer, huggingface), and "
            "an input column of texts, not of lists of words."
        ]
    )


class MeanPool(nn.Module):
    """The mean of the real tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()

    @override
    def forward(self, features: Features) -> Tensor:
        return features.mean_BD


class FirstPool(nn.Module):
    """The first token, ``[CLS]`` in encoders that have one."""

    def __init__(self, width: int) -> None:
        super().__init__()

    @override
    def forward(self, features: Features) -> Tensor:
        return features.first_BD


class LastPool(nn.Module):
    """The last real token, which has read all others in encoders that read from left to right."""

    def __init__(self, width: int) -> None:
        super().__init__()

    @override
    def forward(self, features: Features) -> Tensor:
        return features.last_BD


class AutoPool(nn.Module):
    """The mean of the real tokens, or the last one.

    :ivar takes_last: Set by the head, which knows the encoder.
    """

    takes_last = False

    def __init__(self, width: int) -> None:
        super().__init__()

    @override
    def forward(self, features: Features) -> Tensor:
        return features.last_BD if self.takes_last else features.mean_BD


class AttentionPool(nn.Module):
    """The tokens weighted by a learned query.

    Yang et al., "Hierarchical Attention Networks", NAACL 2016, equations 5 to 7.
    https://doi.org/10.18653/v1/N16-1174

    :param width: D of the features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.key = nn.Linear(width, width)
        self.query = nn.Linear(width, 1, bias=False)

    @override
    def forward(self, features: Features) -> Tensor:
        scores_BL1 = self.query(torch.tanh(self.key(features.tokens_BLD))).float()
        mask_BL1 = features.mask_BL.unsqueeze(-1)
        # The lowest finite score, not -inf: a row without tokens must not become NaN.
        lowest = torch.finfo(scores_BL1.dtype).min
        weights_BL1 = scores_BL1.masked_fill(~mask_BL1, lowest).softmax(1) * mask_BL1
        pooled_BD: Tensor = (weights_BL1.to(features.tokens_BLD.dtype) * features.tokens_BLD).sum(1)
        return pooled_BD


_POOLS: dict[Pool, Callable[[int], nn.Module]] = {
    "auto": AutoPool,
    "mean": MeanPool,
    "first": FirstPool,
    "last": LastPool,
    "attention": AttentionPool,
}


def pool_of(pool: Pool, width: int) -> nn.Module:
    """Features to one vector per row."""
    return _POOLS[pool](width)


def scorer(width: int, outputs: int, dropout: float, hidden: int | None) -> nn.Sequential:
    """Dropout and a linear layer, with a hidden layer between them if asked for."""
    if hidden is None:
        return nn.Sequential(nn.Dropout(dropout), nn.Linear(width, outputs))
    return nn.Sequential(
        nn.Dropout(dropout),
        nn.Linear(width, hidden),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, outputs),
    )
