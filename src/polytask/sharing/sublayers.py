"""The parts of a layer: projections that end a sub-layer, and norms."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import nn

from polytask.core.encoder import Encoder
from polytask.sharing.layers import hidden_layers
from polytask.sharing.linear import Linear, linear_layers

_ATTENTION_INPUT = re.compile(r"(^|_)(q|k|v|query|key|value)(_|$)")


def sublayer_outputs(encoder: Encoder) -> list[Sequence[nn.Module]]:
    """For each layer the modules whose output it adds to its hidden states, first to last.

    They are its linear layers of the width of hidden states, without projections to queries, keys
    and values. Where there are none, as in a recurrent layer, it is the layer itself.
    """
    layers = hidden_layers(encoder) if encoder.layers else ()
    every = linear_layers(encoder) if layers else []
    found: list[Sequence[nn.Module]] = []
    for layer in layers:
        inside = {id(module) for module in layer.modules()}
        own = [e for e in every if id(e.module) in inside and _ends_sublayer(e, encoder.width)]
        found.append([each.module for each in own] or [layer])
    return found or [[encoder]]


def norms(encoder: Encoder) -> list[nn.Module]:
    """The norms of hidden states inside layers."""
    return [
        module
        for layer in hidden_layers(encoder)
        for module in layer.modules()
        if type(module).__name__.endswith("Norm")
        and getattr(getattr(module, "weight", None), "shape", None) == (encoder.width,)
    ]


def _ends_sublayer(linear: Linear, width: int) -> bool:
    *_, last = linear.place.split(".")
    return linear.widths[1] == width and not _ATTENTION_INPUT.search(last)
