"""Where architectures take hold of an encoder: the layers that hidden states pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from polytask.core.collated import Collated
from polytask.core.encoder import Encoder
from polytask.core.features import Features

Change = Callable[[Tensor], Tensor]
"""Hidden states BLD to hidden states BLD."""


def hidden_layers(encoder: Encoder) -> Sequence[nn.Module]:
    """The modules whose outputs are hidden states, first to last.

    An encoder without layers, such as a bag of words, counts as one.
    """
    return encoder.layers or (encoder,)


class States:
    """The hidden states of all layers of an encoder, of one pass through it.

    :param encoder: It is told to hand over what each of its layers gives, from now on.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._below: list[Tensor] | None = None
        for layer in hidden_layers(encoder)[:-1]:
            change_output(layer, self._keep)

    def of(self, encoder: Encoder, inputs: Collated) -> tuple[Features, list[Tensor]]:
        """The features, and the hidden states BLD of all layers, of which the features are the last.

        :param encoder: The same one, or the copy that belongs to a copy of this.
        :param inputs: A collated batch.
        """
        below: list[Tensor] = []
        self._below = below
        features: Features = encoder(inputs)
        # Layers that are computed again for their gradients give nothing new.
        self._below = None
        return features, [*below, features.tokens_BLD]

    def _keep(self, hidden_BLD: Tensor) -> Tensor:
        if self._below is not None:
            self._below.append(hidden_BLD)
        return hidden_BLD


def change_output(module: nn.Module, change: Change) -> None:
    """Let what a module gives pass a function, from now on.

    :param module: One whose output is a tensor of hidden states, or a tuple that begins with one,
        or features.
    :param change: The module keeps it, so it must not keep the architecture that the module is part
        of; a copy of the module has a copy of it, which a function with variables from around it,
        such as a lambda, is not.
    """
    module.register_forward_hook(partial(_changed, change))


def _changed(change: Change, _module: nn.Module, _inputs: Any, output: Any) -> Any:
    return with_changed(output, change)


def with_changed(output: Any, change: Change) -> Any:
    """What a layer or an encoder gave, with other hidden states.

    :param output: A tensor of hidden states, or a tuple that begins with one, or features.
    """
    if isinstance(output, Features):
        return replace(output, tokens_BLD=change(output.tokens_BLD))
    if isinstance(output, tuple):
        return change(output[0]), *output[1:]
    return change(output)


def replace_modules(root: nn.Module, old: Sequence[nn.Module], new: Sequence[nn.Module]) -> None:
    """Put new modules into the places of old ones, wherever below the root these are."""
    instead = {id(module): other for module, other in zip(old, new, strict=True)}
    places = [
        (parent, name, instead[id(child)])
        for parent in root.modules()
        for name, child in parent.named_children()
        if id(child) in instead
    ]
    for parent, name, module in places:
        setattr(parent, name, module)
