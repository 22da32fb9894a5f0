"""Models of the transformers library that read several texts in a sequence, or go on reading."""

from __future__ import annotations

import contextlib
from abc import ABC
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from polytask.core.capabilities import Causal
from polytask.core.collated import Collated
from polytask.core.errors import RecipeError
from polytask.core.packing import PARTS, places_of_parts, seen_in_parts
from polytask.core.prompts import KVCache
from polytask.encoders.kv_cache import CausalMemory, takes_memory, takes_places
from polytask.encoders.transformers_base import TransformersEncoder

if TYPE_CHECKING:
    import transformers


class SequenceEncoder(TransformersEncoder, Causal, ABC):
    """Base of encoders whose model may be told where texts start and what it has read before.

    :param search: Folders in which ``path`` and ``tokenizer`` are looked up.
    :param max_length: Longest text in subwords, special ones included; of a pair, both together.
    :param packing: Train with several texts in a sequence of at most ``max_length`` tokens, each as
        if it were alone. For models that read from left to right.
    """

    def __init__(
        self,
        search: tuple[Path, ...] = (),
        /,
        *,
        max_length: Annotated[int, Field(ge=8)] = 128,
        packing: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(search, **options)
        self._max_length = max_length
        self._packing = packing
        self._memory: CausalMemory | None = None

    @override
    def use(self, model: transformers.PreTrainedModel) -> None:
        if self._packing and not takes_places(model):
            raise RecipeError(
                [
                    f"encoder.packing: a {model.config.model_type} cannot be told where in a "
                    "sequence a text starts. Leave it out."
                ]
            )

    @property
    @override
    def packed_length(self) -> int | None:
        return self._max_length if self._packing else None

    @override
    @contextlib.contextmanager
    def kv_cache(self) -> Iterator[KVCache | None]:
        if takes_memory(self.model):
            self._memory = CausalMemory(self.config)
        try:
            yield self._memory
        finally:
            self._memory = None

    def arguments(self, inputs: Collated, mask_BL: Tensor) -> dict[str, Any]:
        """What a model is given of a batch."""
        given: dict[str, Any] = {"input_ids": inputs["ids"], "attention_mask": mask_BL.long()}
        if PARTS in inputs:
            given |= _of_parts(inputs[PARTS])
        if self._memory is not None:
            given |= self._memory.arguments(mask_BL)
        return given


def _of_parts(parts_SM: Tensor) -> dict[str, Tensor]:
    """What lets texts in one sequence be as if each were alone."""
    seen_SMM = seen_in_parts(parts_SM)
    lowest = torch.finfo(torch.float).min
    bias_SMM = torch.zeros(seen_SMM.shape, device=seen_SMM.device).masked_fill(~seen_SMM, lowest)
    return {"attention_mask": bias_SMM.unsqueeze(1), "position_ids": places_of_parts(parts_SM)}
