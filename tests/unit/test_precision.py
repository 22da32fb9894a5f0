import math

import pytest
import torch

from polytask.core.errors import RecipeError
from polytask.training.precision import FloatPrecision, PrecisionName, select_device

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, "bf16"),
        ({"avx512_bf16": False, "amx_bf16": True}, "bf16"),
        ({"avx512_bf16": False, "amx_bf16": False, "avx2": True}, "fp32"),
        ({}, "fp32"),
    ],
)
def test_auto_is_bf16_where_the_processor_computes_in_it(
    capabilities: dict[str, bool], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert FloatPrecision.choose("auto", CPU).name == expected


def test_auto_is_fp32_where_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert FloatPrecision.choose("auto", CPU).name == "fp32"
    assert FloatPrecision.choose("auto", torch.device("meta")).name == "fp32"


@pytest.mark.parametrize("supported", [True, False])
def test_auto_asks_the_cuda_device(supported: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    chosen = FloatPrecision.choose("auto", torch.device("cuda"))
    assert chosen.name == ("bf16" if supported else "fp32")


@pytest.mark.parametrize(("name", "expected"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_products_are_computed_in_it(name: PrecisionName, expected: torch.dtype) -> None:
    precision = FloatPrecision.choose(name, CPU)
    weight = torch.randn(3, 3, requires_grad=True)
    with precision.autocast():
        product = weight @ weight
    assert product.dtype == expected
    product.float().sum().backward()
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32


def test_without_fp16_the_scaler_does_nothing() -> None:
    precision = FloatPrecision.choose("bf16", CPU)
    loss = torch.tensor(2.0, requires_grad=True)
    assert precision.scaler.scale(loss) is loss
    assert precision.scaler is precision.scaler
    assert precision.scaler.state_dict() == {}


def test_fp16_is_refused_on_a_cpu() -> None:
    with pytest.raises(RecipeError, match=r"training\.precision: fp16 needs a CUDA device"):
        FloatPrecision.choose("fp16", CPU)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_fp16_keeps_gradients_that_fp16_alone_loses() -> None:
    precision = FloatPrecision.choose("fp16", torch.device("cuda"))
    weight = torch.ones(4, 4, device="cuda", requires_grad=True)
    optimiser = torch.optim.AdamW([weight], lr=0.1, fused=True)
    with precision.autocast():
        loss = (weight @ weight).float().mean() * 1e-8
    precision.scaler.scale(loss).backward()
    precision.scaler.unscale_(optimiser)
    assert weight.grad is not None
    assert math.isclose(weight.grad[0, 0].item(), 0.5e-8, rel_tol=1e-2)


def test_devices_are_chosen_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert select_device("cpu") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert select_device("auto") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert select_device("auto") == torch.device("cuda")


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "tpu", "", "mps:7"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=r"training\.device: cannot use .* Available: auto"):
        select_device(name)
