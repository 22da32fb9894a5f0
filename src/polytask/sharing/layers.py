"""Access to the hidden states inside an encoder: its layers, and hooks on what they return."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from polytask.core.collated import Collated
from polytask.core.encoder import Encoder
from polytask.core.features import Features

Change = Callable[[Tensor], Tensor]
"""A function from hidden states BLD to hidden states BLD."""


def hidden_layers(encoder: Encoder) -> Sequence[nn.Module]:
    """Return the modules whose outputs are hidden states, first to last.

    An encoder without layers, such as a bag of words, counts as one layer.
    """
    return encoder.layers or (encoder,)


class States:
    """The hidden states of all layers of an encoder, recorded in one pass through it.

    :param encoder: Its layers get a hook that stays for its lifetime.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._below: list[Tensor] | None = None
        for layer in hidden_layers(encoder)[:-1]:
            # A bound method, not a lambda: a deep copy of the encoder then records into the copy of
            # this object.
            change_output(layer, self._keep)

    def read(self, encoder: Encoder, inputs: Collated) -> tuple[Features, list[Tensor]]:
        """Return the features, and the hidden states BLD of all layers; the last are the features.

        :param encoder: The same encoder, or the copy that belongs to a copy of this object.
        :param inputs: A collated batch.
        """
        below: list[Tensor] = []
        self._below = below
        features: Features = encoder(inputs)
        # With gradient checkpointing, layers run once more in the backward pass. These calls must not
        # be recorded, and the states must not outlive the step.
        self._below = None
        return features, [*below, features.tokens_BLD]

    def _keep(self, hidden_BLD: Tensor) -> Tensor:
        if self._below is not None:
            self._below.append(hidden_BLD)
        return hidden_BLD


def change_output(module: nn.Module, change: Change) -> None:
    """Pass the hidden states that a module returns through a function, from now on.

    :param module: A module that returns hidden states, a tuple that begins with them, or features.
    :param change: The hook keeps it, so it must not refer to the architecture that holds the module.
        It must be copyable: a deep copy of the module shares a lambda with its original.
    """
    # ``partial`` and not a closure, for the same reason: ``deepcopy`` copies its arguments.
    module.register_forward_hook(partial(_change_hook, change))


def _change_hook(change: Change, _module: nn.Module, _inputs: Any, output: Any) -> Any:
    return change_hidden(output, change)


def change_hidden(output: Any, change: Change) -> Any:
    """Return the output of a layer or an encoder with changed hidden states.

    :param output: Hidden states, a tuple that begins with them, or features.
    """
    if isinstance(output, Features):
        return replace(output, tokens_BLD=change(output.tokens_BLD))
    # Layers of transformers return tuples: attention weights or biases follow the hidden states.
    if isinstance(output, tuple):
        return change(output[0]), *output[1:]
    return change(output)


def replace_modules(root: nn.Module, old: Sequence[nn.Module], new: Sequence[nn.Module]) -> None:
    """Replace modules by others, wherever below the root they are."""
    instead = {id(module): other for module, other in zip(old, new, strict=True)}
    # All places are found before the first change: a new module may contain the old one.
    places = [
        (parent, name, instead[id(child)])
        for parent in root.modules()
        for name, child in parent.named_children()
        if id(child) in instead
    ]
    for parent, name, module in places:
        setattr(parent, name, module)


def sum_layers(weights_VN: Tensor, states: Sequence[Tensor]) -> Tensor:
    """Return the weighted sum of the hidden states of N layers, in their precision.

    :param weights_VN: The weight of each layer, by row (or by column of layers).
    :param states: Hidden states of each layer, with V as their first dimension.
    """
    # Terms are added one by one: a stack of all layers would need N times the memory. The cast keeps
    # the sum in the precision of the states, also under autocast.
    weights = weights_VN.to(states[-1].dtype).unbind(1)
    ones = [1] * (states[-1].ndim - 1)
    terms = (w_V.view(-1, *ones) * state for w_V, state in zip(weights, states, strict=True))
    total: Tensor = functools.reduce(torch.add, terms)
    return total
