"""Properties of every encoder, whatever it reads: ``Encoder.reads`` chooses the rows.

A new encoder, also of a new kind of input, is tested without an edit. Strangers that are not registered stand
for kinds of input that no registered encoder reads yet.
"""

from __future__ import annotations

import copy
import io
import wave
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from polytask.core.batch import Fields, Inputs
from polytask.core.columns import Column, ColumnType
from polytask.core.encoder import Encoder
from polytask.core.features import Features
from polytask.data.packed_arrays import packed, unpacked
from polytask.data.stored_tables import spool
from polytask.encoders import encoders
from tests.contracts.test_encoders import OPTIONS, ROWS as TEXTS
from tests.fakes import Cells, Pictures, Sounds

STRANGERS: Mapping[str, Callable[[], Encoder]] = {
    "pictures": Pictures,
    "sounds": Sounds,
    "cells": Cells,
}
KINDS = [*encoders.kinds(), *STRANGERS]


def png(seed: int) -> dict[str, Any]:
    pixels = np.random.default_rng(seed).integers(0, 256, (12 + seed, 20, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def wav(seed: int) -> dict[str, Any]:
    samples = np.random.default_rng(seed).normal(0, 3000, 800 + 100 * seed).astype(np.int16)
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(samples.tobytes())
    return {"bytes": file.getvalue(), "path": None}


CELLS: list[Fields] = [(0.5, -1.0, 2.0), (1.5, 0.0, -2.5), (3.0, 1.0, 0.25), (-1.0, 4.0, 8.0)]
MISSING: list[Fields] = [(None, 1.0, 2.0), (0.5, None, None)]
FORMS: Mapping[ColumnType, list[Fields]] = {
    "text": TEXTS["text"],
    "words": TEXTS["words"],
    "image": [(png(seed),) for seed in range(5)],
    "audio": [(wav(seed),) for seed in range(5)],
    "number": CELLS,
    "category": [("red", "round"), ("blue", "round"), ("red", "long"), ("green", "long")],
    "ids": [([3, 1, 2],), ([1],), ([2, 2],)],
    "array": [([0.5, 1.0],), ([1.5, -1.0],), ([0.0, 0.0],)],
}


def class_of(kind: str) -> Any:
    return STRANGERS.get(kind) or encoders.part(kind)


def new(kind: str) -> Encoder:
    if kind in STRANGERS:
        return STRANGERS[kind]()
    return encoders.build({"kind": kind, **OPTIONS.get(kind, {})}, ())


def rows_of(kind: str, form: ColumnType) -> list[Fields]:
    missing = MISSING if form == "number" and class_of(kind).accepts_missing else []
    return [*FORMS[form], *missing]


@cache
def fitted(kind: str, form: ColumnType) -> Encoder:
    """An encoder that is not to be changed."""
    torch.manual_seed(0)
    encoder, rows = new(kind), rows_of(kind, form)
    encoder.set_columns([Column(f"c{place}", form) for place in range(len(rows[0]))])
    encoder.fit(rows)
    return encoder.eval()


CASES = [(kind, form) for kind in KINDS for form in FORMS if form in class_of(kind).reads]
each = pytest.mark.parametrize(("kind", "form"), CASES)


@torch.no_grad()
def encode(encoder: Encoder, prepared: Sequence[Inputs]) -> Features:
    features: Features = encoder(encoder.collate([encoder.read(one, None) for one in prepared]))
    return features


def real(features: Features, row: int) -> Tensor:
    return features.tokens_BLD[row][features.mask_BL[row]]


def same(one: Any, other: Any) -> bool:
    """Whether prepared or read rows are equal."""
    if isinstance(one, np.ndarray):
        return bool(np.array_equal(one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    return bool(one == other)


def test_every_encoder_reads_something_that_is_tested() -> None:
    assert {kind for kind, _ in CASES} == {*KINDS}
    assert {*chain.from_iterable(class_of(kind).reads for kind in KINDS)} <= FORMS.keys()


@each
def test_features_fit_their_description(kind: str, form: ColumnType) -> None:
    encoder, rows = fitted(kind, form), rows_of(kind, form)
    prepared = encoder.prepare(rows)
    features = encode(encoder, prepared)
    assert features.tokens_BLD.shape == (*features.mask_BL.shape, encoder.width)
    assert features.tokens_BLD.isfinite().all()
    assert features.mask_BL.dtype == torch.bool
    assert features.mask_BL.any(1).all()
    assert all(encoder.num_tokens(one) >= 1 for one in prepared)


@each
def test_collated_tensors_have_one_row_each(kind: str, form: ColumnType) -> None:
    encoder, rows = fitted(kind, form), rows_of(kind, form)
    batch = encoder.collate([encoder.read(one, None) for one in encoder.prepare(rows)])
    assert {len(tensor) for tensor in batch.values()} == {len(rows)} == {batch.size}


@each
def test_other_rows_change_nothing(kind: str, form: ColumnType) -> None:
    encoder = fitted(kind, form)
    prepared = encoder.prepare(rows_of(kind, form))
    together = encode(encoder, prepared[::-1])
    for row, one in enumerate(reversed(prepared)):
        alone = real(encode(encoder, [one]), 0)
        torch.testing.assert_close(real(together, row), alone, rtol=1e-4, atol=1e-5)


@each
def test_each_row_is_prepared_by_itself(kind: str, form: ColumnType) -> None:
    encoder, rows = fitted(kind, form), rows_of(kind, form)
    prepared = encoder.prepare(rows)
    assert all(
        same(one, encoder.prepare([row])[0]) for one, row in zip(prepared, rows, strict=True)
    )
    assert encoder.prepare([]) == []


@each
def test_prepared_rows_survive_the_disk(kind: str, form: ColumnType, tmp_path: Path) -> None:
    encoder = fitted(kind, form)
    prepared = encoder.prepare(rows_of(kind, form))
    stored = unpacked(spool(map(packed, prepared), tmp_path).with_format("arrow")[:])
    expected, found = encode(encoder, prepared), encode(encoder, stored)
    assert torch.equal(found.tokens_BLD, expected.tokens_BLD)
    assert [*map(encoder.num_tokens, stored)] == [*map(encoder.num_tokens, prepared)]


@each
def test_reading_depends_on_its_arguments_alone(kind: str, form: ColumnType) -> None:
    encoder = fitted(kind, form)
    for one in encoder.prepare(rows_of(kind, form)):
        before = copy.deepcopy(one)
        assert same(encoder.read(one, None), encoder.read(one, None))
        first, again = (encoder.read(one, np.random.default_rng(7)) for _ in range(2))
        assert same(first, again)
        assert same(one, before)


@each
def test_restoring_gives_the_same_numbers(kind: str, form: ColumnType, tmp_path: Path) -> None:
    encoder, rows = fitted(kind, form), rows_of(kind, form)
    encoder.save(tmp_path)
    torch.manual_seed(1)
    restored = new(kind)
    restored.set_columns([Column(f"c{place}", form) for place in range(len(rows[0]))])
    restored.restore(tmp_path)
    restored.load_state_dict(encoder.state_dict(), strict=True)
    prepared = restored.eval().prepare(rows)
    assert restored.width == encoder.width
    expected = encode(encoder, encoder.prepare(rows))
    assert torch.equal(encode(restored, prepared).tokens_BLD, expected.tokens_BLD)


@each
def test_copies_are_independent(kind: str, form: ColumnType) -> None:
    encoder = fitted(kind, form)
    prepared = encoder.prepare(rows_of(kind, form))
    before = encode(encoder, prepared).tokens_BLD
    copied = copy.deepcopy(encoder)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.add_(1.0)
    assert torch.equal(encode(encoder, prepared).tokens_BLD, before)
    assert not torch.equal(encode(copied, prepared).tokens_BLD, before)


@each
def test_gradients_reach_every_parameter(kind: str, form: ColumnType) -> None:
    encoder = copy.deepcopy(fitted(kind, form))
    read = [encoder.read(one, None) for one in encoder.prepare(rows_of(kind, form))]
    features: Features = encoder(encoder.collate(read))
    features.tokens_BLD[features.mask_BL].square().sum().backward()
    assert [name for name, value in encoder.named_parameters() if value.grad is None] == []


@each
def test_bfloat16_works(kind: str, form: ColumnType) -> None:
    encoder = fitted(kind, form)
    prepared = encoder.prepare(rows_of(kind, form))
    expected = encode(encoder, prepared)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = encode(encoder, prepared)
    for row in range(len(prepared)):
        assert_close = torch.testing.assert_close
        assert_close(real(found, row).float(), real(expected, row), rtol=0.1, atol=0.1)


@each
def test_layers_give_hidden_states(kind: str, form: ColumnType) -> None:
    encoder = fitted(kind, form)
    shapes: list[tuple[int, ...]] = []
    hooks = [
        layer.register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape)))
        for layer in encoder.layers
    ]
    features = encode(encoder, encoder.prepare(rows_of(kind, form)))
    for hook in hooks:
        hook.remove()
    assert [shape[:2] for shape in shapes] == [features.mask_BL.shape] * len(encoder.layers)
