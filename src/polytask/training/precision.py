"""The device and the number format of a training.

Parameters, gradients and the optimiser stay in fp32; only the forward and backward passes are
computed in half precision. Micikevicius et al., "Mixed Precision Training", ICLR 2018.
https://arxiv.org/abs/1710.03740
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch.amp.grad_scaler import GradScaler

from polytask.core.errors import RecipeError

PrecisionName = Literal["fp32", "bf16", "fp16"]
_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_FAST_BF16 = ("amx_bf16", "avx512_bf16")


def select_device(name: str, option: str = "training.device") -> torch.device:
    """Return an available device.

    :param name: ``auto``, or a device as PyTorch names it: ``cpu``, ``cuda``, ``cuda:1``.
    :param option: The option that gave the name, for messages.
    :raises RecipeError: If there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        known = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        raise RecipeError(
            [f"{option}: cannot use {name!r}. Available: auto, {', '.join(known)}."]
        ) from error
    return device


@dataclass(frozen=True)
class FloatPrecision:
    """The number format of the forward and backward passes.

    :param name: ``fp32``, ``bf16`` or ``fp16``.
    :param device: The device of the passes.
    """

    name: PrecisionName
    device: torch.device

    @classmethod
    def choose(
        cls,
        name: Literal["auto"] | PrecisionName,
        device: torch.device,
        option: str = "training.precision",
    ) -> FloatPrecision:
        """Return the precision of a name; ``auto`` is bf16 if the hardware is fast at it, else fp32.

        :param option: The option that gave the name, for messages.
        :raises RecipeError: If the device cannot train in it.
        """
        if name == "auto":
            return cls("bf16" if _has_fast_bf16(device) else "fp32", device)
        if name == "fp16" and device.type != "cuda":
            raise RecipeError(
                [
                    f"{option}: fp16 needs a CUDA device, but the device is {device}. "
                    "Choose auto, bf16 or fp32."
                ]
            )
        return cls(name, device)

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Return the context for a forward pass."""
        if self.name == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=_TYPES[self.name])

    @cached_property
    def scaler(self) -> GradScaler:
        """The scaler that keeps fp16 gradients from underflow; inactive in other formats."""
        return GradScaler(self.device.type, enabled=self.name == "fp16")


def _has_fast_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return False
    # Without these instructions a CPU emulates bf16, which is slower than fp32.
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(feature, False) for feature in _FAST_BF16)
