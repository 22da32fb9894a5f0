"""A state that went through JSON and tensors is the same in type and in every bit."""

import json
import math
import random
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from polytask.training.state_tree import flatten, unflatten

KEYS = st.one_of(st.text(max_size=5), st.integers(), st.booleans(), st.just("!tensor"))
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
NESTS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(KEYS, inner, max_size=4),
    ),
    max_leaves=20,
)


def through_json(state: dict[str, Any]) -> Any:
    value, tensors = flatten(state)
    return unflatten(json.loads(json.dumps(value, allow_nan=False)), tensors)


@settings(max_examples=300)
@given(st.dictionaries(st.text(max_size=4), NESTS, max_size=4))
def test_any_nest_comes_back(state: dict[str, Any]) -> None:
    assert repr(through_json(state)) == repr(state)  # repr tells -0.0 from 0.0 and 1 from True


def test_tensors_and_arrays_keep_their_kind() -> None:
    state: dict[str, Any] = {
        "tensor": torch.tensor([1.5]),
        "zero": torch.tensor(3),
        "array": np.array([[1, 2]], dtype=np.uint32)[:, ::-1],
        "point": np.array(2.5),
    }
    found = through_json(state)
    assert torch.equal(found["tensor"], state["tensor"])
    assert found["zero"].shape == ()
    for name in ("array", "point"):
        assert found[name].dtype == state[name].dtype
        assert np.array_equal(found[name], state[name])


def test_numpy_numbers_become_ordinary_ones() -> None:
    found = through_json({"a": np.float32(0.1), "b": np.int64(7), "c": np.bool_(True)})
    assert found == {"a": float(np.float32(0.1)), "b": 7, "c": True}
    assert [type(value) for value in found.values()] == [float, int, bool]


def test_tensors_whose_places_read_the_same_are_kept_apart() -> None:
    state = {"a/b": torch.zeros(1), "a": {"b": torch.ones(1)}, "n": {1: torch.ones(2), "1": "x"}}
    found = through_json(state)
    assert found["a/b"].item() == 0.0
    assert found["a"]["b"].item() == 1.0
    assert set(found["n"]) == {1, "1"}


def test_optimiser_states_keep_their_integer_keys() -> None:
    model = nn.Linear(2, 2)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    found = through_json({"optimiser": optimiser.state_dict()})["optimiser"]
    assert set(found["state"]) == {0, 1}
    assert found["param_groups"] == optimiser.state_dict()["param_groups"]


def test_generator_states_come_back() -> None:
    generator = np.random.default_rng(3)
    state = {"python": random.getstate(), "numpy": generator.bit_generator.state}
    assert through_json(state) == state


def test_model_states_are_mappings() -> None:
    state = {"model": OrderedDict(weight=torch.ones(1))}
    assert list(through_json(state)["model"]) == ["weight"]


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", torch.float32, 1 + 2j, math])
def test_what_cannot_be_saved_is_named_with_its_place(value: object) -> None:
    with pytest.raises(TypeError, match="cannot save /model/inner/0: it is a"):
        flatten({"model": {"inner": [value]}})
