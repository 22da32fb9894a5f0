"""Going on with texts token by token: reading everything again, or from what an encoder remembers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeAlias, final

import torch
from torch import Tensor
from torch.nn import functional

from polytask.core.collated import Collated
from polytask.core.prompts import KVCache
from polytask.tasks.base import Encode

Logits: TypeAlias = Callable[[Tensor], Tensor]
"""Features of n tokens to the scores of those that follow."""
State: TypeAlias = dict[str, Tensor]
KVCacheContext: TypeAlias = Callable[[], AbstractContextManager[KVCache | None]]

_TRIED = 2
_EXACT, _ROUNDED = 1e-4, 0.05


@final
class Rereading:
    """Reads all tokens again for each new one: right for whatever reads from left to right.

    :param encode: Inputs to features.
    :param logits: Features to scores.
    """

    def __init__(self, encode: Encode, logits: Logits) -> None:
        self._encode, self._logits = encode, logits

    def begin(self, inputs: Collated) -> State:
        """Return the state before the last token of b texts."""
        return {"ids": inputs["ids"], "places": inputs["lengths"] - 1}

    def __call__(self, last_n: Tensor, state: State) -> tuple[Tensor, State]:
        """Return a step of a search: the tokens chosen last to the scores of the next ones."""
        places_n1 = state["places"].unsqueeze(1)
        ids_nL = functional.pad(state["ids"], (0, 1)).scatter(1, places_n1, last_n.unsqueeze(1))
        tokens_nLD = self._encode(Collated(ids=ids_nL, lengths=state["places"] + 1)).tokens_BLD
        return self._logits(at(tokens_nLD, state["places"])), {
            "ids": ids_nL,
            "places": state["places"] + 1,
        }


@final
class Remembered:
    """Reads b texts once, and then each new token alone.

    :param encode: Inputs to features, while the encoder remembers.
    :param logits: Features to scores.
    :param memory: The key-value cache of the encoder.
    """

    def __init__(self, encode: Encode, logits: Logits, memory: KVCache) -> None:
        self._encode, self._logits, self._memory = encode, logits, memory
        self._text: Collated | None = None

    def begin(self, inputs: Collated) -> State:
        """Return the state before the last token of b texts."""
        self._text = Collated(ids=inputs["ids"], lengths=inputs["lengths"])
        return {"rows": torch.arange(len(inputs["ids"]), device=inputs["ids"].device)}

    def __call__(self, last_n: Tensor, state: State) -> tuple[Tensor, State]:
        """Return a step of a search: the tokens chosen last to the scores of the next ones."""
        rows_n = state["rows"]
        if self._text is not None:
            inputs = self._text.select(rows_n)
            self._text = None
        else:
            self._memory.pick(rows_n)
            inputs = one_each(last_n)
        tokens_nLD = self._encode(inputs).tokens_BLD
        read_nD = at(tokens_nLD, inputs["lengths"] - 1)
        return self._logits(read_nD), {"rows": torch.arange(len(last_n), device=last_n.device)}


@torch.no_grad()
def remembers(encode: Encode, inputs: Collated, kv_cache: KVCacheContext) -> bool:
    """Return whether a token read with the cache gives the same features as after its text.

    It is tried on a few rows. It fails if an architecture has a second encoder or adds tokens.
    """
    ids_bL, lengths_b = inputs["ids"][:_TRIED], inputs["lengths"][:_TRIED]
    last_b = at(ids_bL.unsqueeze(-1), lengths_b - 1).squeeze(-1)
    with kv_cache() as memory:
        if memory is None:
            return False
        try:
            encode(Collated(ids=ids_bL, lengths=lengths_b))
            found_bD = encode(one_each(last_b)).tokens_BLD[:, 0]
        except RuntimeError:  # layers that run several times, which the cache takes in each time
            return False
    longer_bL = functional.pad(ids_bL, (0, 1)).scatter(1, lengths_b[:, None], last_b[:, None])
    tokens_bLD = encode(Collated(ids=longer_bL, lengths=lengths_b + 1)).tokens_BLD
    rounded = torch.is_autocast_enabled(ids_bL.device.type)
    error = (found_bD - at(tokens_bLD, lengths_b)).abs().max()
    return bool(error <= (_ROUNDED if rounded else _EXACT) * tokens_bLD.abs().max())


def at(values_bLD: Tensor, places_b: Tensor) -> Tensor:
    """Return one of L for each of b rows."""
    return values_bLD.take_along_dim(places_b[:, None, None], dim=1).squeeze(1)


def one_each(last_n: Tensor) -> Collated:
    """Return one token for each of n rows, as inputs."""
    return Collated(ids=last_n.unsqueeze(1), lengths=torch.ones_like(last_n))
