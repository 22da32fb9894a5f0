"""Low-rank terms with one A and several B, mixed by a router.

Tian et al., "HydraLoRA: An Asymmetric LoRA Architecture for Efficient Fine-Tuning", NeurIPS 2024,
section 3: y = W x + sum over i of omega_i B_i A x, where omega = softmax(W_g x).
https://arxiv.org/abs/2404.19245

Deviation: the number of heads is an option; the paper finds it by clustering the texts.
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
from polytask.sharing.low_rank import LowRank, Term, zero_up


@architectures.register("hydra_lora")
class HydraLora(LowRank):
    """Low-rank terms with one down-projection and several heads, mixed token by token by a router.

    :param heads: Number of matrices B.
    """

    cost: ClassVar[str] = (
        "rank x (inner + heads x outer) + heads x inner shared parameters per linear layer; the "
        "encoder is frozen"
    )
    is_per_task = False

    def __init__(
        self,
        encoder: Encoder,
        tasks: Sequence[str],
        /,
        *,
        heads: PositiveInt = 3,
        **options: Any,
    ) -> None:
        self._heads = heads
        super().__init__(encoder, tasks, **options)

    @override
    def new_term(self, inner: int, outer: int) -> Term:
        term = RoutedTerm(self.scale, self.drop)
        term.router = nn.Linear(inner, self._heads, bias=False)
        term.down = nn.Linear(inner, self.rank, bias=False)
        term.up = zero_up(self._heads * self.rank, outer)
        return term

    @override
    def observe(self) -> dict[str, float]:
        """Return the mean gate of each head over tokens, padding included, and linear layers."""
        terms = [term for term in self.terms.values() if isinstance(term, RoutedTerm)]
        seen = [term.seen_N for term in terms if term.seen_N is not None]
        gates = torch.stack(seen).mean(0).tolist() if seen else []
        return {f"gate/head_{place}": gate for place, gate in enumerate(gates)}


class RoutedTerm(Term):
    """The term scale · sum over i of softmax(W_g x)_i B_i A x; the B_i are one matrix."""

    router: nn.Linear
    down: nn.Linear
    up: nn.Linear
    seen_N: Tensor | None = None
    """The mean gates of the last forward pass in training."""

    @override
    def add(self, output_VLO: Tensor, given_VLI: Tensor) -> Tensor:
        gates_VLN = torch.softmax(self.router(given_VLI), dim=-1)
        if self.training:
            self.seen_N = gates_VLN.detach().flatten(0, 1).mean(0)
        low_VLR = self.scale * self.down(given_VLI)
        mixed_VLNR = gates_VLN.unsqueeze(-1) * low_VLR.unsqueeze(2)
        added_VLO: Tensor = self.up(mixed_VLNR.flatten(2))
        return output_VLO + added_VLO
