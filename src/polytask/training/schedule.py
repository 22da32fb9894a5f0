"""Learning rates as a pure function of progress, so there is no state to save.

The curves equal ``transformers.optimization``, which makes runs comparable. The rate rises
linearly, then falls to zero linearly or as half a cosine. One deviation: the first
of W updates of the warm-up has 1/W of the peak rate, not 0, so that no update is lost.
Cosine: Loshchilov and Hutter, "SGDR", ICLR 2017, equation 5. https://arxiv.org/abs/1608.03983
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch.optim import Optimizer

Kind = Literal["linear", "cosine", "constant"]


def factor(share: float, warmup: float, kind: Kind, step: float = 0.0) -> float:
    """Return the learning rate as a share of its peak.

    :param share: Share of the training that is over, 0 to 1.
    :param warmup: Share of the training in which the rate rises, 0 to 1.
    :param step: Share of the training that the current update takes.
    """
    if share + step < warmup:
        return (share + step) / warmup
    progress = max(0.0, share - warmup) / (1.0 - warmup) if warmup < 1.0 else 0.0
    if kind == "linear":
        return 1.0 - progress
    if kind == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * progress))
    return 1.0


@dataclass(frozen=True)
class Schedule:
    """The schedule of an optimiser whose groups hold their peak rate as ``initial_lr``.

    :param warmup: Share of the training in which the rate rises, 0 to 1.
    """

    kind: Kind
    warmup: float

    def apply(self, optimiser: Optimizer, share: float, step: float = 0.0) -> float:
        """Set the rate of every group.

        :param share: Share of the training that is over, 0 to 1.
        :param step: Share of the training that the current update takes.
        :return: The current rate of ``training.learning_rate``.
        """
        now = factor(share, self.warmup, self.kind, step)
        for group in optimiser.param_groups:
            group["lr"] = group["initial_lr"] * now
        return float(optimiser.defaults["lr"]) * now
