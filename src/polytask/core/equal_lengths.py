"""Encoding by length, for encoders that cannot tell padding from tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from polytask.core.collated import Collated
from polytask.core.features import Features, join

Encode = Callable[[Collated, dict[str, Tensor]], Mapping[str, Features]]

_PER_TOKEN = ("ids", "segments")


def encode_by_length(
    inputs: Collated, rows: Mapping[str, Tensor], encode: Encode
) -> dict[str, Features]:
    """Encode a batch in parts without padding, one for each length of a text.

    :param inputs: ``ids`` (N, L) and ``lengths`` (N) of texts.
    :param rows: For each task the texts that it reads, ascending.
    :param encode: Returns the features of every task's texts for a part of the inputs.
    """
    lengths_N = inputs["lengths"]
    parts: dict[str, list[tuple[Tensor, Features]]] = {task: [] for task in rows}
    for length in lengths_N[torch.cat([*rows.values()])].unique().tolist():
        texts_n = (lengths_N == length).nonzero().flatten()
        places = {
            task: (lengths_N[own] == length).nonzero().flatten() for task, own in rows.items()
        }
        places = {task: place_n for task, place_n in places.items() if len(place_n)}
        own = {task: torch.searchsorted(texts_n, rows[task][at]) for task, at in places.items()}
        for task, features in encode(_select_texts(inputs, texts_n, length), own).items():
            parts[task].append((places[task], features))
    found = [features.mask_BL.shape[1] for own in parts.values() for _, features in own]
    longest = max(inputs["ids"].shape[1], *found)
    return {task: _merge(own, longest) for task, own in parts.items() if own}


def _select_texts(inputs: Collated, texts_n: Tensor, length: int) -> Collated:
    """Return some texts, all of one length, without padding."""
    some = inputs.select(texts_n)
    return some.update_with({name: some[name][:, :length] for name in _PER_TOKEN if name in some})


def _merge(parts: list[tuple[Tensor, Features]], longest: int) -> Features:
    """Return the features of all texts of a task, padded, in the order of their places."""
    order = torch.cat([place_n for place_n, _ in parts]).argsort()
    features = [one for _, one in parts]
    padded = [
        replace(
            one,
            tokens_BLD=_pad(one.tokens_BLD.transpose(1, 2), longest).transpose(1, 2),
            mask_BL=_pad(one.mask_BL, longest),
        )
        for one in features
    ]
    return join(padded, lambda tensors: torch.cat([*tensors])[order])


def _pad(values: Tensor, longest: int) -> Tensor:
    """Return the last dimension filled up with zeros."""
    return functional.pad(values, (0, longest - values.shape[-1]))
