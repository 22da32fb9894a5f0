"""Known values of the methods that look at every coordinate, and of the bilevel ones."""

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torchjd.aggregation
from hypothesis import given, strategies as st
from torch import Tensor
from torch.testing import assert_close

from polytask.balancing import Balancer, GramianBalancer, JacobianBalancer, balancers
from polytask.balancing.auto_lambda import validation_gain
from polytask.balancing.forum import Problem
from polytask.balancing.simplex import project_to_simplex
from polytask.balancing.state import TaskAverage, make_unbiased_rate
from polytask.core.tensors import read_tensors, write_tensors

KINDS = [
    "adatask", "auto_lambda", "config", "db_mtl", "excess_mtl", "forum", "graddrop", "moco",
]  # fmt: skip
COORDINATE_WISE = ["adatask", "graddrop"]
REMEMBERING = ["adatask", "auto_lambda", "db_mtl", "excess_mtl", "forum", "moco"]


def build(kind: str, num_tasks: int, **options: Any) -> Balancer:
    return balancers.build({"kind": kind, **options}, num_tasks)


def combined(
    method: Balancer,
    jacobian_tP: Tensor,
    active: Sequence[int] | None = None,
    losses_t: Tensor | None = None,
    validation_tP: Tensor | None = None,
) -> Tensor:
    """What the method makes of task gradients; validation gradients are the same if not given."""
    method.active_t = torch.tensor(range(len(jacobian_tP)) if active is None else active)
    method.losses_t = torch.ones(len(jacobian_tP)) if losses_t is None else losses_t
    if isinstance(method, JacobianBalancer):
        return method.combine(jacobian_tP)
    assert isinstance(method, GramianBalancer)
    rows_sP = jacobian_tP
    if "validation" in method.needs:
        rows_sP = torch.cat([jacobian_tP, jacobian_tP if validation_tP is None else validation_tP])
    return method.weights(rows_sP @ rows_sP.T) @ jacobian_tP


def random_jacobian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# Every method


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "rows",
    [
        [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]],
        [[1.0, 2.0], [0.0, 0.0], [-1.0, 3.0]],
        [[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]],
        [[1.0, 2.0], [-1.0, -2.0], [1.0, 2.0]],
        [[1e-10, 2e-10], [1e10, -1e10], [1.0, 1.0]],
        [[1e-30, 2e-30], [1.0, -1.0], [0.0, 1.0]],
    ],
)
def test_results_are_finite_whatever_comes_first_and_next(
    kind: str, rows: list[list[float]]
) -> None:
    method = build(kind, 3)
    losses_t = torch.tensor([0.0, 1.0, 1e6])
    for factor in (1.0, 1e-3, 0.0, 1.0):
        gradient_P = combined(method, factor * torch.tensor(rows), losses_t=losses_t)
        assert gradient_P.isfinite().all()
    assert all(value.isfinite().all() for value in method.state_dict().values())


@pytest.mark.parametrize("kind", KINDS)
def test_one_task_alone_follows_its_own_gradient(kind: str) -> None:
    method = build(kind, 3)
    for _ in range(3):
        gradient_P = combined(method, torch.tensor([[3.0, -4.0, 0.0]]), active=[1])
        cosine = torch.cosine_similarity(gradient_P, torch.tensor([3.0, -4.0, 0.0]), dim=0)
        assert_close(cosine, torch.tensor(1.0))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "graddrop"])
def test_the_order_of_the_tasks_does_not_matter(kind: str) -> None:
    one, other = build(kind, 3), build(kind, 3)
    for seed in range(3):
        jacobian_tP = random_jacobian(3, 7, seed=seed)
        losses_t = torch.tensor([1.0, 2.0, 3.0])
        order = [2, 0, 1]
        expected_P = combined(one, jacobian_tP, losses_t=losses_t)
        found_P = combined(other, jacobian_tP[order], active=order, losses_t=losses_t[order])
        assert_close(found_P, expected_P)


