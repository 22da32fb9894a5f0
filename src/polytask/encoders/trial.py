"""Trials of models of the transformers library, before anything is trained."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from polytask.core.batch import Inputs
from polytask.core.errors import RecipeError

if TYPE_CHECKING:
    import transformers

TEXTS = "", "a cat", "a dog and a cat " * 8
"""Texts to try a model with: without words, short, and longer than these."""

_ROUNDING = 1e-4
"""Share of a vector that rounding may change: 1e-6 was measured, and 3e-3 and more for padding."""

Read: TypeAlias = "Callable[[transformers.PreTrainedModel, Sequence[Inputs]], Tensor]"


@dataclass(frozen=True)
class Trial:
    """The outcome of a trial.

    :param width: Numbers in the vector of a token.
    :param pads: Whether texts get the same vectors alone and padded.
    """

    width: int
    pads: bool


@torch.no_grad()
def try_out(model: transformers.PreTrainedModel, rows: Sequence[Inputs], read: Read) -> Trial:
    """Encode rows alone and together, without a trace in the model.

    :param rows: Prepared ``TEXTS``.
    :param read: Gives tokens_BLD, by a model, of some rows.
    :raises RecipeError: If the model fails, or does not give a vector for each token.
    """
    kind = model.config.model_type
    twin = _twin(model).eval()
    try:
        with torch.random.fork_rng(devices=[]):
            together_BLD = read(twin, rows)
            alone = [read(twin, [row])[0] for row in rows]
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RecipeError(
            [
                f"encoder: a {kind} of this configuration cannot encode a short text: {reason}. "
                "Change encoder.config, or choose another model."
            ]
        ) from error
    counts, expected = [len(vectors_LD) for vectors_LD in alone], [len(row["ids"]) for row in rows]
    if counts != expected:
        raise RecipeError(
            [
                f"encoder: a {kind} gives {counts[-1]} vectors for {expected[-1]} tokens, expected "
                "one for each. Choose another model."
            ]
        )
    pairs = zip(alone, together_BLD, strict=True)
    pads = all(_alike(vectors_LD, padded_LD[: len(vectors_LD)]) for vectors_LD, padded_LD in pairs)
    return Trial(together_BLD.shape[-1], pads)


def _alike(one: Tensor, other: Tensor) -> bool:
    return float((one - other).norm()) <= _ROUNDING * float(one.norm())


def _twin(model: transformers.PreTrainedModel) -> transformers.PreTrainedModel:
    """A copy with the same tensors: a model may remember what it has read, as BigBird does."""
    tensors = chain(model.parameters(), model.buffers())
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
