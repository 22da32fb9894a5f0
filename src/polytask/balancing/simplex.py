"""Weights that are not negative and sum to one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def project_to_simplex(point_t: Tensor) -> Tensor:
    """Return the nearest point with coordinates that are not negative and sum to one.

    Held, Wolfe and Crowder, "Validation of subgradient optimization", 1974.
    """
    # A shift does not change the projection. Without it, the - 1 below is lost beside large values.
    point_t = point_t - point_t.max()
    sorted_t = point_t.sort(descending=True).values
    rank_t = torch.arange(1, len(point_t) + 1, device=point_t.device)
    threshold_t = (sorted_t.cumsum(0) - 1) / rank_t
    support = (sorted_t > threshold_t).sum()
    return (point_t - threshold_t[support - 1]).clamp(min=0)


def move_on_simplex(shares_T: Tensor, active_t: Tensor, move: Callable[[Tensor], Tensor]) -> Tensor:
    """Move a point of the simplex over T tasks along the tasks present; together they keep their share.

    :param shares_T: The point, changed in place.
    :param move: Maps a point of the simplex over the tasks present to a new one.
    :return: The new point of the simplex over the tasks present.
    """
    shares_t = shares_T[active_t].to("cpu", torch.float64)
    total = shares_t.sum()
    uniform_t = torch.full_like(shares_t, 1 / len(shares_t))
    point_t = move(shares_t / total if total > 0 else uniform_t)
    shares_T[active_t] = (total * point_t).to(shares_T)
    return point_t
