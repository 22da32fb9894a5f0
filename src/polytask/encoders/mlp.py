"""A multi-layer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def new_mlp(widths: Sequence[int], dropout: float) -> nn.Sequential:
    """Return linear layers between the given widths, each followed by ReLU and dropout."""
    layers: list[nn.Module] = []
    for inner, outer in pairwise(widths):
        layers += [nn.Linear(inner, outer), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)
