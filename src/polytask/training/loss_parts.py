"""The means of the named parts of losses over a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from polytask.core.distributed import sum_over_ranks


class LossParts:
    """The means of loss parts over all batches and ranks of a step.

    :param names: The parts of each task whose loss has several; equal on all ranks.
    """

    def __init__(self, names: Mapping[str, Sequence[str]]) -> None:
        self._places = [(task, part) for task, parts in names.items() for part in parts]
        self._sums_2N = torch.zeros(2, len(self._places), dtype=torch.float64)

    def add(self, parts: Mapping[str, Mapping[str, Tensor]], shares: Mapping[str, float]) -> None:
        """Add the parts of the losses of one batch.

        :param shares: The share of each task's loss in the step; tasks left out are ignored.
        """
        for place, (task, part) in enumerate(self._places):
            if task in shares and part in parts.get(task, {}):
                share = shares[task]
                value = float(parts[task][part].detach()) * share
                self._sums_2N[:, place] += torch.tensor([value, share], dtype=torch.float64)

    def means(self) -> dict[str, dict[str, float]]:
        """Return the mean of every part that was added; all ranks call this."""
        found: dict[str, dict[str, float]] = {}
        if not self._places:
            return found
        sums_2N = sum_over_ranks(self._sums_2N).tolist()
        for (task, part), value, share in zip(self._places, *sums_2N, strict=True):
            if share:
                found.setdefault(task, {})[part] = value / share
        return found
