"""Methods on CUDA, in one process and in several, one per device, with nccl."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from tests.distributed import worker
from tests.distributed.processes import run
from tests.distributed.test_parity import KINDS, OPTIONS, SHARDED

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(1500)]
DEVICES = torch.cuda.device_count()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_a_method_does_the_same_on_cuda(kind: str) -> None:
    """Over 20 steps differences of rounding add up."""
    expected = worker.train(kind, 0, 1)
    assert_close(worker.train(kind, 0, 1, device="cuda"), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.skipif(DEVICES < 2, reason="needs two CUDA devices")
def test_a_process_per_device_gives_the_same_parameters(tmp_path: Path) -> None:
    train = partial(worker.train, device="cuda")
    cases: dict[str, worker.Case] = {
        name: partial(train, options) for name, options in OPTIONS.items()
    }
    shards = {f"{name} sharded": partial(train, OPTIONS[name], sharded=True) for name in SHARDED}
    run(1, tmp_path / "log", worker.work, cases, tmp_path, "nccl")
    run(DEVICES, tmp_path / "log", worker.work, {**cases, **shards}, tmp_path, "nccl")
    alone = torch.load(tmp_path / "1-0.pt")
    for rank in range(DEVICES):
        for case, found in torch.load(tmp_path / f"{DEVICES}-{rank}.pt").items():
            expected = alone[case.removesuffix(" sharded")]
            assert_close(found, expected, rtol=1e-5, atol=1e-5, msg=case)
