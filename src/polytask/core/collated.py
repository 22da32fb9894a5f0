"""Collated rows: tensors by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import MappingKey, register_pytree_node


class Collated(dict[str, Tensor]):
    """The inputs of B rows: tensors by name, with rows in the first dimension.

    Select, repeat and move rows with these methods only.
    """

    @property
    def size(self) -> int:
        """The number of rows, B; 0 without tensors."""
        return next((tensor.shape[0] for tensor in self.values()), 0)

    def map(self, function: Callable[[Tensor], Tensor]) -> Collated:
        """Return the inputs with a function applied to every tensor."""
        return Collated({name: function(tensor) for name, tensor in self.items()})

    def select(self, rows_b: Tensor) -> Collated:
        """Return some rows, in the order asked for.

        :param rows_b: Numbers of rows, on any device.
        """
        return self.map(lambda tensor: tensor.index_select(0, rows_b.to(tensor.device)))

    def repeat(self, times: int) -> Collated:
        """Return all rows several times: the first pass, then the second, and so on."""
        return self.map(lambda tensor: torch.cat([tensor] * times))

    def to(self, device: torch.device) -> Collated:
        """Return the inputs on another device."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    def update_with(self, tensors: Mapping[str, Tensor]) -> Collated:
        """Return the inputs with some tensors added or replaced."""
        return Collated({**self, **tensors})


def _flatten(inputs: Collated) -> tuple[list[Any], list[str]]:
    return [*inputs.values()], [*inputs]


def _flatten_with_keys(inputs: Collated) -> tuple[list[Any], list[str]]:
    return [(MappingKey(name), tensor) for name, tensor in inputs.items()], [*inputs]


def _unflatten(tensors: Iterable[Any], names: Any) -> Collated:
    return Collated(zip(names, tensors, strict=True))


# torch.export, FSDP and compilers look for tensors inside arguments, but not in subclasses of dict.
register_pytree_node(
    Collated,
    _flatten,
    _unflatten,
    serialized_type_name="polytask.Collated",
    flatten_with_keys_fn=_flatten_with_keys,
)
