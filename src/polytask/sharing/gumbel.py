"""Random choices between several options, whose probabilities are learned.

Jang, Gu and Poole, "Categorical Reparameterization with Gumbel-Softmax", ICLR 2017, section 2, with
the straight-through estimator of section 2.2. https://arxiv.org/abs/1611.01144
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def choose(logits_C: Tensor, temperature: float, *, by_chance: bool) -> Tensor:
    """Choose one of C options: a one-hot vector with the gradient of a softmax.

    :param logits_C: Log-probabilities, up to a constant; any leading dimensions.
    :param temperature: Temperature of the softmax; a lower one is steeper between close options.
    :param by_chance: Draw with the global generator of torch; else take the likeliest option.
    """
    soft_C = (
        functional.gumbel_softmax(logits_C, temperature)
        if by_chance
        else (logits_C / temperature).softmax(-1)
    )
    hard_C = torch.zeros_like(soft_C).scatter(-1, soft_C.argmax(-1, keepdim=True), 1.0)
    # The bracket is exactly zero, so the result is exactly one-hot, but it has the gradient of soft_C.
    return hard_C + (soft_C - soft_C.detach())
