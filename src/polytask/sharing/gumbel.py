"""One of several, chosen by chance in training, so that the odds can be learned.

Jang, Gu and Poole, "Categorical Reparameterization with Gumbel-Softmax", ICLR 2017, section 2, with
the straight-through estimator of section 2.2. https://arxiv.org/abs/1611.01144
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def choose(logits_C: Tensor, temperature: float, *, by_chance: bool) -> Tensor:
    """One of C, as exact zeros and a one with the slopes of a softmax, in any leading dimensions.

    :param logits_C: Log-odds, up to a constant.
    :param temperature: Of the softmax; the lower, the steeper where two are close.
    :param by_chance: Draw from the odds with the global generator of torch; else take the likeliest.
    """
    soft_C = (
        functional.gumbel_softmax(logits_C, temperature)
        if by_chance
        else (logits_C / temperature).softmax(-1)
    )
    hard_C = torch.zeros_like(soft_C).scatter(-1, soft_C.argmax(-1, keepdim=True), 1.0)
    return hard_C + (soft_C - soft_C.detach())
