"""A low-rank adaptation per task, applied to rows of all tasks in one batch.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022, section 4.1, once for
each task. https://arxiv.org/abs/2106.09685

Rows of different tasks go through the encoder together; each row is multiplied by the matrices of its
task in two batched products, as in servers of many adaptations: Chen et al., "Punica:
Multi-Tenant LoRA Serving", MLSys 2024, section 4. https://arxiv.org/abs/2310.18547
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from polytask.sharing.base import architectures
from polytask.sharing.low_rank import FoldableLowRank, FoldableTerm, Term, new_down
from polytask.sharing.peft_base import PresentRows


@architectures.register("task_lora")
class TaskLora(FoldableLowRank):
    """Every task has private low-rank terms at the linear layers of one frozen encoder."""

    cost: ClassVar[str] = (
        "rank x (inner + outer) parameters per task and linear layer, and as many products per "
        "token; the encoder is frozen; rows that several tasks read are encoded once for each"
    )

    @override
    def new_term(self, inner: int, outer: int) -> Term:
        term = OwnTerm(self.present, self.scale, self.drop)
        for task in self.tasks:
            term.down[task] = new_down(inner, self.rank)
            term.up[task] = nn.Parameter(torch.zeros(self.rank, outer))
        return term


class OwnTerm(FoldableTerm):
    """The term scale · B_t A_t x, where t is the task of the row.

    :param present: The rows of the current pass.
    """

    def __init__(self, present: PresentRows, scale: float, dropout: float) -> None:
        super().__init__(scale, dropout)
        self._present = present
        self.down = nn.ParameterDict()
        self.up = nn.ParameterDict()

    @override
    def add(self, output_VLO: Tensor, given_VLI: Tensor) -> Tensor:
        down_VRI, up_VRO = self._present.own(self.down), self._present.own(self.up)
        low_VLR = torch.bmm(given_VLI, down_VRI.transpose(1, 2))
        return torch.baddbmm(output_VLO, low_VLR, up_VRO, alpha=self.scale)

    @override
    def change_of(self, task: str) -> Tensor:
        change_OI: Tensor = self.scale * (self.up[task].T @ self.down[task])
        return change_OI
