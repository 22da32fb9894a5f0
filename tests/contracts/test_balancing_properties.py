"""What papers claim of their methods, and what must hold for all, from task gradients alone.

A method is driven by a Jacobian: the losses are linear in one vector of parameters, so that autograd
gives exactly its rows. A new method is covered by being registered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from polytask.balancing import Balancer, TaskLosses, balancers
from polytask.core.partition import Partition
from polytask.core.tensors import read_tensors, write_tensors

CLAIMS: dict[str, set[str]] = {
    "adatask": {"has a unit"},
    "auto_lambda": {"has a unit"},
    "cagrad": {"stays in its ball"},
    "coba": {"weights ignore scales"},
    "config": {"direction ignores scales", "no conflict", "equal projections", "sees no copies"},
    "cosine": {"names a task"},
    "cosmos": {"has a unit", "unlearns"},
    "cov": {"weights ignore scales"},
    "db_mtl": {"direction ignores scales"},
    "dtp": {"weights ignore scales"},
    "dualproj": {"no conflict"},
    "dwa": {"weights ignore scales"},
    "excess_mtl": {"has a unit"},
    "fairgrad": {"no conflict"},
    "famo": {"direction ignores scales"},
    "forum": {"has a unit"},
    "gls": {"direction ignores scales"},
    "go4align": {"has a unit"},
    "gradvac": {"draws"},
    "igb_v1": {"direction ignores scales"},
    "imtl_g": {"direction ignores scales", "no conflict", "equal projections", "sees no copies"},
    "imtl_l": {"has a unit"},
    "log": {"direction ignores scales"},
    "metabalance": {"names a task"},
    "mgda": {"no conflict", "sees no copies"},
    "moco": {"has a unit"},
    "modo": {"has a unit"},
    "nash_mtl": {"direction ignores scales", "no conflict"},
    "pbi": {"unlearns"},
    "pcgrad": {"draws"},
    "psmgd": {"no conflict", "sees no copies"},
    "random": {"draws", "draws for absent tasks"},
    "stch": {"has a unit"},
    "uncertainty": {"has a unit"},
    "upgrad": {"no conflict"},
    "uw_so": {"has a unit"},
}
"""What holds for some only. A method that is not named claims nothing and is excused of nothing.

