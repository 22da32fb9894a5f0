"""Losses on answers that people have judged, as functions of log-probabilities.

A margin is the log-probability of the chosen answer minus the log-probability of the rejected one. ``reference`` values
are of the model before training.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def dpo(margin_b: Tensor, reference_b: Tensor, beta: float) -> Tensor:
    """Return the losses of direct preference optimisation, (b,).

    Rafailov et al., "Direct Preference Optimization", NeurIPS 2023, equation 7.
    https://arxiv.org/abs/2305.18290

    :param margin_b: Sums of log-probabilities, as ``reference_b``.
    """
    return functional.softplus(-beta * (margin_b - reference_b))


def ipo(margin_b: Tensor, reference_b: Tensor, beta: float) -> Tensor:
    """Return the losses of identity preference optimisation, (b,).

    Azar et al., "A General Theoretical Paradigm to Understand Learning from Human Preferences",
    AISTATS 2024, equation 17, where tau is ``beta``. https://arxiv.org/abs/2310.12036

    :param margin_b: Sums of log-probabilities, as ``reference_b``.
    """
    return (margin_b - reference_b - 1 / (2 * beta)) ** 2


def simpo(margin_b: Tensor, beta: float, target: float) -> Tensor:
    """Return the losses of simple preference optimisation, (b,).

    Meng et al., "SimPO: Simple Preference Optimization with a Reference-Free Reward", NeurIPS 2024,
    equation 6. https://arxiv.org/abs/2405.14734

    :param margin_b: Of mean log-probabilities per token.
    :param target: The margin, times beta, at which the loss is log 2: gamma.
    """
    return functional.softplus(target - beta * margin_b)


def odds_ratio(chosen_b: Tensor, rejected_b: Tensor) -> Tensor:
    """Return the odds ratio losses, (b,); ORPO adds the costs of the chosen answers.

    Hong et al., "ORPO: Monolithic Preference Optimization without Reference Model", EMNLP 2024,
    equations 4 and 7. https://arxiv.org/abs/2403.07691

    :param chosen_b: Mean log-probabilities per token, as ``rejected_b``.
    """
    return functional.softplus(_log_odds(rejected_b) - _log_odds(chosen_b))


def _log_odds(logs_b: Tensor) -> Tensor:
    """Return log p - log(1 - p); p of 1, from rounding, has no odds."""
    logs_b = logs_b.clamp(max=-torch.finfo(logs_b.dtype).eps)
    return logs_b - torch.log(-torch.expm1(logs_b))


def kto(log_ratio_b: Tensor, liked_b: Tensor, beta: float) -> Tensor:
    """Return the losses of Kahneman-Tversky optimisation for answers that are liked or not, (b,).

    Ethayarajh et al., "KTO: Model Alignment as Prospect Theoretic Optimization", ICML 2024,
    equation 8. https://arxiv.org/abs/2402.01306

    The reference point z0 is the mean of the batch, at least 0, without a gradient. The paper takes
    answers of other prompts for it, which costs a second pass.

    :param log_ratio_b: Log-probability of each answer minus its log-probability before training.
    :param liked_b: 1 for liked answers, 0 for others.
    """
    point = log_ratio_b.detach().mean().clamp(min=0)
    sign_b = 2 * liked_b - 1
    return torch.sigmoid(-beta * sign_b * (log_ratio_b - point))
