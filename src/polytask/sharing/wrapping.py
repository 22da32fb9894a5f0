"""Layers in the places of an encoder's own."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Sequence

from torch import Tensor, nn
from typing_extensions import override

from polytask.core.encoder import Encoder
from polytask.sharing.layers import replace_modules


class LayerWrapper(nn.Module, ABC):
    """Takes the place of a layer. What it does not have itself, that layer is asked for.

    Encoders read attributes of their layers, such as the kind of attention.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    @override
    def __getattr__(self, name: str) -> Tensor | nn.Module:
        try:
            return super().__getattr__(name)
        except AttributeError:
            found: Tensor | nn.Module = getattr(super().__getattr__("layer"), name)
            return found


def wrap_layers(encoder: Encoder, wrap: Callable[[int, nn.Module], LayerWrapper]) -> None:
    """Put a wrapper into the place of every layer.

    All of them, as encoders know their layers by being of one type.

    :param wrap: From the position of a layer, and the layer.
    """
    layers: Sequence[nn.Module] = encoder.layers
    replace_modules(encoder, layers, [wrap(place, layer) for place, layer in enumerate(layers)])
