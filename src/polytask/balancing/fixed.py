"""Static weights, chosen by hand or by a search over a grid.

Such scalarisation, well tuned, often equals the adaptive methods: Xin et al., "Do Current
Multi-Task Optimization Methods in Deep Learning Even Help?", NeurIPS 2022.
https://arxiv.org/abs/2209.11379
"""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from polytask.balancing.base import balancers
from polytask.balancing.preference_balancer import PreferenceBalancer


@balancers.register("fixed")
class Fixed(PreferenceBalancer):
    """Sums the losses with weights from the recipe.

    :param weights: A weight for each task by its name, or a list in the order of the recipe; 1 by
        default.
    :raises RecipeError: If their number is not T, one of them is negative, or all are 0.
    """

    @override
    def objective(self, losses_T: Tensor) -> Tensor:
        return (self.weights_t * losses_T).sum()
