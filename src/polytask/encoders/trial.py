"""A trial of a model of the transformers library, before anything is trained."""

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
from polytask.encoders.pretrained import as_recipe_error

if TYPE_CHECKING:
    import transformers

TEXTS = "", "a cat", "a dog and a cat " * 8
"""The texts of a trial: an empty, a short and a long one."""

_ROUNDING = 1e-4
"""Largest relative change of a vector by rounding. Measured: 1e-6 by rounding, over 3e-3 by padding."""

Read: TypeAlias = "Callable[[transformers.PreTrainedModel, Sequence[Inputs]], Tensor]"


@dataclass(frozen=True)
class Trial:
    """The outcome of a trial.

    :param width: Width of the vector of a token.
    :param pads: True if texts get the same vectors alone and padded.
    """

    width: int
    pads: bool


@torch.no_grad()
def try_out(model: transformers.PreTrainedModel, rows: Sequence[Inputs], read: Read) -> Trial:
    """Encode rows alone and together, and leave the model unchanged.

    :param rows: Prepared ``TEXTS``.
    :param read: A function from a model and rows to tokens_BLD.
    :raises RecipeError: If the model fails, or does not return a vector for each token.
    """
    kind = model.config.model_type
    # A copy that shares the tensors: a model may keep what it has read, as BigBird does.
    tensors = chain(model.parameters(), model.buffers())
    twin = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors}).eval()
    # Some models draw random numbers also in evaluation; the seed of the training must not depend on it.
    what = f"encoder: a {kind} of this configuration cannot encode a short text"
    advice = ". Change encoder.config, or choose another model."
    with as_recipe_error(what, advice), torch.random.fork_rng(devices=[]):
        together_BLD = read(twin, rows)
        alone = [read(twin, [row])[0] for row in rows]
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
