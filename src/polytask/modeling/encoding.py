"""Collated rows to features by an architecture: segment by segment, by length, or packed."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from polytask.core.capabilities import Causal
from polytask.core.collated import Collated
from polytask.core.equal_lengths import encode_by_length
from polytask.core.features import Features
from polytask.core.packing import Packed, pack
from polytask.core.texts import Unfolded
from polytask.sharing import Architecture


def encode(
    sharing: Architecture, single: Unfolded, rows: Mapping[str, Tensor], apart: bool | None
) -> dict[str, Features]:
    """Return the features of the rows of every task.

    :param single: The segments of the rows, each as one row.
    :param rows: For each task, the rows it reads, ascending.
    :param apart: How to pack where the encoder asks for it, see ``pack_segments``; None: not at all.
    """
    found = _segments(sharing, single.inputs, single.rows, apart)
    return {task: single.fold(found[task], own, task) for task, own in rows.items()}


def pack_segments(
    sharing: Architecture, inputs: Collated, rows: Mapping[str, Tensor], apart: bool | None
) -> Packed | None:
    """Return segments as packed sequences; None where the encoder does not ask for it.

    :param apart: Whether a sequence holds segments of one task only; None: do not pack.
    """
    if not rows or apart is None:
        return None
    encoder = sharing.encoder_of(next(iter(rows)))
    if not isinstance(encoder, Causal) or encoder.packed_length is None:
        return None
    return pack(inputs, rows, encoder.packed_length, apart=apart or not sharing.one_pass)


def _segments(
    sharing: Architecture, inputs: Collated, rows: Mapping[str, Tensor], apart: bool | None
) -> Mapping[str, Features]:
    if rows and not sharing.encoder_of(next(iter(rows))).pads:
        return encode_by_length(inputs, rows, sharing)
    packed = pack_segments(sharing, inputs, rows, apart)
    if packed is None:
        found: dict[str, Features] = sharing(inputs, rows)
        return found
    found = sharing(packed.inputs, packed.rows)
    return {task: packed.features(found[task], task, own) for task, own in rows.items()}
