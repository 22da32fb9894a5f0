"""Properties of every encoder, whatever it reads. A new one is covered by being registered.

``Encoder.reads`` chooses the rows; see ``input_rows``.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from polytask.core.batch import Fields, Inputs
from polytask.core.encoder import Encoder
from polytask.core.features import CellLayout, Features, FrameLayout, GridLayout
from polytask.core.padding import lengths_to_mask
from polytask.data.packed_arrays import pack_arrays, unpack_arrays
from polytask.data.stored_tables import spool
from tests.contracts.input_rows import FORMS, KINDS, collate, forms_of, new, rows_of

pytestmark = pytest.mark.covering
each = pytest.mark.parametrize(
    ("kind", "form"), [(kind, form) for kind in KINDS for form in forms_of(kind)]
)


class Walked:
    """Rows that can be walked, and nothing else."""

    def __init__(self, rows: list[Fields]) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[Fields]:
        return iter(self._rows)


def fit(kind: str, form: str) -> Encoder:
    """Fit an encoder without the last two rows."""
    torch.manual_seed(0)
    encoder = new(kind, form)
    encoder.fit(Walked(rows_of(kind, form)[:-2]))
    return encoder.eval()


@cache
def case(kind: str, form: str) -> tuple[Encoder, list[Fields], list[Inputs]]:
    """Return a fitted encoder that is not to be changed, rows, and the rows as it prepares them."""
    encoder, rows = fit(kind, form), rows_of(kind, form)
    return encoder, rows, encoder.prepare(rows)


@torch.no_grad()
def encode(encoder: Encoder, prepared: Sequence[Inputs]) -> Features:
    features: Features = encoder(collate(encoder, prepared))
    return features


def real(features: Features, row: int) -> Tensor:
    return features.tokens_BLD[row][features.mask_BL[row]]


def same(one: Any, other: Any) -> bool:
    """Return whether prepared or read rows are equal."""
    if isinstance(one, np.ndarray):
        return bool(np.array_equal(one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def test_every_encoder_reads_rows_that_are_tested() -> None:
    assert [kind for kind in KINDS if not forms_of(kind)] == []


def test_every_form_of_rows_is_well_formed() -> None:
    """So that a first encoder of these types finds rows."""
    for form in FORMS.values():
        assert len(form.rows) > 4
        assert {len(row) for row in form.rows} == {len(form.types)}


@each
def test_features_fit_their_description(kind: str, form: str) -> None:
    encoder, rows, prepared = case(kind, form)
    features = encode(encoder, prepared)
    assert features.mask_BL.dtype == torch.bool
    assert len(features.mask_BL) == len(rows)
    assert features.tokens_BLD.shape == (*features.mask_BL.shape, encoder.width)
    assert features.tokens_BLD.isfinite().all()
    assert features.mask_BL.any(1).all()
    tokens = features.mask_BL.shape[1]
    if isinstance(features.layout, GridLayout):
        assert features.layout.height * features.layout.width == tokens
    if isinstance(features.layout, CellLayout):
        assert len(features.layout.columns) == tokens
    if isinstance(features.layout, FrameLayout):
        assert features.layout.stride > 0


@each
def test_collated_tensors_have_one_row_each(kind: str, form: str) -> None:
    encoder, rows, prepared = case(kind, form)
    assert {len(tensor) for tensor in collate(encoder, prepared).values()} == {len(rows)}


@each
def test_length_counts_the_tokens(kind: str, form: str) -> None:
    """Unless an encoder sums rows up, each in one token."""
    encoder, _, prepared = case(kind, form)
    lengths = [encoder.num_tokens(row) for row in prepared]
    tokens = encode(encoder, prepared).mask_BL.sum(1).tolist()
    assert min(lengths) >= 1
    assert tokens in (lengths, [1] * len(lengths))


@each
def test_order_of_rows_is_kept_and_other_rows_change_nothing(kind: str, form: str) -> None:
    encoder, _, prepared = case(kind, form)
    size = encoder.num_tokens(prepared[0])
    alike = [one for one in prepared if encoder.pads or encoder.num_tokens(one) == size]
    together = encode(encoder, alike[::-1])
    for row, one in enumerate(reversed(alike)):
        alone = real(encode(encoder, [one]), 0)
        assert_close(real(together, row), alone, rtol=1e-4, atol=1e-5)


@each
def test_rows_of_different_lengths_have_lengths(kind: str, form: str) -> None:
    """Architectures mask padding by them, in layers below the features."""
    encoder, _, prepared = case(kind, form)
    sizes = {encode(encoder, [one]).mask_BL.shape[1] for one in prepared}
    if len(sizes) > 1:
        real_BL = lengths_to_mask(collate(encoder, prepared)["lengths"], max(sizes))
        assert torch.equal(real_BL, encode(encoder, prepared).mask_BL)


@each
def test_each_row_is_prepared_by_itself(kind: str, form: str) -> None:
    encoder, rows, prepared = case(kind, form)
    assert same(prepared, [encoder.prepare([row])[0] for row in rows])
    assert encoder.prepare([]) == []


@each
def test_prepared_rows_survive_the_disk(kind: str, form: str, tmp_path: Path) -> None:
    encoder, _, prepared = case(kind, form)
    stored = unpack_arrays(spool(map(pack_arrays, prepared), tmp_path).with_format("arrow")[:])
    expected, found = encode(encoder, prepared), encode(encoder, stored)
    assert torch.equal(found.mask_BL, expected.mask_BL)
    assert torch.equal(found.tokens_BLD, expected.tokens_BLD)
    assert [*map(encoder.num_tokens, stored)] == [*map(encoder.num_tokens, prepared)]


@each
def test_reading_depends_on_its_arguments_alone(kind: str, form: str) -> None:
    encoder, _, prepared = case(kind, form)
    for one in prepared:
        before, plain = copy.deepcopy(one), encoder.read(one, None)
        first, again = (encoder.read(one, np.random.default_rng(7)) for _ in range(2))
        assert same(first, again)
        assert same(encoder.read(one, None), plain)
        assert same(one, before)


@each
def test_restoring_gives_the_same_numbers(kind: str, form: str, tmp_path: Path) -> None:
    encoder, rows, prepared = case(kind, form)
    encoder.save(tmp_path)
    torch.manual_seed(1)
    restored = new(kind, form)
    restored.restore(tmp_path)
    restored.load_state_dict(encoder.state_dict(), strict=True)
    restored.eval()
    assert restored.width == encoder.width
    assert same(restored.prepare(rows), prepared)
    assert torch.equal(encode(restored, prepared).tokens_BLD, encode(encoder, prepared).tokens_BLD)


@each
def test_fitting_twice_gives_the_same_encoder(kind: str, form: str) -> None:
    encoder, rows, prepared = case(kind, form)
    again = fit(kind, form)
    assert same(again.prepare(rows), prepared)
    state = encoder.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in again.state_dict().items())


@each
def test_copies_are_independent(kind: str, form: str) -> None:
    encoder, rows, prepared = case(kind, form)
    before = encode(encoder, prepared).tokens_BLD
    copied = copy.deepcopy(encoder)
    assert same(copied.prepare(rows), prepared)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.add_(1.0)
    assert torch.equal(encode(encoder, prepared).tokens_BLD, before)
    assert not torch.equal(encode(copied, prepared).tokens_BLD, before)


@each
def test_gradients_reach_every_parameter(kind: str, form: str) -> None:
    encoder, _, prepared = case(kind, form)
    trained = copy.deepcopy(encoder)
    features: Features = trained(collate(trained, prepared))
    # Squares, as the sum of a layer norm's outputs does not depend on its inputs.
    features.tokens_BLD[features.mask_BL].square().sum().backward()
    assert [name for name, value in trained.named_parameters() if value.grad is None] == []


@each
def test_bfloat16_works(kind: str, form: str) -> None:
    encoder, _, prepared = case(kind, form)
    expected = encode(encoder, prepared)
    trained = copy.deepcopy(encoder)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features: Features = trained(collate(trained, prepared))
        loss = features.tokens_BLD[features.mask_BL].float().square().mean()
    loss.backward()
    for row in range(len(prepared)):
        found = real(features, row).detach().float()
        assert_close(found, real(expected, row), rtol=0.1, atol=0.1)


@each
def test_layers_give_hidden_states(kind: str, form: str) -> None:
    encoder, _, prepared = case(kind, form)
    shapes: list[tuple[int, ...]] = []
    hooks = [
        layer.register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape)))
        for layer in encoder.layers
    ]
    features = encode(encoder, prepared)
    for hook in hooks:
        hook.remove()
    assert [shape[:2] for shape in shapes] == [features.mask_BL.shape] * len(encoder.layers)