@pytest.mark.parametrize("kind", COORDINATE_WISE)
@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e10])
def test_a_coordinate_that_one_task_reaches_gets_what_that_task_wants(
    kind: str, scale: float
) -> None:
    """Zeros of tasks that do not reach a coordinate have no say there."""
    together, alone = build(kind, 3), [build(kind, 3) for _ in range(3)]
    for seed in range(3):
        rows_TP = scale * random_jacobian(3, 6, seed=seed) * torch.eye(3).repeat_interleave(2, 1)
        expected_P = sum(combined(alone[t], rows_TP[[t]], active=[t]) for t in range(3))
        assert_close(combined(together, rows_TP), expected_P)
        assert_close(expected_P, rows_TP.sum(0))


@pytest.mark.parametrize("kind", REMEMBERING)
def test_what_is_remembered_of_absent_tasks_stays(kind: str) -> None:
    method = build(kind, 3)
    combined(method, random_jacobian(3, 5))
    before = copy.deepcopy(method.state_dict())
    combined(method, random_jacobian(2, 5, seed=1), active=[0, 2])
    changed = set()
    for name, value in method.state_dict().items():
        if value.ndim:
            assert torch.equal(value[1], before[name][1]), name
            changed |= {name} if not torch.equal(value, before[name]) else set()
    assert changed


@pytest.mark.parametrize("kind", REMEMBERING)
def test_a_restored_method_goes_on_as_if_nothing_had_happened(kind: str, tmp_path: Path) -> None:
    method, restored = build(kind, 3), build(kind, 3)
    for seed in range(2):
        combined(method, random_jacobian(3, 5, seed=seed))
    write_tensors(tmp_path / "state.safetensors", method.state_dict())
    restored.load_state_dict(read_tensors(tmp_path / "state.safetensors"))
    last_TP = random_jacobian(3, 5, seed=2)
    assert torch.equal(combined(restored, last_TP), combined(method, last_TP))


# State


def test_an_average_starts_at_the_first_row_and_moves_by_the_rate() -> None:
    average = TaskAverage(3)
    active_t = torch.tensor([0, 2])
    first_tP = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert torch.equal(average.update(first_tP, active_t, lambda n_t: 1 / (2 * n_t)), first_tP)
    moved_tP = average.update(torch.tensor([[5.0, 2.0]]), active_t[1:], lambda n_t: 1 / (2 * n_t))
    assert_close(moved_tP, torch.tensor([[3.5, 3.5]]))
    assert average.count_T.tolist() == [1, 0, 2]
    assert_close(average.mean_TP, torch.tensor([[1.0, 2.0], [0.0, 0.0], [3.5, 3.5]]))


def test_an_unbiased_average_is_that_of_adam() -> None:
    """Of 1 and 4 with decay ½: (¼·1 + ½·4) / (1 - ¼) = 3."""
    average, only_t = TaskAverage(1), torch.tensor([0])
    average.update(torch.tensor([[1.0]]), only_t, make_unbiased_rate(0.5))
    assert_close(
        average.update(torch.tensor([[4.0]]), only_t, make_unbiased_rate(0.5)),
        torch.tensor([[3.0]]),
    )


def test_an_average_has_its_own_memory_and_at_least_single_precision() -> None:
    average, only_t = TaskAverage(1), torch.tensor([0])
    buffer_tP = torch.tensor([[1.0]], dtype=torch.bfloat16)
    average.update(buffer_tP, only_t, make_unbiased_rate(0.9))
    buffer_tP.fill_(9.0)
    assert_close(average.mean_TP, torch.tensor([[1.0]]))


