"""Conversion of nested state to JSON and tensors, and back without loss of a bit.

Tensors, arrays, tuples, dicts with keys that are not text, and numbers that are not finite have no
form in JSON. Each becomes a dict with one key that begins with ``!``. Finite floats stay as they
are: Python writes the shortest decimal form that reads back as the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import singledispatch
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Tensors = dict[str, Tensor]


def flatten(state: Mapping[str, Any]) -> tuple[Any, Tensors]:
    """Split nested state into a JSON value and tensors, named after their place in it.

    :raises TypeError: If the state holds a value of another type.
    """
    tensors: Tensors = {}
    return _encode(dict(state), "", tensors), tensors


def unflatten(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Return the state that ``flatten`` split."""
    if isinstance(value, list):
        return [unflatten(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    mark = next(iter(value), "")
    if mark in _DECODERS:
        return _DECODERS[mark](value[mark], tensors)
    return {key: unflatten(item, tensors) for key, item in value.items()}


_DECODERS: dict[str, Callable[[Any, Mapping[str, Tensor]], Any]] = {
    "!tensor": lambda name, tensors: tensors[name],
    "!array": lambda name, tensors: tensors[name].numpy(),
    "!float": lambda text, tensors: float(text),
    "!tuple": lambda items, tensors: tuple(unflatten(items, tensors)),
    "!dict": lambda pairs, tensors: dict(unflatten(pairs, tensors)),
}


@singledispatch
def _encode(value: Any, place: str, tensors: Tensors) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"cannot save {place or 'the state'}: it is a {type(value).__name__}")


@_encode.register(float)
def _(value: float, place: str, tensors: Tensors) -> Any:
    return value if math.isfinite(value) else {"!float": repr(value)}


@_encode.register(np.generic)
def _(value: np.generic, place: str, tensors: Tensors) -> Any:
    return _encode(value.item(), place, tensors)


@_encode.register(Tensor)
def _(value: Tensor, place: str, tensors: Tensors) -> Any:
    return {"!tensor": _keep(value, place, tensors)}


@_encode.register(np.ndarray)
def _(value: npt.NDArray[Any], place: str, tensors: Tensors) -> Any:
    return {"!array": _keep(torch.from_numpy(value.copy()), place, tensors)}


@_encode.register(list)
def _(value: list[Any], place: str, tensors: Tensors) -> Any:
    return [_encode(item, f"{place}/{index}", tensors) for index, item in enumerate(value)]


@_encode.register(tuple)
def _(value: tuple[Any, ...], place: str, tensors: Tensors) -> Any:
    return {"!tuple": _encode(list(value), place, tensors)}


@_encode.register(Mapping)
def _(value: Mapping[Any, Any], place: str, tensors: Tensors) -> Any:
    items = {key: _encode(item, f"{place}/{key}", tensors) for key, item in value.items()}
    # A key with ! would be read back as a mark, so such a dict becomes a list of pairs.
    if all(isinstance(key, str) and not key.startswith("!") for key in items):
        return items
    return {"!dict": [[_encode(key, place, tensors), item] for key, item in items.items()]}


def _keep(tensor: Tensor, place: str, tensors: Tensors) -> str:
    """Add a tensor under the name of its place, with primes if the name is taken; return the name."""
    name = place.lstrip("/")
    while name in tensors:
        name += "'"
    tensors[name] = tensor
    return name
