"""One low-rank adaptation for all tasks: the baseline of parameter-efficient architectures.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022, section 4.1.
https://arxiv.org/abs/2106.09685

Deviation: all linear layers get a term by default (see ``targets``); the paper adapts queries and
values. The default rank is larger than for private terms, as all tasks share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn
from typing_extensions import override

from polytask.core.encoder import Encoder
from polytask.sharing.base import architectures
from polytask.sharing.low_rank import FoldableLowRank, FoldableTerm, Term, zero_up


@architectures.register("lora")
class Lora(FoldableLowRank):
    """One low-rank term of high rank at each linear layer, shared by all tasks.

    :param rank: Rank of a term.
    :param alpha: A term is multiplied by alpha / rank.
    """

    cost: ClassVar[str] = (
        "rank x (inner + outer) shared parameters per linear layer, and as many products per token; "
        "the encoder is frozen; nothing after merging"
    )
    is_per_task = False

    def __init__(
        self,
        encoder: Encoder,
        tasks: Sequence[str],
        /,
        *,
        rank: PositiveInt = 64,
        alpha: PositiveFloat = 128.0,
        **options: Any,
    ) -> None:
        super().__init__(encoder, tasks, rank=rank, alpha=alpha, **options)

    @override
    def new_term(self, inner: int, outer: int) -> Term:
        return SharedTerm(inner, self.rank, outer, self.scale, self.drop)


class SharedTerm(FoldableTerm):
    """scale · B A x."""

    def __init__(self, inner: int, rank: int, outer: int, scale: float, dropout: float) -> None:
        super().__init__(scale, dropout)
        self.down = nn.Linear(inner, rank, bias=False)
        self.up = zero_up(rank, outer)

    @override
    def add(self, output_VLO: Tensor, given_VLI: Tensor) -> Tensor:
        added_VLO: Tensor = self.up(self.scale * self.down(given_VLI))
        return output_VLO + added_VLO

    @override
    def change_of(self, task: str) -> Tensor:
        return self.scale * self.up.weight @ self.down.weight
