"""Experts for all, of which each task selects a few.

Hazimeh, Zhao, Chowdhery, Sathiamoorthy, Chen, Mazumder, Hong and Chi, "DSelect-k: Differentiable
Selection in the Mixture of Experts with Applications to Multi-Task Learning", NeurIPS 2021,
section 2. https://arxiv.org/abs/2106.03760

Deviations: experts read the features of an encoder, and add to them. Where the number of experts is
no power of two, the codes left over stand for the first experts once more, where the paper
penalises them; so gates always sum to one. The entropy is a mean over the rows. The width of the
smooth step, a setting there, is one: codes have whatever scale they need.
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
from polytask.sharing.experts import Experts, GatedExperts, by_task, mix, numbered, read_by_gates
from polytask.sharing.rows import TaskRows

_START = 0.01
"""Largest initial weight of a code."""
_TINY = 1e-6


@architectures.register("dselect_k")
class DSelectK(GatedExperts):
    """Experts above the encoder, of which every task learns to select at most k.

    All experts are computed, as tasks select different ones.

    :param encoder: A fitted encoder; the architecture owns it.
    :param tasks: Names of the tasks, T of them.
    :param experts: E, the number of experts.
    :param k: Number of experts that a task selects at most.
    :param gate: Whether a task selects once for all rows, for each row or for each token.
    :param entropy: Weight of the entropy of selections, λ, which makes them sharp.
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
        own = task_rows.features(features)
        read = self._read(own)
        chosen_VLkE = self._chosen(task_rows, read.tokens_BLD)
        shares_VLk = by_task(self.shares, task_rows, read.tokens_BLD).float().softmax(-1)
        gates_VLE = mix(shares_VLk, chosen_VLkE)
        self.forget()
        names = numbered("expert", experts_VLED)
        self.see(task_rows.split(replace(read, tokens_BLD=gates_VLE)), names)
        self._spread = self._mean_entropy(read, chosen_VLkE) if self.training else None
        return task_rows.split(replace(own, tokens_BLD=mix(gates_VLE, experts_VLED)))

    @override
    def penalty(self) -> Tensor | None:
        return None if self._spread is None else self._entropy * self._spread

    def _read(self, own: Features) -> Features:
        """What gates decide by; those that do so once for all rows read the number one."""
        if self._gate == "static":
            mask_V1 = torch.ones_like(own.mask_BL[:, :1])
            return Features(mask_V1.unsqueeze(-1).to(own.tokens_BLD), mask_V1)
        return read_by_gates(own, self._gate)

    def _chosen(self, task_rows: TaskRows, read_VLD: Tensor) -> Tensor:
        """What each of k selectors gives to each expert."""
        codes_VLX = by_task(self.codes, task_rows, read_VLD).float()
        codes_VLkM = codes_VLX.unflatten(-1, (self._k, -1))
        return selection(smooth_step(codes_VLkM), self._count)

    def _mean_entropy(self, read: Features, chosen_VLkE: Tensor) -> Tensor:
        """Of the rows, whatever their number of tokens."""
        entropy_VL1 = entropy(chosen_VLkE).unsqueeze(-1)
        return replace(read, tokens_BLD=entropy_VL1).mean_BD.mean()


def smooth_step(codes: Tensor) -> Tensor:
    """From nothing at -1/2 to one at 1/2, along a cubic."""
    inside = codes.clamp(-0.5, 0.5)
    return 0.5 + 1.5 * inside - 2 * inside**3


def selection(bits_M: Tensor, count: int) -> Tensor:
    """How much a binary code stands for each of E experts, in any number of leading dimensions.

    An expert is chosen as far as every bit is that of its number.

    :param bits_M: Each between nothing and one.
    :param count: E; codes from there on stand for the first experts.
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
    """The entropy of k selections, added up, in any number of leading dimensions."""
    return -(chosen_kE * (chosen_kE + _TINY).log()).sum((-2, -1))
