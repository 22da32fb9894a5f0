"""Copies of an encoder's layers in the places of the originals, each for some of the rows."""

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
    """Base of modules that take the place of a layer and hold copies of it.

    :param layer: The first copy; with one name, the only one.
    :param names: The name of each copy.
    """

    def __init__(self, layer: nn.Module, names: Iterable[str]) -> None:
        super().__init__()
        self.copies = nn.ModuleDict(
            {name: copy.deepcopy(layer) if place else layer for place, name in enumerate(names)}
        )

    @override
    def __getattr__(self, name: str) -> Tensor | nn.Module:
        # Encoders read attributes of their layers, such as the kind of attention, inside ``forward``.
        # The first copy answers for all.
        try:
            return super().__getattr__(name)
        except AttributeError:
            copies = cast("nn.ModuleDict", super().__getattr__("copies"))
            found: Tensor | nn.Module = getattr(next(iter(copies.values())), name)
            return found


def replace_layers(encoder: Encoder, make: Callable[[int, nn.Module], LayerCopies]) -> None:
    """Replace every layer of an encoder.

    :param make: A function from the position of a layer, and the layer, to its replacement.
    """
    # All layers or none: an encoder finds its layers as the list of modules of one type.
    layers = encoder.layers
    replace_modules(encoder, layers, [make(place, layer) for place, layer in enumerate(layers)])


def encode_beside(encoder: Encoder, inputs: Collated, count: int) -> list[Features]:
    """Encode all rows several times in one batch; the rows of the first pass come first.

    :return: The features of each pass.
    """
    features: Features = encoder(inputs.repeat(count))
    return features.split([inputs.size] * count)


def side_by_side(
    layers: Sequence[nn.Module], counts: Sequence[int], arguments: Any, named: Any
) -> Any:
    """Run each layer on its rows, and join the outputs.

    Arguments without a dimension of rows are passed to every layer.

    :param layers: Modules with outputs of the same structure.
    :param counts: The number of rows of each layer, in the order of the rows.
    :param arguments: The positional arguments for all rows.
    :param named: The keyword arguments for all rows.
    """
    part = partial(_part, counts, hidden_of(arguments, named))
    given = []
    for place, layer in enumerate(layers):
        own, own_named = tree_map(partial(part, place), (arguments, named))
        given.append(layer(*own, **own_named))
    return tree_map(partial(_join, counts), *given)


def hidden_of(arguments: Any, named: Any) -> Tensor:
    """Return the hidden states among the arguments of a layer: the first tensor."""
    return next(x for x in tree_leaves((arguments, named)) if isinstance(x, Tensor))


def has_rows(value: Any, count: int) -> bool:
    """Return True for a tensor that has this many rows."""
    return isinstance(value, Tensor) and value.ndim > 1 and value.shape[0] == count


def goes_with(hidden_XLD: Tensor, value: Any) -> bool:
    """Return True if an argument of a layer has an entry for each row of its hidden states.

    :param value: Any argument, such as a mask.
    """
    if not has_rows(value, hidden_XLD.shape[0]):
        return False
    # DeBERTa passes a table of vectors of relative positions, whose length may equal the number of
    # rows. Vectors as wide as hidden states, but in fewer dimensions, are such a table.
    is_of_vectors = value.is_floating_point() and value.shape[-1] == hidden_XLD.shape[-1]
    return value.ndim >= hidden_XLD.ndim or not is_of_vectors


def _part(counts: Sequence[int], hidden_XLD: Tensor, place: int, value: Any) -> Any:
    return value.split(counts)[place] if goes_with(hidden_XLD, value) else value


def _join(counts: Sequence[int], *values: Any) -> Any:
    # T5's first layer returns its attention biases once for all rows; its copies have different
    # ones, so each is repeated for its rows.
    pairs = [*zip(values, counts, strict=True)]
    if not all(has_rows(value, count) or has_rows(value, 1) for value, count in pairs):
        return values[0]
    return torch.cat([value.expand(count, *value.shape[1:]) for value, count in pairs])
