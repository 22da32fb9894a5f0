"""The base of architectures with learned tokens in front of a text.

It works in any encoder with a table of token vectors. Inputs get copies of each text's first token in
front, so that masks, positions and whatever else an encoder derives from them are right. Then the
vectors of the copies are replaced. Their features are removed, so that heads read only the tokens of
the text. Where the encoder has no more positions, the end of the text is cut.

For an encoder without such a table, such as ``tfidf``, a vector of the task is added to the features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from typing_extensions import override

from polytask.core.capabilities import TokenTable, token_table
from polytask.core.collated import Collated
from polytask.core.encoder import Encoder
from polytask.core.errors import RecipeError
from polytask.core.features import Features, TextLayout
from polytask.sharing.bottleneck import OwnShift
from polytask.sharing.layers import change_output
from polytask.sharing.peft_base import PeftArchitecture, PresentRows
from polytask.sharing.per_task import new_parameters

_PER_TOKEN = ("ids", "segments")
_POSITIONS = "words"
_LENGTHS = "lengths"


class PromptArchitecture(PeftArchitecture):
    """Base of architectures that put learned tokens in front of a text.

    :param length: Number of learned tokens.
    """

    mixes: ClassVar[Literal["nothing", "start", "row"]] = "start"
    starts_as_encoder: ClassVar[bool] = False
    """False, as learned tokens change the features of a text from the start."""

    def __init__(
        self,
        encoder: Encoder,
        tasks: Sequence[str],
        /,
        *,
        length: PositiveInt = 20,
        **options: Any,
    ) -> None:
        super().__init__(encoder, tasks, **options)
        self.length = length
        table = token_table(encoder)
        self._longest = encoder.max_tokens if isinstance(encoder, TokenTable) else None
        self._has_table = table is not None
        if table is None and encoder.layers:
            raise RecipeError(
                [
                    "sharing: puts learned tokens in front of a text, but this encoder looks no "
                    "tokens up in a table. Choose an encoder that does (transformer, huggingface, "
                    "bilstm), or another sharing, such as task_token."
                ]
            )
        if self._longest is not None and self._longest <= length:
            raise RecipeError(
                [
                    f"sharing.length: {length} learned tokens leave no room for a text, as this "
                    f"encoder reads at most {self._longest} tokens; lower it"
                ]
            )
        if table is not None:
            starts = [draw_word_vectors(table, length) for _ in self.tasks]
            self.prompts = new_parameters(self.tasks, starts)
            self.replace(table, self.prompts)
        else:
            self.shift = OwnShift(self.present, self.tasks, encoder.width)
            change_output(encoder, self.shift)

    def replace(self, module: nn.Module, prompts: nn.ParameterDict) -> None:
        """Replace the first hidden states that a module returns by learned vectors, from now on."""
        change_output(module, partial(_put_in_front, self.present, prompts))

    @override
    def encode(self, inputs: Collated) -> Features:
        if not self._has_table:
            return super().encode(inputs)
        longer = add_room(inputs, self.length, self._longest)
        return remove_room(super().encode(longer), self.length, longer)


def _put_in_front(present: PresentRows, prompts: nn.ParameterDict, hidden_VLD: Tensor) -> Tensor:
    return replace_first(present.own(prompts), hidden_VLD)


def add_room(inputs: Collated, room: int, longest: int | None) -> Collated:
    """Return inputs with more tokens in front.

    :param room: Number of tokens to add.
    :param longest: Most tokens that the encoder reads; None if there is no limit.
    """
    kept = inputs["ids"].shape[1]
    kept = kept if longest is None else min(kept, longest - room)
    longer = Collated(inputs)
    for name in _PER_TOKEN:
        if name in inputs:
            values_BL = inputs[name]
            longer[name] = torch.cat([values_BL[:, :1].expand(-1, room), values_BL[:, :kept]], 1)
    if _LENGTHS in inputs:
        longer[_LENGTHS] = inputs[_LENGTHS].clamp(max=kept) + room
    if _POSITIONS in inputs:
        words_BW = inputs[_POSITIONS]
        there_BW = (words_BW >= 0) & (words_BW < kept)
        longer[_POSITIONS] = torch.where(there_BW, words_BW + room, -1)
    return longer


def remove_room(features: Features, room: int, inputs: Collated) -> Features:
    """Return the features without the tokens that were added in front.

    :param inputs: The inputs that the encoder read, with room.
    """
    # An encoder that returns one token per text, such as ``bag``, is left as it is.
    if features.mask_BL.shape[1] != inputs["ids"].shape[1]:
        return features
    layout = features.layout
    if isinstance(layout, TextLayout) and layout.words_BW is not None:
        words_BW = torch.where(layout.words_BW < 0, -1, layout.words_BW - room)
        layout = replace(layout, words_BW=words_BW)
    tokens_BLD, mask_BL = features.tokens_BLD[:, room:], features.mask_BL[:, room:]
    return replace(features, tokens_BLD=tokens_BLD, mask_BL=mask_BL, layout=layout)


def replace_first(vectors_VRD: Tensor, hidden_VLD: Tensor) -> Tensor:
    """Return hidden states whose first R are replaced by the given vectors."""
    vectors_VRD = vectors_VRD.to(hidden_VLD.dtype)
    return torch.cat([vectors_VRD, hidden_VLD[:, vectors_VRD.shape[1] :]], dim=1)


def draw_word_vectors(table: nn.Embedding, count: int) -> Tensor:
    """Return the vectors of some entries of a table, drawn at random."""
    weight_ND = table.weight.detach()
    return weight_ND[torch.randint(len(weight_ND), (count,))].clone()
