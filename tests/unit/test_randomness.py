import json
import random
from typing import Any

import numpy as np
import pytest
import torch

from polytask.training.randomness import random_state, restore_random_state, seed_everything
from polytask.training.state_tree import flatten, unflatten


def draw() -> list[Any]:
    return [
        random.random(),
        random.gauss(0, 1),
        *np.random.normal(size=3),
        *torch.randn(7).tolist(),
        *torch.randperm(9).tolist(),
    ]


def test_a_restored_state_draws_the_same() -> None:
    seed_everything(4)
    draw()
    value, tensors = flatten(random_state())
    expected = draw()
    seed_everything(5)
    restore_random_state(unflatten(json.loads(json.dumps(value)), tensors))
    assert draw() == expected


@pytest.mark.parametrize("seed", [0, 1, 2**32 + 5, -1])
def test_a_seed_decides_everything(seed: int) -> None:
    seed_everything(seed)
    first = draw()
    seed_everything(seed)
    assert draw() == first
    seed_everything(seed + 1)
    assert draw() != first


def test_a_state_from_a_machine_with_more_devices_is_restored_as_far_as_it_goes() -> None:
    state = random_state()
    restore_random_state({**state, "cuda": [*state["cuda"], torch.zeros(16, dtype=torch.uint8)]})
    assert torch.equal(torch.get_rng_state(), state["torch"])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_draws_the_same() -> None:
    state = random_state()
    expected = torch.randn(5, device="cuda")
    restore_random_state(state)
    assert torch.equal(torch.randn(5, device="cuda"), expected)
