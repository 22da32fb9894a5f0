"""The head of language models: the encoder's own token vectors score the tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from polytask.core.batch import DRAW_SEED
from polytask.core.capabilities import TokenTable
from polytask.core.collated import Collated
from polytask.core.errors import RecipeError
from polytask.core.features import Features
from polytask.core.padding import lengths_to_mask
from polytask.tasks.base import Encode, Head, HeadContext
from polytask.tasks.masking import blank_out, hide, places_of

_MOST_SCORES = 2**25
"""Most scores of tokens that are computed at a time, 128 MB in fp32."""

NATS, KEPT = "nats_bK", "kept_bK"
"""Keys of the output of a language head: the loss of each of K predicted tokens, and their mask."""


class LanguageHead(Head, ABC):
    """Scores tokens by the encoder's token vectors: ``{nats_bK, kept_bK}``.

    A named model with other vectors for this brings those.

    Press and Wolf, "Using the Output Embedding to Improve Language Models", EACL 2017.
    https://aclanthology.org/E17-2025

    Where the features are as wide as the token vectors, and nothing is asked for, they are used as
    they are: a pretrained model with a tied output predicts as it was trained to.

    :param task: Name of the task, for messages.
    :param width: D of the features.
    """

    reads_rows: ClassVar[bool] = True
    biased: ClassVar[bool] = True
    """Whether the output has a bias for each token."""

    special_C: Tensor
    mask_id: int
    bias: nn.Parameter | None

    def __init__(self, task: str, width: int) -> None:
        super().__init__()
        self.task = task
        self._width = width

    @override
    def bind(self, encoder: nn.Module) -> None:
        if not isinstance(encoder, TokenTable) or encoder.embedding is None:
            raise RecipeError(
                [
                    f"tasks.{self.task}: predicts tokens, but the encoder has no vectors of tokens. "
                    "Choose an encoder that has them (transformer, huggingface, word_transformer)."
                ]
            )
        table = encoder.embedding
        # Shared with the encoder, so counted and stored once.
        self.scores = encoder.output_scores() if self.needs_causal else None
        own = encoder.output_vectors() if self.scores is None else None
        self.token_vectors = table.weight if own is None else own
        bias_V = nn.Parameter(torch.zeros(table.num_embeddings)) if self.biased else None
        self.register_parameter("bias", bias_V)
        self.transform = self.new_transform(self._width, table.embedding_dim)
        self.mask_id = encoder.mask_id
        special_C = torch.tensor(sorted(set(encoder.special_ids)), dtype=torch.long)
        self.register_buffer("special_C", special_C, persistent=False)

    @abstractmethod
    def new_transform(self, width: int, dimension: int) -> nn.Module:
        """From features to vectors that are compared with token vectors."""

    @abstractmethod
    def choose(self, inputs: Collated) -> tuple[Tensor, Tensor]:
        """Return the tokens that are predicted, and those whose features predict each: (b, L) both.

        The same number of each in every row.
        """

    @override
    def forward(self, features: Features, *context: HeadContext) -> dict[str, Tensor]:
        (rows,) = context
        ids_bL = rows.inputs["ids"]
        self._check_places(features, ids_bL)
        predicted_bL, read_bL = self.choose(rows.inputs)
        predicted_bK, kept_bK = places_of(predicted_bL)
        read_bK, _ = places_of(read_bL)
        # Rows of other tasks may have several texts; rows of this task have one, which comes first.
        read_bKD = features.tokens_BLD.take_along_dim(read_bK.unsqueeze(-1), dim=1)
        targets_bK = ids_bL.gather(1, predicted_bK)
        return {NATS: self.nats(read_bKD[kept_bK], targets_bK[kept_bK], kept_bK), KEPT: kept_bK}

    def nats(self, read_nD: Tensor, targets_n: Tensor, kept_bK: Tensor) -> Tensor:
        """Return the loss of each target at its place; 0 elsewhere.

        With many tokens, the scores of a chunk of them are in memory at a time, and are computed again
        in the backward pass: n × V numbers would be the largest tensor of a language model by far.
        """
        most = max(1, _MOST_SCORES // len(self.token_vectors))
        if len(targets_n) <= most:
            nats_n = self._costs(read_nD, targets_n)
        else:
            chunks = zip(read_nD.split(most), targets_n.split(most), strict=True)
            nats_n = torch.cat(
                [checkpoint(self._costs, *chunk, use_reentrant=False) for chunk in chunks]
            )
        nats_bK = torch.zeros(kept_bK.shape, dtype=torch.float, device=kept_bK.device)
        return nats_bK.masked_scatter(kept_bK, nats_n)

    def _costs(self, read_nD: Tensor, targets_n: Tensor) -> Tensor:
        return functional.cross_entropy(self.logits(read_nD), targets_n, reduction="none")

    def logits(self, read_nD: Tensor) -> Tensor:
        """Return the score of every token after each of n features, in fp32."""
        transformed_nD = self.transform(read_nD)
        scores_nV = (
            functional.linear(transformed_nD, self.token_vectors)
            if self.scores is None
            else self.scores(transformed_nD)
        )
        return scores_nV.float() if self.bias is None else scores_nV.float() + self.bias

    def text_mask(self, inputs: Collated) -> Tensor:
        """True for the tokens that belong to the text: (b, L)."""
        ids_bL = inputs["ids"]
        real_bL = lengths_to_mask(inputs["lengths"], ids_bL.shape[1])
        return real_bL & ~torch.isin(ids_bL, self.special_C)

    def _check_places(self, features: Features, ids_bL: Tensor) -> None:
        if features.mask_BL.shape != (len(ids_bL), features.segments * ids_bL.shape[1]):
            raise RecipeError(
                [
                    f"tasks.{self.task}: predicts tokens, but the features are not one per token: "
                    f"{tuple(features.tokens_BLD.shape[:2])} of them for {tuple(ids_bL.shape)} "
                    "tokens. Choose an encoder and a sharing that keep a vector for each token."
                ]
            )


@final
class MaskedHead(LanguageHead):
    """Predicts tokens that are hidden from the encoder.

    :param task: Name of the task, for messages.
    :param width: D of the features.
    :param share: Share of the tokens that are hidden.
    """

    def __init__(self, task: str, width: int, share: float) -> None:
        super().__init__(task, width)
        self._share = share

    @override
    def new_transform(self, width: int, dimension: int) -> nn.Module:
        return nn.Sequential(nn.Linear(width, dimension), nn.GELU(), nn.LayerNorm(dimension))

    @override
    def corrupt_inputs(self, inputs: Collated, rows_b: Tensor) -> Collated:
        own = inputs.select(rows_b)
        hidden_bL, _ = self.choose(own)
        vocabulary = len(self.token_vectors)
        changed_bL = blank_out(own["ids"], hidden_bL, _draws(own), self.mask_id, vocabulary)
        return inputs.update_with({"ids": inputs["ids"].index_copy(0, rows_b, changed_bL)})

    @override
    def choose(self, inputs: Collated) -> tuple[Tensor, Tensor]:
        hidden_bL = hide(inputs["ids"], self.text_mask(inputs), _draws(inputs), self._share)
        return hidden_bL, hidden_bL


@final
class CausalHead(LanguageHead):
    """Predicts every token from the features of the one before it."""

    needs_causal: ClassVar[bool] = True

    @override
    def validate(self, encode: Encode) -> None:
        require_reads_forward(encode, self, ", or objective: masked")

    @override
    def new_transform(self, width: int, dimension: int) -> nn.Module:
        return nn.Identity() if width == dimension else nn.Linear(width, dimension)

    @override
    def choose(self, inputs: Collated) -> tuple[Tensor, Tensor]:
        real_bL = lengths_to_mask(inputs["lengths"], inputs["ids"].shape[1])
        predicted_bL = real_bL.clone()
        predicted_bL[:, 0] = False
        return predicted_bL, predicted_bL.roll(-1, dims=1)


def require_reads_forward(encode: Encode, head: LanguageHead, otherwise: str = "") -> None:
    """Refuse features of a token that depend on those after it.

    :param otherwise: What else the person may do.
    :raises RecipeError: If these do.
    """
    if not is_causal(encode, head.token_vectors):
        raise RecipeError(
            [
                f"tasks.{head.task}: predicts the next token, but the encoder reads it before. "
                "Choose one that reads from left to right: a transformer with causal: true, a "
                f"decoder by encoder.path{otherwise}."
            ]
        )


@torch.no_grad()
def is_causal(encode: Encode, token_vectors: Tensor) -> bool:
    """Return whether the features of a token depend on it and those before it alone; it is tried out."""
    device = token_vectors.device
    ids_BL = torch.full((2, 4), len(token_vectors) - 1, device=device)
    ids_BL[1, 3] -= 1
    features = encode(Collated(ids=ids_BL, lengths=torch.tensor([4, 4], device=device)))
    before_BLD = features.tokens_BLD[:, :3]
    return before_BLD.shape[1] == 3 and torch.allclose(before_BLD[0], before_BLD[1], atol=1e-5)


def _draws(inputs: Collated) -> Tensor:
    return inputs.get(DRAW_SEED, torch.zeros_like(inputs["lengths"]))
