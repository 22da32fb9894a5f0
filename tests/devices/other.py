"""A device, ``other``, whose tensors mix with those of the CPU as little as those of CUDA do.

Its numbers are on the CPU and are computed there; only where a tensor says that it is, and what
goes together, differ. It stands on what PyTorch has for devices that are written in Python:
``torch.utils.backend_registration``, which counts for the whole process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration

NAME = "other"
aten = torch.ops.aten
TAKES_ANY = {aten.copy_.default, aten.index.Tensor, aten.index_put_.default, aten.index_put.default}
"""These copy from one device to another, or take places from the CPU."""


class Other(Tensor):
    """A tensor of the device.

    :param raw: Its numbers, on the CPU.
    """

    raw: Tensor

    @staticmethod
    def __new__(cls, raw: Tensor) -> Other:
        made: Other = Tensor._make_wrapper_subclass(
            cls,
            raw.size(),
            strides=raw.stride(),
            storage_offset=raw.storage_offset(),
            dtype=raw.dtype,
            layout=raw.layout,
            device=torch.device(NAME, 0),
        )
        made.raw = raw
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return compute(func, args, kwargs or {})

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    # What PyTorch does for its own tensors only.

    def __getitem__(self, places: Any) -> Any:
        return super().__getitem__(_indices(places))

    def __setitem__(self, places: Any, value: Any) -> None:
        super().__setitem__(_indices(places), value)

    def __format__(self, spec: str) -> str:
        return format(self.raw, spec)

    def tolist(self) -> Any:
        return self.raw.tolist()

    def data_ptr(self) -> int:
        return self.raw.data_ptr()

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.raw.untyped_storage()


def compute(operator: Any, args: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """Compute on the CPU what the tensors of the device are asked for.

    :raises RuntimeError: If tensors are on two devices, one number of the CPU apart.
    """
    tensors: list[Tensor] = []

    def raw(tensor: Tensor) -> Tensor:
        tensors.append(tensor)
        return tensor.raw if isinstance(tensor, Other) else tensor

    raw_args, raw_named = _map((args, named), raw)
    own = {id(tensor.raw): tensor for tensor in tensors if isinstance(tensor, Other)}
    if own and operator not in TAKES_ANY:
        for tensor in tensors:
            if not isinstance(tensor, Other) and tensor.dim():
                raise RuntimeError(
                    f"{operator}: Expected all tensors to be on the same device, but found at least "
                    f"two devices, {NAME}:0 and {tensor.device}, here of shape {[*tensor.shape]}"
                )
    stays = bool(own) or not tensors
    if operator is aten.copy_.default:
        stays = isinstance(args[0], Other)
    if (device := named.get("device")) is not None:
        stays = device.type == NAME
        raw_named["device"] = torch.device("cpu")
    found = operator(*raw_args, **raw_named)
    if not stays:
        return found
    return _map(found, lambda x: own[id(x)] if id(x) in own else Other(x))


def _map(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Change the tensors of an operator's arguments; many times as fast as ``tree_map``."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, list | tuple):
        return type(value)(_map(item, change) for item in value)
    if isinstance(value, dict):
        return {key: _map(item, change) for key, item in value.items()}
    return value


def _indices(places: Any) -> Any:
    if isinstance(places, tuple):
        return tuple(map(_indices, places))
    return torch.tensor(places, dtype=torch.long) if isinstance(places, list) else places


class _Making(TorchFunctionMode):
    """Makes on the CPU what PyTorch would fill in place."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        named = dict(kwargs or {})
        if func is Tensor.new_tensor:
            named = {"device": args[0].device, "dtype": args[0].dtype, **named}
            func, args = torch.tensor, args[1:]
        if func in (torch.tensor, torch.as_tensor, torch.arange) and "device" in named:
            device = named.pop("device")
            if device is not None and torch.device(device).type == NAME:
                return func(*args, **named).to(NAME)
            named["device"] = device
        return func(*args, **named)


class _Module(backend_registration._DummyBackendModule):
    """``torch.other``: random numbers are those of the CPU."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]

    def is_available(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        pass

    def get_rng_state(self, device: object = None) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: Tensor, device: object = None) -> None:
        torch.set_rng_state(state)


_KEPT = contextlib.ExitStack()
_LIBRARY = torch.library.Library("_", "IMPL")
"""Both take back what they registered when they go."""


def register() -> None:
    """Have the device in this process, for good."""
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    _LIBRARY.fallback(lambda op, *args, **named: compute(op, args, named), "PrivateUse1")
    pytest.MonkeyPatch().setattr(torch, "inference_mode", torch.no_grad)  # takes no subclasses
    _KEPT.enter_context(_Making())
