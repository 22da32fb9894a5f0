"""Shared low-rank terms with a small transformation for each task.

Yang et al., "MTL-LoRA: Low-Rank Adaptation for Multi-Task Learning", AAAI 2025, section
"Methodology": h = W x + sum over i of softmax(w_t / tau)_i B_i Lambda_t A x.
https://arxiv.org/abs/2410.09437

A and all B_i are shared; Lambda_t and w_t belong to a task. Here Lambda_t starts as the identity and
w_t at zero, so that all tasks start equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn
from typing_extensions import override

from polytask.core.encoder import Encoder
from polytask.sharing.base import architectures
from polytask.sharing.low_rank import FoldableLowRank, FoldableTerm, Term, zero_up
from polytask.sharing.peft_base import PresentRows


@architectures.register("mtl_lora")
class MtlLora(FoldableLowRank):
    """Shared low-rank terms, with a small private matrix between A and B for each task.

    :param ups: Number of matrices B.
    :param temperature: Temperature tau; the lower, the more a task prefers a single B.
    """

    cost: ClassVar[str] = (
        "rank x (inner + ups x outer) shared parameters per linear layer, rank x rank + ups per "
        "task and linear layer; the encoder is frozen; rows that several tasks read are encoded "
        "once for each"
    )

    def __init__(
        self,
        encoder: Encoder,
        tasks: Sequence[str],
        /,
        *,
        ups: PositiveInt = 3,
        temperature: PositiveFloat = 1.0,
        **options: Any,
    ) -> None:
        self._ups, self._temperature = ups, temperature
        super().__init__(encoder, tasks, **options)

    @override
    def new_term(self, inner: int, outer: int) -> Term:
        term = TransformedTerm(self.present, self.scale, self.drop)
        term.temperature = self._temperature
        term.down = nn.Linear(inner, self.rank, bias=False)
        term.up = zero_up(self._ups * self.rank, outer)
        for task in self.tasks:
            term.transform[task] = nn.Parameter(torch.eye(self.rank))
            term.mix[task] = nn.Parameter(torch.zeros(self._ups))
        return term

    @override
    def observe(self) -> dict[str, float]:
        """Return the mean weight of each B for each task, over the linear layers."""
        terms = [term for term in self.terms.values() if isinstance(term, TransformedTerm)]
        mixes = {
            task: torch.stack([term.mix[task].detach() for term in terms]) for task in self.tasks
        }
        return {
            f"mix/{task}/up_{place}": weight
            for task, mix_XN in mixes.items()
            for place, weight in enumerate(terms[0].weights(mix_XN).mean(0).tolist())
        }


class TransformedTerm(FoldableTerm):
    """The term scale · sum over i of softmax(w_t / tau)_i B_i Lambda_t A x; the B_i are one matrix.

    :param present: The rows of the current pass.
    """

    temperature: float
    down: nn.Linear
    up: nn.Linear

    def __init__(self, present: PresentRows, scale: float, dropout: float) -> None:
        super().__init__(scale, dropout)
        self._present = present
        self.transform = nn.ParameterDict()
        self.mix = nn.ParameterDict()

    def weights(self, mix: Tensor) -> Tensor:
        """Return the weight of each B."""
        return torch.softmax(mix / self.temperature, dim=-1)

    @override
    def add(self, output_VLO: Tensor, given_VLI: Tensor) -> Tensor:
        transform_VRR = self._present.own(self.transform)
        weights_VN = self.weights(self._present.own(self.mix))
        low_VLR = torch.bmm(self.down(given_VLI), transform_VRR.transpose(1, 2))
        mixed_VLNR = (self.scale * weights_VN)[:, None, :, None] * low_VLR.unsqueeze(2)
        added_VLO: Tensor = self.up(mixed_VLNR.flatten(2))
        return output_VLO + added_VLO

    @override
    def change_of(self, task: str) -> Tensor:
        weights_N = self.weights(self.mix[task])
        up_ONR = self.up.weight.unflatten(1, (len(weights_N), -1))
        up_OR = torch.einsum("onr,n->or", up_ONR, weights_N)
        change_OI: Tensor = self.scale * up_OR @ self.transform[task] @ self.down.weight
        return change_OI