def test_loading_makes_room_or_forgets() -> None:
    fresh, used, wide = TaskAverage(2), TaskAverage(2), TaskAverage(2)
    both_t = torch.tensor([0, 1])
    used.update(torch.ones(2, 3), both_t, make_unbiased_rate(0.9))
    wide.update(torch.ones(2, 5), both_t, make_unbiased_rate(0.9))
    assert list(fresh.state_dict()) == ["count_T"]
    saved = copy.deepcopy(used.state_dict())
    wide.load_state_dict(saved)
    assert_close(wide.mean_TP, torch.ones(2, 3))
    used.load_state_dict(fresh.state_dict())
    assert used.mean_TP is None
    fresh.load_state_dict(saved)
    assert_close(dict(fresh.state_dict()), dict(saved))


# GradDrop


def test_graddrop_equals_torchjd() -> None:
    jacobian_tP = random_jacobian(4, 50)
    torch.manual_seed(3)
    expected_P = torchjd.aggregation.GradDrop()(jacobian_tP)
    torch.manual_seed(3)
    assert_close(combined(build("graddrop", 4), jacobian_tP), expected_P)


# MoCo


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=6))
def test_the_projection_on_the_simplex_is_the_nearest_point(values: list[float]) -> None:
    """No corner of the simplex lies, seen from the projection, on the side of the point."""
    point_t = torch.tensor(values, dtype=torch.float64)
    found_t = project_to_simplex(point_t)
    assert (found_t >= 0).all()
    assert_close(found_t.sum(), torch.tensor(1.0, dtype=torch.float64))
    toward_t = point_t - found_t
    assert (toward_t - toward_t @ found_t).max() < 1e-9


def test_the_projection_survives_large_numbers() -> None:
    assert project_to_simplex(torch.tensor([-1e20, -2e20])).tolist() == [1.0, 0.0]


