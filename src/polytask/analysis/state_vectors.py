"""The parameters of models as one long vector each, for methods that merge models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

State = Mapping[str, Tensor]


def common_names(states: Sequence[State]) -> list[str]:
    """Return the names of floating-point entries that all states have in equal shape, in order."""
    first = states[0]
    return [
        name
        for name, tensor in first.items()
        if tensor.is_floating_point()
        if all(name in state and state[name].shape == tensor.shape for state in states)
    ]


def flatten(state: State, names: Sequence[str]) -> Tensor:
    """Concatenate some entries of a state into P numbers."""
    return torch.cat([state[name].detach().reshape(-1).float().cpu() for name in names])


def unflatten(vector_P: Tensor, like: State, names: Sequence[str]) -> dict[str, Tensor]:
    """Return a state with some entries replaced from P numbers."""
    sizes = [like[name].numel() for name in names]
    parts = zip(names, vector_P.split(sizes), strict=True)
    return {**like, **{name: part.view_as(like[name]).to(like[name]) for name, part in parts}}
