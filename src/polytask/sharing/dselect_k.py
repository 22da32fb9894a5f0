"""Experts shared by all tasks; each task selects a few.

Hazimeh, Zhao, Chowdhery, Sathiamoorthy, Chen, Mazumder, Hong and Chi, "DSelect-k: Differentiable
Selection in the Mixture of Experts with Applications to Multi-Task Learning", NeurIPS 2021,
section 2. https://arxiv.org/abs/2106.03760

Deviations: experts read the features of an encoder, and add to them. Where the number of experts is
no power of two, the codes left over stand for the first experts again, so gates always sum to one;
the paper penalises these codes. The entropy is a mean over the rows. The width of the smooth step, a
setting in the paper, is one: codes learn the scale they need.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from polytask.core.collated import Collated
from polytask.core.encoder import Encoder
from polytask.core.features import Features
from polytask.sharing.base import architectures
from polytask.sharing.experts import Experts, GatedExperts, gate_inputs, mix
from polytask.sharing.per_task import apply_per_task
from polytask.sharing.rows import TaskRows

_START = 0.01
"""Largest initial weight of a code."""
_TINY = 1e-6


@architectures.register("dselect_k")
class DSelectK(GatedExperts):
    """Experts above the encoder; every task learns to select at most k.

    All experts are computed, as tasks select different ones.

    :param experts: E, the number of experts.
    :param k: Most experts that a task selects.
    :param gate: A task selects once for all rows (``static``), for each row (``sentence``) or for each
        token (``token``).
    :param entropy: Weight λ of the entropy of selections, which makes selections sharp.
    """

    cost: ClassVar[str] = (
        "2 x width x hidden shared parameters per expert, and as many products per token; k x (1 + "
        "log2 experts) parameters per task, times width unless the gate is static"
    )

    def __init__(
        self,
        encoder: Encoder,
        tasks: Sequence[str],
        /,
        *,
        experts: Annotated[int, Field(ge=2)] = 4,
        k: PositiveInt = 2,
        gate: Literal["static", "sentence", "token"] = "static",
        entropy: NonNegativeFloat = 0.01,
        **options: Any,
    ) -> None:
        super().__init__(encoder, tasks, **options)
        self.experts = Experts(experts, encoder.width, self.hidden)
        self._count, self._k, self._entropy = experts, k, entropy
        self._gate = gate
        bits = k * math.ceil(math.log2(experts))
        read = 1 if gate == "static" else encoder.width
        self.codes = nn.ModuleDict({task: nn.Linear(read, bits, bias=False) for task in tasks})
        self.shares = nn.ModuleDict({task: nn.Linear(read, k, bias=False) for task in tasks})
        for weight in self.codes.parameters():
            nn.init.uniform_(weight, -_START, _START)
        self._spread: Tensor | None = None

    @override
    def forward(self, inputs: Collated, rows: Mapping[str, Tensor]) -> dict[str, Features]:
        features = self.encoder(inputs)
        task_rows = TaskRows.of(rows)
        experts_VLED = task_rows.take(self.experts(features.tokens_BLD))
        own = task_rows.select(features)
        read = self._gate_inputs(own)
        # In single precision, also under autocast: codes are products of many factors below one.
        codes_VLX = apply_per_task(self.codes, task_rows, read.tokens_BLD).float()
        bits_VLkM = smooth_step(codes_VLX.unflatten(-1, (self._k, -1)))
        chosen_VLkE = selection(bits_VLkM, self._count)
        shares_VLk = apply_per_task(self.shares, task_rows, read.tokens_BLD).float().softmax(-1)
        gates = replace(read, tokens_BLD=mix(shares_VLk, chosen_VLkE))
        self._spread = None
        if self.training:  # a mean over rows, whatever their number of tokens
            entropy_VL1 = entropy(chosen_VLkE).unsqueeze(-1)
            self._spread = replace(read, tokens_BLD=entropy_VL1).mean_BD.mean()
        return self.mix_by_task(task_rows, own, gates, experts_VLED)

    @override
    def penalty(self) -> Tensor | None:
        return None if self._spread is None else self._entropy * self._spread

    def _gate_inputs(self, own: Features) -> Features:
        """Return the features that gates read; a static gate reads the number one."""
        if self._gate == "static":
            mask_V1 = torch.ones_like(own.mask_BL[:, :1])
            return Features(mask_V1.unsqueeze(-1).to(own.tokens_BLD), mask_V1)
        return gate_inputs(own, self._gate)


def smooth_step(codes: Tensor) -> Tensor:
    """Return a cubic between 0 at -1/2 and 1 at 1/2, constant outside (equation 1 of the paper)."""
    inside = codes.clamp(-0.5, 0.5)
    return 0.5 + 1.5 * inside - 2 * inside**3


def selection(bits_M: Tensor, count: int) -> Tensor:
    """Return how much a soft binary code selects each of E experts.

    An expert's share is the product, over the bits, of the agreement with its binary number.

    :param bits_M: Numbers between 0 and 1; any leading dimensions.
    :param count: E; codes from E on stand for the first experts again.
    """
    length = bits_M.shape[-1]
    device = bits_M.device
    number_C1 = torch.arange(2**length, device=device).unsqueeze(1)
    is_set_CM = (number_C1 >> torch.arange(length, device=device)) & 1 == 1
    bits_1M = bits_M.unsqueeze(-2)
    chosen_C = torch.where(is_set_CM, bits_1M, 1 - bits_1M).prod(-1)
    left_over = 2**length - count
    again_E = functional.pad(chosen_C[..., count:], (0, count - left_over))
    return chosen_C[..., :count] + again_E


def entropy(chosen_kE: Tensor) -> Tensor:
    """Return the sum of the entropies of k selections; any leading dimensions."""
    # Selections are exactly zero outside the smooth step, where the logarithm has no gradient.
    return -(chosen_kE * (chosen_kE + _TINY).log()).sum((-2, -1))
