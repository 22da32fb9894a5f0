"""The key-value cache of a decoder of the transformers library."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    import transformers


class ModelCache:
    """The cache of a model, and which of its tokens are real.

    :param config: The configuration of the model.
    """

    def __init__(self, config: transformers.PreTrainedConfig) -> None:
        import transformers  # slow

        self._cache = transformers.DynamicCache(config=config)
        self._real_BL: Tensor | None = None

    def arguments(self, mask_BL: Tensor) -> dict[str, Any]:
        """Return the model's arguments for tokens that follow the tokens in the cache.

        :param mask_BL: Which of the new tokens are real.
        """
        before = [] if self._real_BL is None else [self._real_BL]
        self._real_BL = torch.cat([*before, mask_BL], dim=1)
        # Rows differ in length, so padding lies between the texts; positions count real tokens only.
        places_BL = (self._real_BL.cumsum(1) - 1).clamp(min=0)[:, -mask_BL.shape[1] :]
        return {
            "attention_mask": self._real_BL.long(),
            "position_ids": places_BL,
            "past_key_values": self._cache,
            "use_cache": True,
        }

    def pick(self, rows_n: Tensor) -> None:
        """Keep these rows, in this order; a row may appear several times."""
        assert self._real_BL is not None
        every_B = torch.arange(len(self._real_BL), device=rows_n.device)
        if not torch.equal(rows_n, every_B):
            self._cache.batch_select_indices(rows_n)
            self._real_BL = self._real_BL[rows_n]


def accepts_positions(model: nn.Module) -> bool:
    """Return True if a model takes the positions of tokens, as packing and caching need."""
    return "position_ids" in inspect.signature(model.forward).parameters


def accepts_cache(model: nn.Module) -> bool:
    """Return True if a model can continue from a cache of tokens that it has read."""
    parameters = inspect.signature(model.forward).parameters
    return "past_key_values" in parameters and accepts_positions(model)