``draws``, ``names a task``: permuted tasks give the same update on average only, or not at all.
``unlearns``: weights may be negative. ``has a unit``: the unit of the losses matters.
"""

OPTIONS: dict[str, dict[str, Any]] = {"coba": {"window": 4}}  # so that few steps have an effect
WIDTH = 7


@dataclass(frozen=True)
class Step:
    """The losses of a step, their gradients, and what is known after it."""

    jacobian_TP: Tensor
    losses_T: Tensor
    after_T: Tensor
    score_T: Tensor

    def of(self, tasks: Sequence[int]) -> Step:
        """The same for some of the tasks, in any order."""
        order = [*tasks]
        return Step(
            self.jacobian_TP[order], self.losses_T[order], self.after_T[order], self.score_T[order]
        )

    def scaled(self, factor_T: Tensor) -> Step:
        """The same in other units of the losses."""
        return replace(
            self,
            jacobian_TP=factor_T[:, None] * self.jacobian_TP,
            losses_T=factor_T * self.losses_T,
            after_T=factor_T * self.after_T,
        )


def a_step(num_tasks: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Step:
    """Gradients of unlike lengths, many of which conflict, and losses that mostly fall."""
    noise = torch.Generator().manual_seed(seed)
    width = max(WIDTH, 2 * num_tasks)
    jacobian_TP = torch.randn(num_tasks, width, dtype=dtype, generator=noise)
    length_T, losses_T, after_T, score_T = torch.rand(4, num_tasks, dtype=dtype, generator=noise)
    losses_T += 0.5
    return Step((length_T + 0.1)[:, None] * jacobian_TP, losses_T, after_T * losses_T, score_T)


def steps(num_tasks: int, number: int = 4) -> list[Step]:
    return [a_step(num_tasks, seed) for seed in range(number)]


def build(kind: str, num_tasks: int) -> Balancer:
    torch.manual_seed(0)
    return balancers.build({"kind": kind, **OPTIONS.get(kind, {})}, num_tasks)


def go(
    method: Balancer, step: Step, tasks: Sequence[int] | None = None, epoch: int | None = None
) -> tuple[Tensor, Tensor]:
    """One step of a training, with all that a method is told on the way: update_P, weights_T."""
    tasks = range(len(step.losses_T)) if tasks is None else tasks
    epoch = int(method.draws) if epoch is None else epoch
    x_P = nn.Parameter(torch.zeros_like(step.jacobian_TP[0]))
    partition = Partition([x_P], [])
    both = method.needs & {"halves", "validation"}
    scale_t = torch.full((len(tasks),), 0.5 if "halves" in method.needs else 1.0)
    for sample in [0, 1] if both else [0]:
        losses_t = step.losses_T + (step.jacobian_TP * x_P).sum(1)
        method.accumulate(TaskLosses([*losses_t], tasks, scale_t, sample), partition)
    weights_T = method.resolve(partition)
    for parameter in method.parameters():
        if parameter.grad is not None:
            parameter.data -= 0.1 * parameter.grad.sign()
            parameter.grad = None
    method.after(step.after_T.float(), torch.tensor(tasks))
    about = {"step": int(method.draws), "epoch": epoch}
    losses, scores = step.losses_T.tolist(), step.score_T.tolist()
    method.tell({**about, "losses": dict(zip(tasks, losses, strict=True))})
    method.tell({**about, "validation": dict(zip(tasks, scores, strict=True))})
    assert x_P.grad is not None
    return x_P.grad, weights_T


def updates(method: Balancer, training: Sequence[Step]) -> Tensor:
    return torch.stack([go(method, step)[0] for step in training])


def unit(rows_NP: Tensor) -> Tensor:
    return nn.functional.normalize(rows_NP, dim=-1)


def those(claim: str) -> list[str]:
    """The methods that make a claim."""
    return [kind for kind in balancers.kinds() if claim in CLAIMS.get(kind, set())]


def all_but(*exceptions: str) -> list[str]:
    return [k for k in balancers.kinds() if not CLAIMS.get(k, set()) & {*exceptions}]


@st.composite
def ill_conditioned(draw: st.DrawFn) -> Step:
    """Gradients that are zero, equal, opposite, dependent, and up to 1e20 times as long as others."""
    num_tasks, rank = draw(st.sampled_from([1, 2, 3, 8])), draw(st.integers(1, 4))

    def some(*shape: int, values: st.SearchStrategy[float]) -> Tensor:
        size = torch.Size(shape).numel()
        drawn = draw(st.lists(values, min_size=size, max_size=size))
        return torch.tensor(drawn, dtype=torch.float64).view(shape)

    whole = st.integers(-2, 2).map(float)
    scale_T1 = some(num_tasks, 1, values=st.sampled_from([1e-10, 1e-5, 1.0, 1.0, 1e5, 1e10]))
    losses = st.sampled_from([0.0, 1e-10, 1.0, 1.0, 2.0, 1e10])
    return Step(
        scale_T1 * (some(num_tasks, rank, values=whole) @ some(rank, WIDTH, values=whole)),
        some(num_tasks, values=losses),
        some(num_tasks, values=losses),
        some(num_tasks, values=st.sampled_from([-1.0, 0.0, 0.5, 1.0])),
    )


def test_claims_are_made_of_methods_that_there_are() -> None:
    assert {*CLAIMS, *OPTIONS} <= {*balancers.kinds()}


# What holds for every method


@pytest.mark.parametrize("kind", balancers.kinds())
@settings(max_examples=20, derandomize=True)
@given(first=ill_conditioned(), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_nothing_makes_it_infinite(kind: str, first: Step, dtype: torch.dtype) -> None:
    num_tasks = len(first.losses_T)
    method = build(kind, num_tasks)
    second = a_step(num_tasks)
    second = replace(second, jacobian_TP=second.jacobian_TP[:, :WIDTH])
    for step in (first, first, second, first):
        update_P, weights_T = go(method, replace(step, jacobian_TP=step.jacobian_TP.to(dtype)))
        assert update_P.isfinite().all()
        assert weights_T.isfinite().all()
    assert all(not value.isnan().any() for value in method.state_dict().values())


@pytest.mark.parametrize(
    ("kind", "num_tasks"),
    [(kind, 1) for kind in balancers.kinds()]
    + [(kind, num_tasks) for kind in all_but("unlearns") for num_tasks in (2, 8, 16)],
)
def test_tasks_that_agree_are_followed(kind: str, num_tasks: int) -> None:
    """Losses and the lengths of gradients differ, their direction does not."""
    method, direction_P = build(kind, num_tasks), unit(a_step(num_tasks).jacobian_TP[0])
    for step in steps(num_tasks):
        length_T1 = step.jacobian_TP.norm(dim=1, keepdim=True)
        update_P, _ = go(method, replace(step, jacobian_TP=length_T1 * direction_P))
        assert_close(unit(update_P), direction_P)


@pytest.mark.parametrize("kind", all_but("draws", "names a task"))
@pytest.mark.parametrize("order", [[1, 0], [2, 0, 3, 1], [7, 3, 1, 0, 6, 2, 4, 5]], ids=len)
def test_the_order_of_the_tasks_does_not_matter(kind: str, order: list[int]) -> None:
    one, other = build(kind, len(order)), build(kind, len(order))
    for step in steps(len(order)):
        update_P, weights_T = go(one, step)
        permuted_P, permuted_T = go(other, step.of(order))
        assert_close(permuted_P, update_P, rtol=1e-5, atol=1e-6)
        assert_close(permuted_T, weights_T[order], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", those("draws"))
def test_on_average_the_order_of_the_tasks_does_not_matter(kind: str) -> None:
    """Means of 300 updates differ by less than four of their standard errors."""
    order, step = [2, 0, 1], a_step(3)
    method, other = build(kind, 3), build(kind, 3)
    drawn_NP, permuted_NP = updates(method, [step] * 300), updates(other, [step.of(order)] * 300)
    variance_P = drawn_NP.var(0) + permuted_NP.var(0)
    assert (variance_P > 0).any()
    difference_P = (drawn_NP.mean(0) - permuted_NP.mean(0)).abs()
    assert (difference_P <= 4 * (variance_P / 300).sqrt() + 1e-9).all()


@pytest.mark.parametrize("kind", all_but("draws", "names a task"))
def test_copies_of_a_task_are_treated_alike(kind: str) -> None:
    method = build(kind, 4)
    for step in steps(3):
        _, weights_T = go(method, step.of([0, 1, 0, 2]))
        assert_close(weights_T[0], weights_T[2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", all_but("draws for absent tasks"))
def test_a_task_that_is_never_there_does_not_matter(kind: str) -> None:
    method, without, tasks = build(kind, 4), build(kind, 3), [0, 2, 3]
    for step in steps(3):
        update_P, weights_T = go(method, step, tasks)
        expected_P, expected_t = go(without, step)
        assert_close(update_P, expected_P, rtol=1e-5, atol=1e-6)
        assert_close(weights_T[tasks], expected_t)
        assert weights_T[1] == 0


@pytest.mark.parametrize("kind", balancers.kinds())
def test_what_is_known_of_a_task_waits_for_it(kind: str) -> None:
    method = build(kind, 5)
    for tasks in ([0, 1, 2, 3, 4], [0, 2], [3], [4, 1], [1, 2, 3], [0, 4]):
        absent = [task for task in range(5) if task not in tasks]
        before = {name: value.clone() for name, value in method.state_dict().items()}
        update_P, weights_T = go(method, a_step(5).of(tasks), tasks, epoch=0)
        assert update_P.isfinite().all()
        assert not weights_T[absent].any()
        for name, value in method.state_dict().items():
            if name in before and value.shape[:1] == (5,):
                assert torch.equal(value[absent], before[name][absent]), name


@pytest.mark.parametrize("kind", balancers.kinds())
def test_a_restored_method_goes_on_as_if_nothing_had_happened(kind: str, tmp_path: Path) -> None:
    method, restored = build(kind, 3), build(kind, 3)
    updates(method, steps(3))
    write_tensors(tmp_path / "state.safetensors", method.state_dict())
    restored.load_state_dict(read_tensors(tmp_path / "state.safetensors"))
    assert torch.equal(updates(restored, steps(3)), updates(method, steps(3)))


@pytest.mark.parametrize("kind", balancers.kinds())
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_precision_costs_no_more_than_rounding(kind: str, dtype: torch.dtype) -> None:
    """The gradients and losses are numbers that every precision has."""
    jacobian_TP = torch.tensor([[3.0, -1, 2, 0], [-2, 2, 1, 1], [1, 0, -2, 3]])
    half_T = torch.tensor([0.5, 1.0, 2.0])
    step = Step(jacobian_TP, 2 * half_T, half_T, torch.tensor([0.25, 0.5, 0.75]))
    found, expected = build(kind, 3), build(kind, 3)
    for _ in range(3):
        low = replace(step, jacobian_TP=jacobian_TP.to(dtype), losses_T=step.losses_T.to(dtype))
        exact = replace(step, jacobian_TP=jacobian_TP.double(), losses_T=step.losses_T.double())
        update_P, _ = go(found, low)
        assert update_P.dtype == dtype
        tolerance = 8 * torch.finfo(dtype).eps + 1e-5
        expected_P = go(expected, exact)[0].to(torch.float32)
        assert_close(update_P.float(), expected_P, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", all_but("has a unit"))
@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_the_unit_of_all_losses_does_not_matter(kind: str, factor: float) -> None:
    one, other = build(kind, 3), build(kind, 3)
    for step in steps(3):
        scaled_P, _ = go(other, step.scaled(torch.full((3,), factor).double()))
        assert_close(unit(scaled_P), unit(go(one, step)[0]), rtol=1e-5, atol=1e-5)


# What papers claim


SCALES_T = torch.tensor([1e-3, 4.0, 1e3]).double()


@pytest.mark.parametrize("kind", those("direction ignores scales"))
def test_the_direction_does_not_feel_the_scale_of_a_loss(kind: str) -> None:
    one, other = build(kind, 3), build(kind, 3)
    for step in steps(3):
        assert_close(
            unit(go(other, step.scaled(SCALES_T))[0]), unit(go(one, step)[0]), rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("kind", those("weights ignore scales"))
def test_the_weights_do_not_feel_the_scale_of_a_loss(kind: str) -> None:
    one, other = build(kind, 3), build(kind, 3)
    weights = [(go(one, step)[1], go(other, step.scaled(SCALES_T))[1]) for step in steps(3, 6)]
    assert all(torch.allclose(weights_T, scaled_T, rtol=1e-4) for weights_T, scaled_T in weights)
    assert not torch.allclose(weights[-1][0], torch.ones(3))  # it has left its first phase


@pytest.mark.parametrize("kind", those("no conflict"))
@pytest.mark.parametrize("num_tasks", [2, 8, 16])
@pytest.mark.parametrize("spread", [1.0, 1e4])
def test_the_update_goes_against_no_task(kind: str, num_tasks: int, spread: float) -> None:
    for seed in range(5):
        step = a_step(num_tasks, seed)
        factor_T = spread ** torch.linspace(-1, 1, num_tasks, dtype=torch.float64)
        step = step.scaled(factor_T)
        update_P, _ = go(build(kind, num_tasks), step)
        assert (unit(step.jacobian_TP) @ unit(update_P)).min() > -1e-6
        assert update_P.any()


@pytest.mark.parametrize("kind", sorted({*those("no conflict")} - {*those("equal projections")}))
def test_nor_where_gradients_are_dependent(kind: str) -> None:
    """Eight tasks in three dimensions; the first of these lowers all losses."""
    for seed in range(5):
        step = a_step(8, seed)
        jacobian_TP = step.jacobian_TP[:, :3]
        jacobian_TP[:, 0] = jacobian_TP[:, 0].abs()
        update_P, _ = go(build(kind, 8), replace(step, jacobian_TP=jacobian_TP))
        assert (unit(jacobian_TP) @ unit(update_P)).min() > -1e-6


@pytest.mark.parametrize("kind", those("equal projections"))
def test_it_goes_equally_far_along_every_unit_gradient(kind: str) -> None:
    step = a_step(8)
    update_P, _ = go(build(kind, 8), step)
    projection_T = unit(step.jacobian_TP) @ update_P
    assert_close(projection_T, projection_T.mean().expand(8), rtol=1e-4, atol=0.0)


@pytest.mark.parametrize("kind", those("sees no copies"))
def test_the_direction_does_not_feel_copies_of_a_task(kind: str) -> None:
    step = a_step(3)
    update_P, _ = go(build(kind, 3), step)
    copied_P, _ = go(build(kind, 6), step.of([0, 1, 1, 2, 1, 0]))
    assert_close(unit(copied_P), unit(update_P), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", those("stays in its ball"))
@pytest.mark.parametrize("c", [0.0, 0.4, 0.9])
def test_the_update_stays_in_a_ball_around_the_plain_sum(kind: str, c: float) -> None:
    for seed in range(5):
        step = a_step(8, seed)
        sum_P = step.jacobian_TP.sum(0)
        update_P, _ = go(balancers.build({"kind": kind, "c": c}, 8), step)
        assert (update_P - sum_P).norm() <= (c + 1e-6) * sum_P.norm()
