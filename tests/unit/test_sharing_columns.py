"""Columns: known values."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from polytask.core.features import Features
from polytask.sharing import Architecture, architectures
from polytask.sharing.cross_stitch import stitch
from polytask.sharing.layers import sum_layers
from polytask.sharing.nddr import project_columns
from polytask.sharing.sluice import correlation, mix_subspaces
from polytask.sharing.task_columns import initial_shares
from tests.contracts import test_sharing as contract
from tests.contracts.test_sharing import ROWS, disturb, everything, new_encoder, real_tokens


def build(kind: str, encoder: str = "transformer", **options: Any) -> Any:
    torch.manual_seed(0)
    options = {"kind": kind, **options}
    return architectures.build(options, new_encoder(encoder), list(ROWS)).eval()


def same(first: dict[str, Features], second: dict[str, Features]) -> None:
    assert first.keys() == second.keys()
    for task, features in first.items():
        assert_close(real_tokens(features), real_tokens(second[task]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("encoder", ["bilstm", "transformer", "bytes"])
@pytest.mark.parametrize("kind", ["cross_stitch", "sluice", "nddr"])
def test_columns_that_take_from_themselves_alone_are_independent(kind: str, encoder: str) -> None:
    made = build(kind, encoder, own=1.0)
    disturb(made.encoder if hasattr(made, "encoder") else made.encoders)
    units = build(kind, encoder, own=1.0).state_dict()
    own = {name: value for name, value in units.items() if not name.startswith("encoder")}
    made.load_state_dict({**made.state_dict(), **own})
    found = made(everything(encoder), ROWS)
    for task, rows_b in ROWS.items():
        alone = new_encoder(encoder)
        alone.load_state_dict(network_of(made, task))
        same({task: found[task]}, {task: alone(everything(encoder)).select(rows_b)})


def network_of(made: Architecture, task: str) -> dict[str, Tensor]:
    """Parameters of the encoder that a task alone reads."""
    state = made.encoder_of(task).state_dict()
    others = tuple(f".copies.{name}." for name in ROWS if name != task)
    return {
        name.replace(f".copies.{task}.", "."): value
        for name, value in state.items()
        if not any(other in name for other in others)
    }


def test_columns_begin_to_take_most_from_themselves() -> None:
    assert_close(initial_shares(1, 0.9), torch.ones(1, 1))
    expected = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    assert_close(initial_shares(3, 0.8), expected)


def test_a_column_reads_weighted_sums_channel_by_channel() -> None:
    hidden_TBLD = torch.tensor([[1.0, 2.0], [10.0, 20.0]])[:, None, None]
    units = torch.tensor([[[1.0, 0.0], [0.5, 2.0]], [[0.0, 3.0], [1.0, -1.0]]])
    expected = torch.tensor([[6.0, 40.0], [10.0, -14.0]])[:, None, None]
    assert_close(stitch(units, hidden_TBLD), expected)


def test_gradients_of_stitches_are_those_of_the_sums() -> None:
    units = torch.randn(2, 3, 4, dtype=torch.double, requires_grad=True)
    hidden_SBLD = torch.randn(3, 2, 5, 4, dtype=torch.double, requires_grad=True)
    sums = torch.einsum("tsd,sbld->tbld", units, hidden_SBLD)
    assert_close(stitch(units, hidden_SBLD), sums)
    assert torch.autograd.gradcheck(stitch, (units, hidden_SBLD), check_batched_grad=True)
    assert torch.autograd.gradgradcheck(stitch, (units, hidden_SBLD))


def test_columns_keep_the_precision_of_hidden_states() -> None:
    hidden_TBLD = torch.full((2, 1, 1, 4), 1 + 2**-12)
    alone = torch.eye(2)
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(stitch(alone.unsqueeze(-1).repeat(1, 1, 4), hidden_TBLD), hidden_TBLD)
        apart = torch.einsum("ts,gh->tgsh", alone, alone)
        assert_close(mix_subspaces(apart, hidden_TBLD), hidden_TBLD)
        reduced_TBLD = project_columns([torch.ones(8, 4)] * 2, hidden_TBLD)
        assert reduced_TBLD.dtype is torch.float32


def test_a_reduction_projects_the_channels_of_all_columns() -> None:
    hidden_TBLD = torch.tensor([[1.0, 2.0], [10.0, 20.0]])[:, None, None]
    swap = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    projections = [torch.cat([swap, 0 * swap]), torch.cat([swap, 0.1 * swap])]
    expected = torch.tensor([[2.0, 1.0], [4.0, 2.0]])[:, None, None]
    assert_close(project_columns(projections, hidden_TBLD), expected)


def test_subspaces_are_mixed_each_for_itself() -> None:
    hidden_TBLD = torch.tensor([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])[:, None, None]
    alphas = torch.zeros(2, 2, 2, 2)
    alphas[0, 0, 0, 0] = 1.0  # the first half of x from itself, and from the second half of y
    alphas[0, 0, 1, 1] = 0.1
    alphas[0, 1, 1, 0] = 1.0  # the second half of x from the first half of y
    alphas[1, 1, 0, 1] = 2.0
    expected = torch.tensor([[4.0, 2.0, 10.0], [0.0, 0.0, 6.0]])[:, None, None]
    assert_close(mix_subspaces(alphas, hidden_TBLD), expected)


def test_a_task_reads_a_weighted_sum_of_layers() -> None:
    layers = [torch.full((2, 1, 1, 1), 1.0), torch.full((2, 1, 1, 1), 10.0)]
    betas_TK = torch.tensor([[0.0, 1.0], [3.0, 0.5]])
    assert sum_layers(betas_TK, layers).flatten().tolist() == [10.0, 8.0]


def test_correlation_is_a_mean_over_rows_of_real_tokens() -> None:
    mask_BL = torch.tensor([[True, True], [True, False]])
    hidden_BLD = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[1.0, 1.0], [9.0, 9.0]]])
    apart_BLD = torch.tensor([[[1.0, 1.0], [1.0, -1.0]], [[0.0, 5.0], [1.0, 1.0]]])
    hidden_TBLD = torch.stack([hidden_BLD, apart_BLD])
    assert correlation(hidden_TBLD, mask_BL).item() == pytest.approx((7**2 + 1) / 2)


def same_weights(kind: str, weights_TT: Tensor) -> Any:
    """Columns of different values that take all channels of each other by the same weights."""
    made = build(kind)
    disturb(made.encoder)
    weights = dict(zip(ROWS, weights_TT, strict=True))
    with torch.no_grad():
        for layer in UNITS[kind](made):
            for task, weights_T in weights.items():
                layer[task].copy_(SPREAD[kind](weights_T, layer[task]))
    return made


UNITS: dict[str, Any] = {
    "cross_stitch": lambda made: made.units,
    "nddr": lambda made: made.projections,
    "sluice": lambda made: made.alphas,
}
SPREAD: dict[str, Any] = {
    "cross_stitch": lambda weights_T, _: weights_T.unsqueeze(1),
    "nddr": lambda weights_T, unit_XD: torch.kron(
        weights_T.unsqueeze(1), torch.eye(unit_XD.shape[1])
    ),
    "sluice": lambda weights_T, _: torch.einsum("s,gh->gsh", weights_T, torch.eye(2)),
}


@pytest.mark.parametrize("kind", ["nddr", "sluice"])
def test_the_same_weight_for_all_channels_is_the_same_in_all(kind: str) -> None:
    weights_TT = torch.tensor([[0.5, 0.2, 0.3], [-0.1, 0.9, 0.4], [0.6, 0.6, -0.3]])
    stitched, other = same_weights("cross_stitch", weights_TT), same_weights(kind, weights_TT)
    inputs = everything("transformer")
    same(stitched(inputs, ROWS), other(inputs, ROWS))
    assert not torch.equal(
        stitched(inputs, dict.fromkeys(ROWS, ROWS["x"]))["x"].tokens_BLD,
        stitched(inputs, dict.fromkeys(ROWS, ROWS["x"]))["y"].tokens_BLD,
    )


@pytest.mark.parametrize("kind", ["cross_stitch", "sluice", "nddr"])
def test_columns_of_absent_tasks_give(kind: str) -> None:
    """And are trained; how they read after the last layer is not."""
    made = build(kind)
    contract.losses(made, "transformer", {"x": ROWS["x"]})["x"].backward()
    layers = made.encoder.layers
    assert all(p.grad is not None for p in layers[-1].copies["y"].parameters())
    lower, upper = UNITS[kind](made)
    assert lower["y"].grad is not None
    assert upper["y"].grad is None
    assert upper["x"].grad is not None


def test_a_task_can_read_a_lower_layer() -> None:
    made = build("sluice")
    with torch.no_grad():
        made.betas["x"].copy_(torch.tensor([1.0, 0.0]))
    encoder: Any = new_encoder("transformer")
    encoder.stack = encoder.stack[:1]
    inputs = everything("transformer")
    expected = encoder(inputs).select(ROWS["x"])
    same({"x": made(inputs, ROWS)["x"]}, {"x": expected})


def test_the_subspaces_of_sluices_are_driven_apart_in_training_alone() -> None:
    made, inputs = build("sluice", orthogonality=0.5), everything("transformer")
    made(inputs, ROWS)
    assert made.penalty() is None
    torch.manual_seed(0)
    made.train()(inputs, ROWS)
    term = made.penalty()
    assert term.item() > 0
    term.backward()
    assert made.encoder.layers[0].copies["y"].project.weight.grad.any()
    assert build("sluice", orthogonality=0.0).train().penalty() is None


@pytest.mark.parametrize("kind", ["cross_stitch", "sluice", "nddr"])
def test_what_columns_take_is_observed(kind: str) -> None:
    observed = build(kind, own=0.8).observe()
    own = [value for name, value in observed.items() if OWN[kind](name)]
    assert own
    assert own == pytest.approx([0.8] * len(own))


OWN: dict[str, Any] = {
    "cross_stitch": lambda name: name.startswith("unit/x/layer_2") and name.endswith("/x"),
    "nddr": lambda name: name.startswith("projection/x/layer_2") and name.endswith("/x"),
    "sluice": lambda name: name.startswith("alpha/x_1/layer_2") and name.endswith("/x_1"),
}


@pytest.mark.parametrize("kind", ["cross_stitch", "sluice", "nddr"])
def test_a_copy_has_columns_of_its_own(kind: str) -> None:
    made, inputs = build(kind), everything("transformer")
    disturb(made)
    before, twin = made(inputs, ROWS), copy.deepcopy(made)
    with torch.no_grad():
        for unit in UNITS[kind](made):
            unit["x"].zero_()
    same(twin(inputs, ROWS), before)
