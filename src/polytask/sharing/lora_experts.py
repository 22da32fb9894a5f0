"""A mixture of low-rank experts, gated by the task.

Liu et al., "When MOE Meets LLMs: Parameter Efficient Fine-tuning for Multi-task Medical
Applications" (MOELoRA), SIGIR 2024, section 4: h = W x + (alpha / rank) sum over i of omega_ti B_i
A_i x, where omega_t = softmax(W_T e_t) and e_t is a learned vector of the task. One gate serves all
layers. https://arxiv.org/abs/2310.18339

Deviation: ``rank`` is the rank of one expert, also in alpha / rank; in the paper it is the rank of all
experts together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from typing_extensions import override

from polytask.core.encoder import Encoder
from polytask.sharing.base import architectures
from polytask.sharing.low_rank import FoldableLowRank, FoldableTerm, Term, zero_up
from polytask.sharing.peft_base import PresentRows


@architectures.register("lora_experts")
class LoraExperts(FoldableLowRank):
    """Several low-rank experts at each linear layer; each task learns how much each of them counts.

    :param experts: Number of experts.
    :param rank: Rank of an expert.
    :param embedding: Width of the vector of a task that the gate reads.
    """

    cost: ClassVar[str] = (
        "experts x rank x (inner + outer) shared parameters per linear layer, one vector per task; "
        "the encoder is frozen; rows that several tasks read are encoded once for each"
    )

    def __init__(
        self,
        encoder: Encoder,
        tasks: Sequence[str],
        /,
        *,
        experts: PositiveInt = 8,
        rank: PositiveInt = 4,
        embedding: PositiveInt = 64,
        **options: Any,
    ) -> None:
        self._experts, self._embedding = experts, embedding
        super().__init__(encoder, tasks, rank=rank, **options)

    @override
    def prepare(self) -> None:
        self.gate = TaskGate(self.present, self.tasks, self._embedding, self._experts)

    @override
    def new_term(self, inner: int, outer: int) -> Term:
        term = GatedTerm(self.scale, self.drop, self.gate)
        term.down = nn.Linear(inner, self._experts * self.rank, bias=False)
        term.up = zero_up(self._experts * self.rank, outer)
        return term

    @override
    def observe(self) -> dict[str, float]:
        """Return the weight of each expert for each task."""
        return {
            f"gate/{task}/expert_{place}": gate
            for task in self.tasks
            for place, gate in enumerate(self.gate.of(task).tolist())
        }


class TaskGate(nn.Module):
    """The gate softmax(W_T e_t): the weight of each of N experts for a task.

    :param present: The rows of the current pass.
    """

    def __init__(
        self, present: PresentRows, tasks: Sequence[str], width: int, experts: int
    ) -> None:
        super().__init__()
        self._present = present
        self.vectors = nn.ParameterDict({t: nn.Parameter(torch.randn(width)) for t in tasks})
        self.project = nn.Linear(width, experts, bias=False)

    def of(self, task: str) -> Tensor:
        """Return the gates of a task, gates_N."""
        return torch.softmax(self.project(self.vectors[task]), dim=-1)

    @override
    def forward(self) -> Tensor:
        """Return the gates of all rows, gates_VN."""
        return torch.softmax(self.project(self._present.own(self.vectors)), dim=-1)


class GatedTerm(FoldableTerm):
    """The term scale · sum over i of omega_ti B_i A_i x; the A_i and the B_i are one matrix each.

    :param gate: The gate that all terms share.
    """

    down: nn.Linear
    up: nn.Linear

    def __init__(self, scale: float, dropout: float, gate: TaskGate) -> None:
        super().__init__(scale, dropout)
        # In a tuple, so that the shared gate is not registered as a part of every term.
        self._gate = (gate,)

    @override
    def add(self, output_VLO: Tensor, given_VLI: Tensor) -> Tensor:
        gates_VK = self._spread(self._gate[0]())
        added_VLO: Tensor = self.up(gates_VK.unsqueeze(1) * self.down(given_VLI))
        return output_VLO + added_VLO

    @override
    def change_of(self, task: str) -> Tensor:
        gates_K = self._spread(self._gate[0].of(task))
        change_OI: Tensor = (self.up.weight * gates_K) @ self.down.weight
        return change_OI

    def _spread(self, gates: Tensor) -> Tensor:
        """Return the gate of an expert for each of its ranks, times the scale."""
        each = self.down.out_features // gates.shape[-1]
        return self.scale * gates.repeat_interleave(each, dim=-1)
