"""Layers in the places of an encoder's own: copies of one, each for some of the rows that pass."""

from __future__ import annotations

import copy
from abc import ABC
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map
from typing_extensions import override

from polytask.core.collated import Collated
from polytask.core.encoder import Encoder
from polytask.core.features import Features
from polytask.sharing.layers import replace_modules


class LayerCopies(nn.Module, ABC):
    """Takes the place of a layer. What it does not have itself, the first copy is asked for.

    Encoders read attributes of their layers, such as the kind of attention.

    :param layer: The first copy; with one name, the only one.
    :param names: One for each copy.
    """

    def __init__(self, layer: nn.Module, names: Iterable[str]) -> None:
        super().__init__()
        self.copies = nn.ModuleDict(
            {name: copy.deepcopy(layer) if place else layer for place, name in enumerate(names)}
        )

    @override
    def __getattr__(self, name: str) -> Tensor | nn.Module:
        try:
            return super().__getattr__(name)
        except AttributeError:
            copies = cast("nn.ModuleDict", super().__getattr__("copies"))
            found: Tensor | nn.Module = getattr(next(iter(copies.values())), name)
            return found


def replace_layers(encoder: Encoder, make: Callable[[int, nn.Module], LayerCopies]) -> None:
    """Put copies into the place of every layer.

    All of them, as encoders know their layers by being of one type.

    :param make: From the position of a layer, and the layer.
    """
    layers = encoder.layers
    replace_modules(encoder, layers, [make(place, layer) for place, layer in enumerate(layers)])


def encode_beside(encoder: Encoder, inputs: Collated, count: int) -> list[Features]:
    """Let all rows pass several times at once: those of the first pass come first.

    :return: The features of each pass.
    """
    features: Features = encoder(inputs.repeat(count))
    return features.split([inputs.size] * count)


def side_by_side(
    layers: Sequence[nn.Module], counts: Sequence[int], arguments: Any, named: Any
) -> Any:
    """Run each layer on its rows; what does not have the rows of all is the same for all.

    :param layers: They give the same kinds of output.
    :param counts: How many rows each reads; those of the first come first.
    :param arguments: What all of them together are given.
    :param named: The same, by name.
    """
    part = partial(_part, counts, hidden_of(arguments, named))
    given = []
    for place, layer in enumerate(layers):
        own, own_named = tree_map(partial(part, place), (arguments, named))
        given.append(layer(*own, **own_named))
    return tree_map(partial(_join, counts), *given)


def hidden_of(arguments: Any, named: Any) -> Tensor:
    """The hidden states that a layer is given, which come first."""
    return next(x for x in tree_leaves((arguments, named)) if isinstance(x, Tensor))


def has_rows(value: Any, count: int) -> bool:
    """Whether it is a tensor with something for each of the rows."""
    return isinstance(value, Tensor) and value.ndim > 1 and value.shape[0] == count


def goes_with(hidden_XLD: Tensor, value: Any) -> bool:
    """Whether what a layer is given beside hidden states has something for each of their rows.

    Vectors like these, but in fewer dimensions, are one table for all rows, however many there
    are: DeBERTa hands its layers such a table of relative positions.
    """
    if not has_rows(value, hidden_XLD.shape[0]):
        return False
    is_of_vectors = value.is_floating_point() and value.shape[-1] == hidden_XLD.shape[-1]
    return value.ndim >= hidden_XLD.ndim or not is_of_vectors


def _part(counts: Sequence[int], hidden_XLD: Tensor, place: int, value: Any) -> Any:
    return value.split(counts)[place] if goes_with(hidden_XLD, value) else value


def _join(counts: Sequence[int], *values: Any) -> Any:
    """Side by side again; what a layer gives once for all of its rows, it gives to each of them.

    Copies of T5's first layer give their own attention biases so.
    """
    pairs = [*zip(values, counts, strict=True)]
    if not all(has_rows(value, count) or has_rows(value, 1) for value, count in pairs):
        return values[0]
    return torch.cat([value.expand(count, *value.shape[1:]) for value, count in pairs])