def test_moco_equals_algorithm_1_over_two_steps() -> None:
    method = build("moco", 2, beta=0.5, gamma=0.1)
    # λ - γ·G·λ = (½ - 0.1·½·1, ½ - 0.1·½·4) = (0.45, 0.3), projected by adding 0.125
    first_P = combined(method, torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    assert_close(first_P, 2 * torch.tensor([0.575 * 1, 0.425 * 2]))
    # y = (0, 2) + β/√2·((0, 0) - (0, 2)); of equal length now, both weights fall in proportion
    rest = 2 * (1 - 0.5 / math.sqrt(2))
    second_P = combined(method, torch.tensor([[rest, 0.0], [0.0, 0.0]]))
    tracked = 1 + 0.5 / math.sqrt(2) * (rest - 1)
    gamma = 0.1 / math.sqrt(2)
    lambda_1 = 0.575 * (1 - gamma * tracked**2)
    lambda_2 = 0.425 * (1 - gamma * rest**2)
    lift = (1 - lambda_1 - lambda_2) / 2
    assert_close(
        second_P, 2 * torch.tensor([(lambda_1 + lift) * tracked, (lambda_2 + lift) * rest])
    )


def test_the_regularisation_of_moco_evens_the_weights_out() -> None:
    method = build("moco", 2, gamma=1.0, rho=1.0)
    method.get_buffer("weights_T").copy_(torch.tensor([0.9, 0.1]))
    combined(method, torch.zeros(2, 3))
    assert_close(method.get_buffer("weights_T"), torch.tensor([0.5, 0.5]))


# DB-MTL


def test_db_mtl_brings_gradients_of_log_losses_to_the_largest_norm() -> None:
    """Of log losses: (2, 0) and (0, 1), the first of norm 2; then ½·(2, 0) + ½·(0, 4)."""
    method = build("db_mtl", 2, beta=0.5)
    losses_t = torch.tensor([2.0, 4.0])
    first_P = combined(method, torch.tensor([[4.0, 0.0], [0.0, 4.0]]), losses_t=losses_t)
    assert_close(first_P, torch.tensor([2.0, 2.0]))
    second_P = combined(method, torch.tensor([[0.0, 8.0], [0.0, 4.0]]), losses_t=losses_t)
    assert_close(second_P, torch.tensor([1.0, 2.0 + math.sqrt(5.0)]))


def test_db_mtl_does_not_feel_the_scale_of_a_loss() -> None:
    one, other = build("db_mtl", 2), build("db_mtl", 2)
    scale_t = torch.tensor([1e4, 1e-3])
    for seed in range(3):
        jacobian_tP, losses_t = random_jacobian(2, 5, seed=seed), torch.tensor([0.5, 2.0])
        scaled_P = combined(other, scale_t[:, None] * jacobian_tP, losses_t=scale_t * losses_t)
        assert_close(scaled_P, combined(one, jacobian_tP, losses_t=losses_t))


# ConFIG


def test_config_of_two_gradients() -> None:
    """Of (1, 0) and (1, 1) along d = (1, √2 - 1), which has projection 1 on both directions."""
    direction_P = torch.tensor([1.0, math.sqrt(2) - 1])
    expected_P = (1 + math.sqrt(2)) / direction_P.square().sum() * direction_P
    assert_close(combined(build("config", 2), torch.tensor([[1.0, 0.0], [1.0, 1.0]])), expected_P)


@pytest.mark.parametrize(
    "jacobian_tP",
    [
        random_jacobian(4, 30),
        torch.tensor([[1e-4], [1.0], [1e4]]) * random_jacobian(3, 10),
        random_jacobian(4, 2),  # more tasks than coordinates
        random_jacobian(2, 6)[[0, 1, 0]],  # the same task twice
        torch.cat([random_jacobian(2, 6), torch.zeros(1, 6)]),
    ],
)
def test_config_equals_torchjd(jacobian_tP: Tensor) -> None:
    expected_P = torchjd.aggregation.ConFIG()(jacobian_tP.double())
    found_P = combined(build("config", len(jacobian_tP)), jacobian_tP.double())
    assert_close(found_P, expected_P)
    assert_close(combined(build("config", len(jacobian_tP)), jacobian_tP), expected_P.float())


def test_config_goes_equally_far_along_every_gradient_however_long() -> None:
    jacobian_tP = torch.tensor([[1e-10], [1.0], [1e10]]) * random_jacobian(3, 20)
    gradient_P = combined(build("config", 3), jacobian_tP)
    projection_t = jacobian_tP @ gradient_P / jacobian_tP.norm(dim=1)
    assert_close(projection_t, projection_t[0].expand(3))
    assert projection_t[0] > 0


def test_config_gives_nothing_to_opposite_tasks() -> None:
    gradient_P = combined(build("config", 2), torch.tensor([[1.0, 2.0], [-3.0, -6.0]]))
    assert gradient_P.tolist() == [0.0, 0.0]


# ExcessMTL


def test_excess_mtl_equals_torchjd() -> None:
    """Its one step of warm-up is the step of which the baseline is taken here."""
    method = build("excess_mtl", 3, step_size=0.5)
    oracle = torchjd.aggregation.ExcessMTL(robust_step_size=0.5, n_warmup_steps=1)
    for seed in range(5):
        jacobian_tP = torch.tensor([[0.1], [1.0], [5.0]]) * random_jacobian(3, 20, seed=seed)
        assert_close(combined(method, jacobian_tP), 3 * oracle(jacobian_tP))


def test_excess_mtl_shares_the_weight_of_the_tasks_present_among_them() -> None:
    method = build("excess_mtl", 3, step_size=1.0)
    combined(method, torch.ones(3, 4))
    combined(method, torch.tensor([[3.0], [1.0]]) * torch.ones(2, 4), active=[0, 2])
    weights_T = method.get_buffer("logits_T").exp()
    assert_close(weights_T.sum(), torch.tensor(3.0))
    assert weights_T[0] > weights_T[1] > weights_T[2]


# AdaTask


def test_adatask_is_the_sum_of_the_updates_of_one_adam_per_task() -> None:
    """Up to a factor per coordinate, the same for all tasks: the largest root mean square."""
    method = build("adatask", 2, decay=0.9)
    updates_TP = [torch.nn.Parameter(torch.zeros(6, dtype=torch.float64)) for _ in range(2)]
    adam = torch.optim.Adam(updates_TP, lr=1.0, betas=(0.0, 0.9))
    for seed in range(4):
        jacobian_TP = torch.tensor([[1e-3], [10.0]]) * random_jacobian(2, 6, seed=seed).double()
        for parameter, row_P in zip(updates_TP, jacobian_TP, strict=True):
            parameter.data.zero_()
            parameter.grad = row_P.clone()
        adam.step()
        squares_TP = torch.stack([adam.state[p]["exp_avg_sq"] for p in updates_TP])
        root_P = (squares_TP / (1 - 0.9 ** (seed + 1))).sqrt().amax(0)
        sum_P = -torch.stack([*updates_TP]).detach().sum(0)
        assert_close(combined(method, jacobian_TP), root_P * sum_P, rtol=1e-4, atol=1e-6)


def test_adatask_gives_a_task_with_small_gradients_the_same_say() -> None:
    gradient_P = combined(build("adatask", 2), torch.tensor([[1.0, 3.0], [3.0, -1.0]]))
    assert_close(gradient_P, torch.tensor([6.0, 0.0]))


# Auto-lambda


def test_auto_lambda_gain_is_the_slope_of_the_validation_losses_one_step_ahead() -> None:
    training_tP, validation_tP = random_jacobian(3, 5), random_jacobian(3, 5, seed=1)
    lambda_t = torch.tensor([0.3, 0.2, 0.1], requires_grad=True)
    rate = 0.01
    ahead_P = -rate * lambda_t @ training_tP
    (slope_t,) = torch.autograd.grad((validation_tP @ ahead_P).sum(), lambda_t)
    rows_sP = torch.cat([training_tP, validation_tP])
    assert_close(-rate * validation_gain(rows_sP @ rows_sP.T), slope_t)


def test_auto_lambda_learns_by_adam() -> None:
    method = build("auto_lambda", 3, rate=0.01)
    lambda_T = torch.nn.Parameter(torch.full((3,), 0.1))
    adam = torch.optim.Adam([lambda_T], lr=0.01)
    for seed in range(5):
        training_TP = random_jacobian(3, 5, seed=seed)
        validation_TP = random_jacobian(3, 5, seed=seed + 100)
        lambda_T.grad = -(training_TP @ validation_TP.T).sum(1)
        adam.step()
        gradient_P = combined(method, training_TP, validation_tP=validation_TP)
        weights_T = 3 * lambda_T.detach() / lambda_T.sum().item()
        assert_close(gradient_P, weights_T @ training_TP)


def test_auto_lambda_stops_at_zero_and_never_leaves_the_tasks_without_weight() -> None:
    method = build("auto_lambda", 2, rate=1.0)
    training_TP = torch.eye(2)
    against_TP = torch.tensor([[1.0, -1.0], [1.0, -1.0]])
    gradient_P = combined(method, training_TP, validation_tP=against_TP)
    assert_close(gradient_P, torch.tensor([2.0, 0.0]))
    assert_close(
        combined(build("auto_lambda", 2, rate=1.0), training_TP, validation_tP=-training_TP),
        torch.tensor([1.0, 1.0]),
    )


# FORUM


def gap_gradient(training_tP: Tensor, step: float) -> Tensor:
    """The gradient of q for α, then ω, if the losses are g·ω and the inner loop has five steps."""
    alpha_t = torch.zeros(len(training_tP), requires_grad=True)
    omega_P = torch.zeros(training_tP.shape[1], requires_grad=True)
    end_P = -5 * step * alpha_t.softmax(0).detach() @ training_tP
    gap = alpha_t.softmax(0) @ (training_tP @ omega_P - training_tP @ end_P)
    return torch.cat(torch.autograd.grad(gap, [alpha_t, omega_P])).double()


@pytest.mark.parametrize("seed", range(6))
def test_forum_equals_algorithm_1_on_linear_losses(seed: int) -> None:
    training_tP, validation_tP = (
        random_jacobian(2, 4, seed=seed),
        random_jacobian(2, 4, seed=seed + 9),
    )
    gap_z = gap_gradient(training_tP, step=0.1)
    upper_tz = torch.cat([torch.zeros(2, 2), validation_tP], dim=1).double()
    barrier = 0.1 / 2 * gap_z.square().sum()
    grid_n = torch.linspace(0, 1, 100_001, dtype=torch.float64)
    upper_nz = torch.stack([grid_n, 1 - grid_n], dim=1) @ upper_tz
    nu_n = ((barrier - upper_nz @ gap_z) / gap_z.square().sum()).clamp(min=0)
    dual_n = (upper_nz + nu_n[:, None] * gap_z).square().sum(1) / 2 - nu_n * barrier
    best = dual_n.argmin()
    expected_t = torch.stack([grid_n[best], 1 - grid_n[best]]) + nu_n[best] / 2
    method = build("forum", 2, rho=0.1, lookahead=0.5, rate=0.01)
    found_P = combined(method, training_tP, validation_tP=validation_tP)
    assert_close(found_P, expected_t.float() @ training_tP, rtol=1e-3, atol=1e-4)
    alpha_T = method.get_buffer("alpha_T")
    assert_close(alpha_T, (-0.01 * nu_n[best] * gap_z[:2]).float(), rtol=1e-3, atol=1e-6)


def test_forum_of_one_task_that_its_training_works_against() -> None:
    """ν = ρ/2 - F·q/|q|² = 0.05 + 2/4, and λ = 1."""
    gradient_P = combined(
        build("forum", 1), torch.tensor([[2.0]]), validation_tP=torch.tensor([[-1.0]])
    )
    assert_close(gradient_P, torch.tensor([1.55 * 2.0]))


def test_forum_is_the_shortest_combination_while_training_and_validation_agree() -> None:
    """Of orthogonal gradients of squared lengths 1 and 4: weights 0.8 and 0.2; ν = 0."""
    method = build("forum", 2)
    assert_close(combined(method, torch.diag(torch.tensor([1.0, 2.0]))), torch.tensor([0.8, 0.4]))
    assert method.get_buffer("alpha_T").tolist() == [0.0, 0.0]


def test_forum_averages_its_weights_over_steps() -> None:
    """λ is (0.8, 0.2), then (0.2, 0.8); the average moves by 2^-0.75."""
    method = build("forum", 2)
    combined(method, torch.diag(torch.tensor([1.0, 2.0])))
    gradient_P = combined(method, torch.diag(torch.tensor([2.0, 1.0])))
    moved = 0.8 - 0.6 * 2**-0.75
    assert_close(gradient_P, torch.tensor([moved * 2, 1 - moved]))


@pytest.mark.parametrize("seed", range(5))
def test_the_solution_of_forum_lowers_every_validation_loss_it_can(seed: int) -> None:
    """Optimality: along the update, no objective does better than the one that does worst."""
    rows_sP = random_jacobian(7, 10, seed=seed).double()
    upper_tP, gap_P = rows_sP[:6], rows_sP[6]
    problem = Problem(upper_tP @ upper_tP.T, upper_tP @ gap_P, gap_P @ gap_P, 0.1)
    lambda_t = problem.solve()
    update_P = lambda_t @ upper_tP + problem.multiplier(lambda_t) * gap_P
    progress_t = upper_tP @ update_P
    assert (progress_t - lambda_t @ progress_t).min() > -1e-5
    assert gap_P @ update_P > 0.1 / 2 * gap_P @ gap_P - 1e-9
