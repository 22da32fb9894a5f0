"""Keys and values that a decoder of the transformers library keeps of what it has read."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    import transformers


class CausalMemory:
    """The cache of a model, and which of the tokens in it are real.

    :param config: That of the model.
    """

    def __init__(self, config: transformers.PreTrainedConfig) -> None:
        import transformers  # slow

        self._cache = transformers.DynamicCache(config=config)
        self._real_BL: Tensor | None = None

    def arguments(self, mask_BL: Tensor) -> dict[str, Any]:
        """How the model is told that tokens follow.

        :param mask_BL: Which of the new tokens are real.
        """
        before = [] if self._real_BL is None else [self._real_BL]
        self._real_BL = torch.cat([*before, mask_BL], dim=1)
        places_BL = (self._real_BL.cumsum(1) - 1).clamp(min=0)[:, -mask_BL.shape[1] :]
        return {
            "attention_mask": self._real_BL.long(),
            "position_ids": places_BL,
            "past_key_values": self._cache,
            "use_cache": True,
        }

    def pick(self, rows_n: Tensor) -> None:
        """Go on from these of its rows, in this order."""
        assert self._real_BL is not None
        every_B = torch.arange(len(self._real_BL), device=rows_n.device)
        if not torch.equal(rows_n, every_B):
            self._cache.batch_select_indices(rows_n)
            self._real_BL = self._real_BL[rows_n]


def takes_places(model: nn.Module) -> bool:
    """Whether a model is told the places of tokens, as packing and remembering need."""
    return "position_ids" in inspect.signature(model.forward).parameters


def takes_memory(model: nn.Module) -> bool:
    """Whether a model can go on from what it has read."""
    return takes_places(model) and "past_key_values" in inspect.signature(model.forward).parameters
