"""Exponential weights, rewarded by gradients.

Graves, Bellemare, Menick, Munos and Kavukcuoglu, "Automated Curriculum Learning for Neural
Networks", ICML 2017, section 4.1: gradient prediction gain. https://arxiv.org/abs/1704.03003
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import ClassVar, final

from typing_extensions import override

from polytask.core.errors import RecipeError
from polytask.data.mixing.base import Composition, Floats, mixtures
from polytask.data.mixing.dynamic import Round
from polytask.data.mixing.exp3 import ExponentialWeights


@final
@mixtures.register("exp3_gradient")
class Exp3Gradient(ExponentialWeights):
    """Gives larger batches to the pools with the largest gradients, by exponential weights (Exp3.S).

    The gain is the squared norm of the gradient before clipping. Each batch holds rows of one pool,
    in turn, so that its gradient belongs to that pool. A step must be one batch (accumulate: 1).
    """

    composition: ClassVar[Composition] = "alternating"

    @override
    def set_pools(self, tasks_P: Sequence[Sequence[str]]) -> None:
        super().set_pools(tasks_P)
        for one, other in permutations(map(frozenset, tasks_P), 2):
            if one <= other:
                raise RecipeError(
                    [
                        "mixing: exp3_gradient distinguishes pools by their tasks, but two pools "
                        f"have {', '.join(sorted(one))}. Choose exp3 or ucb."
                    ]
                )

    @override
    def gains(self, seen: Round) -> Floats:
        return seen.powers_P
