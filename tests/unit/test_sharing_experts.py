"""Experts and gates: known values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from polytask.core.collated import Collated
from polytask.core.features import Features
from polytask.sharing import Architecture, architectures
from polytask.sharing.dselect_k import entropy, selection, smooth_step
from polytask.sharing.experts import Experts, mix
from tests.fakes import Cells

CELLS = [(0.5, -1.0, 2.0), (1.0, None, 0.1), (-0.3, 0.7, None), (None, 1.5, -2.0)]
ROWS = {"x": torch.tensor([0, 1, 2]), "y": torch.tensor([2, 3])}
GATES_OF_Y = {
    "mmoe": ["y"],
    "dselect_k": ["y"],
    "cgc": ["y"],
    "ple": ["level_1/x", "level_1/y", "level_1/shared", "level_2/y"],
}
"""The gates that are used where no other task is present."""


def encoder() -> Cells:
    torch.manual_seed(0)
    made = Cells()
    made.fit(CELLS)
    return made


def inputs(columns: int = 3) -> Collated:
    made = Cells()
    return made.collate(made.prepare([cells[:columns] for cells in CELLS]))


def build(kind: str, tasks: Mapping[str, Tensor] = ROWS, **options: Any) -> Any:
    """One with weights that are not zero."""
    made = architectures.build({"kind": kind, "hidden": 5, **options}, encoder(), [*tasks])
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return made.eval()


def run(made: Architecture, rows: Mapping[str, Tensor] = ROWS) -> dict[str, Features]:
    found: dict[str, Features] = made(inputs(), rows)
    return found


def test_a_mixture_is_the_weighted_sum() -> None:
    experts_BLED = torch.tensor([[[[1.0, 2.0], [3.0, -4.0]]]])
    assert_close(mix(torch.tensor([[[0.25, 0.75]]]), experts_BLED), torch.tensor([[[2.5, -2.5]]]))


def test_experts_begin_with_what_they_read() -> None:
    hidden_BLD = torch.randn(2, 3, 4)
    for given_BLD in Experts(3, 4, 5)(hidden_BLD).unbind(-2):
        assert torch.equal(given_BLD, hidden_BLD)


def test_one_expert_is_hard_sharing_with_a_layer_more() -> None:
    made = build("mmoe", experts=1)
    top_BLD = made.experts[0](made.encoder(inputs()).tokens_BLD)
    for task, features in run(made).items():
        assert_close(features.tokens_BLD, top_BLD[ROWS[task]])


def test_each_task_mixes_the_experts_by_its_own_gate() -> None:
    made = build("mmoe", experts=3)
    tokens_BLD = made.encoder(inputs()).tokens_BLD
    for task, features in run(made).items():
        gates_BLE = made.gates[task](tokens_BLD).softmax(-1)
        given = [expert(tokens_BLD) for expert in made.experts]
        expected = sum(gates_BLE[..., [e]] * given[e] for e in range(3))
        assert_close(features.tokens_BLD, expected[ROWS[task]])


def test_a_gate_of_sentences_decides_by_the_mean_of_the_real_tokens() -> None:
    made = build("mmoe", experts=3, gate="sentence")
    features = made.encoder(inputs())
    experts_BLED = made.experts(features.tokens_BLD)
    gates_BE = made.gates["x"](features.mean_BD).softmax(-1)
    expected = torch.einsum("be,bled->bld", gates_BE, experts_BLED)
    assert_close(run(made)["x"].tokens_BLD, expected[ROWS["x"]])


@pytest.mark.parametrize("kind", GATES_OF_Y)
def test_both_kinds_of_gates_agree_where_there_is_one_token(kind: str) -> None:
    token, sentence = (build(kind, gate=gate) for gate in ("token", "sentence"))
    sentence.load_state_dict(token.state_dict())
    one_cell = {name: value[:, :1] for name, value in inputs().items()}
    for made in (token, sentence):
        made.encoder.columns = torch.nn.Parameter(token.encoder.columns[:, :1].clone())
    one_cell["known"] = torch.ones_like(one_cell["known"])
    for task, features in token(one_cell, ROWS).items():
        assert_close(features.tokens_BLD, sentence(one_cell, ROWS)[task].tokens_BLD)


@pytest.mark.parametrize("gate", ["token", "sentence"])
@pytest.mark.parametrize("kind", GATES_OF_Y)
def test_what_gates_give_is_observed_in_training(kind: str, gate: str) -> None:
    made = build(kind, gate=gate)
    run(made)
    assert not made.observe()
    made.train()
    run(made, {"y": ROWS["y"]})
    totals: dict[str, float] = {}
    for name, share in made.observe().items():
        of_gate = name.rpartition("/")[0]
        totals[of_gate] = totals.get(of_gate, 0) + share
    assert totals == pytest.approx({f"gate/{of_gate}": 1 for of_gate in GATES_OF_Y[kind]})


def by_hand(gate: nn.Module, state_BLD: Tensor, *experts_BLD: Tensor) -> Tensor:
    gates_BLE: Tensor = gate(state_BLD).softmax(-1)
    return (gates_BLE.unsqueeze(-2) * torch.stack(experts_BLD, -1)).sum(-1)


def test_cgc_mixes_own_and_shared_experts() -> None:
    made = build("cgc", task_experts=2, shared_experts=1)
    [level] = made.levels
    tokens_BLD = made.encoder(inputs()).tokens_BLD
    for task, features in run(made).items():
        experts = [expert(tokens_BLD) for expert in (*level.own[task], *level.shared)]
        expected_BLD = by_hand(level.gates[task], tokens_BLD, *experts)
        assert_close(features.tokens_BLD, expected_BLD[ROWS[task]])


def test_ple_hands_what_all_experts_find_to_the_shared_ones_above() -> None:
    made = build("ple", task_experts=1, shared_experts=1)
    lower, top = made.levels
    tokens_BLD = made.encoder(inputs()).tokens_BLD
    [of_x], [of_y], [of_all] = lower.own["x"], lower.own["y"], lower.shared
    own_BLD = by_hand(lower.gates["x"], tokens_BLD, of_x(tokens_BLD), of_all(tokens_BLD))
    every = [expert(tokens_BLD) for expert in (of_x, of_y, of_all)]
    shared_BLD = by_hand(made.shared_gates[0], tokens_BLD, *every)
    above = top.own["x"][0](own_BLD), top.shared[0](shared_BLD)
    expected_BLD = by_hand(top.gates["x"], own_BLD, *above)
    assert_close(run(made)["x"].tokens_BLD, expected_BLD[ROWS["x"]])


@pytest.mark.parametrize(
    ("kind", "levels", "reached"), [("cgc", 1, "y"), ("ple", 2, "xy,y"), ("ple", 3, "xy,xy,y")]
)
def test_experts_of_a_task_are_its_own_on_the_last_level(
    kind: str, levels: int, reached: str
) -> None:
    """Which tasks see the experts of y, level by level; nobody but itself asks the last ones."""
    options: dict[str, Any] = {"levels": levels} if kind == "ple" else {}
    made = build(kind, **options)
    before = run(made)
    for level, tasks in zip(made.levels, reached.split(","), strict=True):
        output = level.own["y"][0].output.bias
        with torch.no_grad():
            output.add_(1)
            changed = [
                task
                for task, features in run(made).items()
                if not torch.allclose(features.tokens_BLD, before[task].tokens_BLD)
            ]
            output.sub_(1)
        assert "".join(changed) == tasks


@pytest.mark.parametrize("kind", ["cgc", "ple"])
def test_last_experts_of_absent_tasks_are_not_run(kind: str) -> None:
    made = build(kind)
    ran: list[str] = []
    for task, experts in made.levels[-1].own.items():
        experts.register_forward_hook(lambda *_, task=task: ran.append(task))
    run(made, {"y": ROWS["y"]})
    assert ran == ["y"]


@pytest.mark.parametrize(
    ("code", "expected"), [(-9.0, 0), (-0.5, 0), (0.0, 0.5), (0.25, 0.84375), (0.5, 1), (9.0, 1)]
)
def test_the_smooth_step_rises_from_nothing_to_one(code: float, expected: float) -> None:
    assert float(smooth_step(torch.tensor(code))) == pytest.approx(expected)


def test_the_smooth_step_is_flat_at_its_ends_and_steepest_in_the_middle() -> None:
    codes = torch.tensor([-2.0, -0.5, 0.0, 0.5, 2.0], requires_grad=True)
    smooth_step(codes).sum().backward()
    assert_close(codes.grad, torch.tensor([0, 0, 1.5, 0, 0]))


def test_a_binary_code_selects_the_expert_of_that_number() -> None:
    codes_CM = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert torch.equal(selection(codes_CM, 4), torch.eye(4))
    assert torch.equal(selection(codes_CM, 3).argmax(-1), torch.tensor([0, 1, 2, 0]))


@pytest.mark.parametrize("count", range(2, 10))
def test_selections_sum_to_one(count: int) -> None:
    bits = (count - 1).bit_length()
    chosen_BE = selection(torch.rand(5, bits), count)
    assert chosen_BE.shape == (5, count)
    assert_close(chosen_BE.sum(-1), torch.ones(5))


def test_selections_have_finite_slopes_where_they_are_certain() -> None:
    codes_1M = torch.tensor([[-3.0, 3.0]], requires_grad=True)
    total = entropy(selection(smooth_step(codes_1M), 4))
    total.backward()
    assert total.item() == pytest.approx(0, abs=1e-5)
    assert codes_1M.grad is not None
    assert codes_1M.grad.isfinite().all()


def test_the_entropy_is_largest_where_nothing_is_selected() -> None:
    uniform_kE = torch.full((2, 4), 0.25)
    assert float(entropy(uniform_kE)) == pytest.approx(2 * math.log(4), rel=1e-4)


def test_static_selectors_give_every_row_of_a_task_the_same_experts() -> None:
    """Two selectors of certain codes, with shares of a quarter and three quarters."""
    made = build("dselect_k", experts=4, k=2)
    with torch.no_grad():
        made.codes["x"].weight.copy_(torch.tensor([[9.0], [-9.0], [9.0], [9.0]]))
        made.shares["x"].weight.copy_(torch.tensor([[0.0], [math.log(3)]]))
    tokens_BLD = made.encoder(inputs()).tokens_BLD
    expected_BLD = 0.25 * made.experts[1](tokens_BLD) + 0.75 * made.experts[3](tokens_BLD)
    assert_close(run(made)["x"].tokens_BLD, expected_BLD[ROWS["x"]])


@pytest.mark.parametrize("gate", ["static", "sentence", "token"])
def test_the_term_is_the_mean_entropy_of_the_rows(gate: str) -> None:
    """So it does not matter how rows are cut into batches."""
    made = build("dselect_k", gate=gate, entropy=0.5).train()
    run(made)
    both = made.penalty()
    alone = []
    for task, rows_b in ROWS.items():
        run(made, {task: rows_b})
        alone += [made.penalty()] * len(rows_b)
    assert_close(both, torch.stack(alone).mean())
    run(made.eval())
    assert made.penalty() is None


def test_the_term_makes_selections_sharper() -> None:
    made = architectures.build({"kind": "dselect_k", "entropy": 1}, encoder(), [*ROWS]).train()
    optimiser = torch.optim.SGD(made.parameters(), lr=0.1)
    found = []
    for _ in range(50):
        run(made)
        term = made.penalty()
        assert term is not None
        optimiser.zero_grad()
        term.backward()
        optimiser.step()
        found.append(term.item())
    assert found[-1] < 0.2 * found[0]
