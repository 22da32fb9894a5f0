"""Lists of different lengths as one tensor."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def pad(rows: Sequence[Sequence[float]], value: float, dtype: torch.dtype = torch.long) -> Tensor:
    """Stack sequences, filling the shorter ones on the right.

    :param rows: B sequences of numbers.
    :param value: The padding value.
    :param dtype: Type of the result.
    :return: A tensor of shape (B, length of the longest); at least one column wide.
    """
    longest = max((len(row) for row in rows), default=0)
    kind = np.int64 if dtype == torch.long else np.float32
    padded_BL = np.full((len(rows), max(longest, 1)), value, dtype=kind)
    for position, row in enumerate(rows):
        padded_BL[position, : len(row)] = row
    return torch.from_numpy(padded_BL).to(dtype)


def lengths_to_mask(lengths_B: Tensor, longest: int) -> Tensor:
    """Return a mask, True for the first ``lengths_B[i]`` positions of row i; (B, longest)."""
    return torch.arange(longest, device=lengths_B.device) < lengths_B.unsqueeze(1)
