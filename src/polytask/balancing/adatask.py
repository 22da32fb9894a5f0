"""Task-wise adaptive learning rates.

Yang et al., "AdaTask: A Task-aware Adaptive Learning Rate Approach to Multi-task Learning",
AAAI 2023, Adam with AdaTask. https://arxiv.org/abs/2211.15055
"""

from __future__ import annotations

from typing import Any

from pydantic import PositiveFloat
from torch import Tensor
from typing_extensions import override

from polytask.balancing.balancer import Share
from polytask.balancing.base import JacobianBalancer, balancers
from polytask.balancing.state import TaskAverage, make_unbiased_rate


def sum_at_largest_root(jacobian_tP: Tensor, root_tP: Tensor, epsilon: float) -> Tensor:
    """Return the sum of rows over their roots, times the largest root of each coordinate."""
    scale_tP = (root_tP.amax(0) + epsilon) / (root_tP + epsilon)
    return (scale_tP * jacobian_tP).sum(0)


@balancers.register("adatask")
class AdaTask(JacobianBalancer):
    """Divides each task's gradient by its own root mean square, coordinate by coordinate.

    The paper adds up one Adam update per task. Here the sum of the tasks' gradients over their
    roots is multiplied by the largest root of each coordinate, so that one task alone, or tasks
    that agree, give plain gradients. An adaptive outer optimiser, such as AdamW, divides each
    coordinate by its scale and so removes this factor again. Without one, coordinates keep their
    scales. Deviation: the outer optimiser keeps one momentum of the sum instead of one per task.

    :param decay: Share of the mean squares that is kept at each step.
    :param epsilon: Added to every root.
    """

    def __init__(
        self,
        num_tasks: int,
        /,
        *,
        decay: Share = 0.999,
        epsilon: PositiveFloat = 1e-8,
        **options: Any,
    ) -> None:
        super().__init__(num_tasks, **options)
        self.decay, self.epsilon = decay, epsilon
        self.squares = TaskAverage(num_tasks)

    @override
    def combine(self, jacobian_tP: Tensor) -> Tensor:
        squares_tP = self.squares.update(
            jacobian_tP.square(), self.active_t, make_unbiased_rate(self.decay)
        )
        return sum_at_largest_root(jacobian_tP, squares_tP.sqrt_(), self.epsilon).to(jacobian_tP)
