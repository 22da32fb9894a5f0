"""Projected attention layers: small layers of each task in parallel to a shared encoder's layers.

Cooper Stickland and Murray, "BERT and PALs: Projected Attention Layers for Efficient Adaptation in
Multi-Task Learning", ICML 2019, section 3: beside each layer, V_D g(V_E h), where h is the input of
the layer and g is self-attention without an output projection; V_E and V_D are the same for all
layers of a task. The encoder is trained. https://arxiv.org/abs/1902.02671

Deviations: the result is added after a layer, norm included, and V_D starts at zero. Beside a layer
whose input has another width, h is the output of the layer; an encoder without layers counts as one
such layer. Tokens attend in both directions, also in a decoder, so it cannot serve tasks that predict
the next token. Where inputs have no ``lengths``, all tokens are taken as real.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from typing_extensions import override

from polytask.core.encoder import Encoder
from polytask.core.errors import RecipeError
from polytask.core.features import Features
from polytask.sharing.base import architectures
from polytask.sharing.low_rank import new_down
from polytask.sharing.peft_base import PeftArchitecture, PresentRows


@architectures.register("pal")
class ProjectedAttention(PeftArchitecture):
    """Every task has private small attention layers in parallel to a shared encoder's layers.

    :param inner: Width of the small layers.
    :param heads: Attention heads of a small layer; they divide its width.
    :param freeze: Freeze the encoder.
    """

    mixes: ClassVar[Literal["nothing", "start", "row"]] = "row"
    cost: ClassVar[str] = (
        "2 x width x inner parameters per task, 3 x inner x inner per task and layer, and as many "
        "products per token; rows that several tasks read are encoded once for each"
    )

    def __init__(
        self,
        encoder: Encoder,
        tasks: Sequence[str],
        /,
        *,
        inner: PositiveInt = 48,
        heads: PositiveInt = 4,
        freeze: bool = False,
    ) -> None:
        super().__init__(encoder, tasks, freeze=freeze)
        if inner % heads:
            raise RecipeError([f"sharing.inner: {inner} is no multiple of the {heads} heads"])
        self.ends = Ends(self.present, self.tasks, encoder.width, inner)
        self.attention = nn.ModuleList(
            OwnAttention(self.present, self.tasks, inner, heads)
            for _ in range(max(1, len(encoder.layers)))
        )
        for layer, attention in zip(encoder.layers, self.attention, strict=False):
            layer.register_forward_hook(partial(_beside_layer, attention, self.ends, self.present))
        if not encoder.layers:
            encoder.register_forward_hook(partial(_beside_all, self.attention[0], self.ends))


def _beside_layer(
    attention: nn.Module,
    ends: Ends,
    present: PresentRows,
    _layer: nn.Module,
    inputs: tuple[Any, ...],
    output: Any,
) -> Any:
    gave_VLD, *others = output if isinstance(output, tuple) else (output,)
    # Keyword arguments do not reach a forward hook, so ``inputs`` may be empty.
    reads = bool(inputs) and inputs[0].shape[-1] == gave_VLD.shape[-1]
    read_VLD = inputs[0] if reads else gave_VLD
    low_VLR = attention(ends.lower(read_VLD), present.mask(read_VLD))
    result_VLD = ends.add(gave_VLD, low_VLR)
    return (result_VLD, *others) if isinstance(output, tuple) else result_VLD


def _beside_all(
    attention: nn.Module, ends: Ends, _encoder: nn.Module, _inputs: Any, features: Features
) -> Features:
    tokens_VLD = features.tokens_BLD
    low_VLR = attention(ends.lower(tokens_VLD), features.mask_BL)
    return replace(features, tokens_BLD=ends.add(tokens_VLD, low_VLR))


class Ends(nn.Module):
    """The projections V_E and V_D of each task, the same for all layers.

    :param present: The rows of the current pass.
    :param width: D of the hidden states.
    :param inner: R, the width of the small layers.
    """

    def __init__(self, present: PresentRows, tasks: Sequence[str], width: int, inner: int) -> None:
        super().__init__()
        self._present = present
        self.down = nn.ParameterDict({t: new_down(width, inner) for t in tasks})
        self.up = nn.ParameterDict({t: nn.Parameter(torch.zeros(inner, width)) for t in tasks})

    def lower(self, hidden_VLD: Tensor) -> Tensor:
        """Return V_E h, the input of a small layer."""
        return torch.bmm(hidden_VLD, self._present.own(self.down).transpose(1, 2))

    def add(self, hidden_VLD: Tensor, low_VLR: Tensor) -> Tensor:
        """Return hidden states plus V_D times the output of a small layer."""
        return torch.baddbmm(hidden_VLD, low_VLR, self._present.own(self.up))


class OwnAttention(nn.Module):
    """Self-attention of each task, without an output projection.

    :param present: The rows of the current pass.
    :param width: Width R of the input and the output.
    :param heads: Number of heads, H.
    """

    def __init__(self, present: PresentRows, tasks: Sequence[str], width: int, heads: int) -> None:
        super().__init__()
        self._present, self._heads = present, heads
        self.project = nn.ParameterDict({t: new_down(width, 3 * width) for t in tasks})

    @override
    def forward(self, low_VLR: Tensor, mask_VL: Tensor | None) -> Tensor:
        """Return the attended vectors; no token attends to a masked token."""
        projected_VLX = torch.bmm(low_VLR, self._present.own(self.project).transpose(1, 2))
        query, key, value = (
            part_VLR.unflatten(-1, (self._heads, -1)).transpose(1, 2)
            for part_VLR in projected_VLX.chunk(3, dim=-1)
        )
        mask_V11L = None if mask_VL is None else mask_VL[:, None, None, :]
        attended_VHLK = scaled_dot_product_attention(query, key, value, mask_V11L)
        return attended_VHLK.transpose(1, 2).flatten(2)
