"""For ``pytest -p tests.devices.plugin``: whatever is trained in this process is on ``other``."""

from __future__ import annotations

import torch

from polytask.training import precision
from tests.devices import other

other.register()
_select = precision.select_device


def select_device(name: str, option: str = "training.device") -> torch.device:
    """The device ``other`` in place of the CPU."""
    return torch.device(other.NAME, 0) if name in ("auto", "cpu") else _select(name, option)


precision.select_device = select_device  # before other modules take it from there
