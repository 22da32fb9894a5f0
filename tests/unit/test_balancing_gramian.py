"""Methods that look at the Gramian: values computed by hand, the claims of the papers, TorchJD."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torchjd import aggregation as torchjd
from torchjd.linalg import QuadprogProjector

from polytask.balancing import GramianBalancer, balancers
from polytask.core.errors import RecipeError

KINDS = [
    "aligned_mtl",
    "cagrad",
    "cosine",
    "dualproj",
    "fairgrad",
    "gradnorm",
    "gradvac",
    "imtl_g",
    "metabalance",
    "mgda",
    "modo",
    "nash_mtl",
    "pcgrad",
    "psmgd",
    "sdmgrad",
    "upgrad",
]
RANDOM = ["gradvac", "pcgrad"]
BY_POSITION = ["cosine", "metabalance"]


def method(kind: str, num_tasks: int, **options: Any) -> GramianBalancer:
    built = balancers.build({"kind": kind, **options}, num_tasks)
    assert isinstance(built, GramianBalancer)
    return built


def weights(kind: str, jacobian_TP: Tensor, **options: Any) -> Tensor:
    return method(kind, len(jacobian_TP), **options).weights(jacobian_TP @ jacobian_TP.T)


def jacobian(num_tasks: int = 5, width: int = 12, seed: int = 0) -> Tensor:
    """Gradients of unlike lengths, many of which conflict."""
    noise = torch.Generator().manual_seed(seed)
    jacobian_TP = torch.randn(num_tasks, width, dtype=torch.float64, generator=noise)
    return jacobian_TP * torch.logspace(-1, 1, num_tasks, dtype=torch.float64)[:, None]


def cosines_with(direction_P: Tensor, jacobian_TP: Tensor) -> Tensor:
    return torch.cosine_similarity(jacobian_TP, direction_P[None], dim=1)


def hard_jacobians() -> dict[str, Tensor]:
    base_TP = jacobian(4, 6)
    scales_T1 = torch.tensor([1e-10, 1.0, 1e5, 1e10], dtype=torch.float64)[:, None]
    return {
        "zero": torch.zeros(3, 4, dtype=torch.float64),
        "one zero": base_TP * torch.tensor([1.0, 0, 1, 1], dtype=torch.float64)[:, None],
        "one not zero": base_TP * torch.tensor([0.0, 0, 1, 0], dtype=torch.float64)[:, None],
        "one task": base_TP[:1],
        "one task, huge": base_TP[:1] * 1e13,
        "duplicates": base_TP[[0, 0, 1, 1]],
        "opposite": torch.stack([base_TP[0], -base_TP[0]]),
        "opposite, scaled": torch.stack([1e10 * base_TP[0], -1e-10 * base_TP[0]]),
        "one conflicting pair": torch.tensor([[1.0, 0], [-1, 1e-3]], dtype=torch.float64),
        "rank 1": jacobian(6, 1),
        "rank 2": jacobian(40, 2),
        "scaled": base_TP * scales_T1,
        "scaled, rank 2": jacobian(4, 2) * scales_T1,
        "small": base_TP * 1e-10,
        "large": base_TP * 1e10,
        "twice as many as dimensions": jacobian(32, 16),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", hard_jacobians())
@pytest.mark.parametrize("kind", KINDS)
def test_results_stay_finite_over_several_steps(kind: str, case: str, dtype: torch.dtype) -> None:
    jacobian_TP = hard_jacobians()[case].to(dtype)
    balancer = method(kind, len(jacobian_TP))
    for step in range(3):
        weights_T = balancer.weights(jacobian_TP @ jacobian_TP.T)
        assert weights_T.dtype == dtype
        assert weights_T.isfinite().all()
        assert (weights_T @ jacobian_TP).isfinite().all()
        balancer.losses_t = torch.full((len(jacobian_TP),), 1.0 - step)
    assert all(buffer.isfinite().all() for buffer in balancer.buffers())


@pytest.mark.parametrize("length", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("kind", KINDS)
def test_one_task_alone_keeps_its_direction(kind: str, length: float) -> None:
    assert weights(kind, torch.tensor([[length]])) > 0


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in RANDOM + BY_POSITION])
def test_the_order_of_the_tasks_does_not_matter(kind: str) -> None:
    jacobian_TP, order_T = jacobian(), torch.tensor([3, 0, 4, 1, 2])
    assert_close(weights(kind, jacobian_TP[order_T]), weights(kind, jacobian_TP)[order_T])


@pytest.mark.parametrize("kind", KINDS)
def test_a_subset_of_tasks_leaves_the_state_of_the_others_alone(kind: str) -> None:
    balancer, jacobian_TP = method(kind, 5), jacobian()
    balancer.weights(jacobian_TP @ jacobian_TP.T)
    before = {name: value.clone() for name, value in balancer.named_buffers()}
    balancer.active_t, balancer.losses_t = torch.tensor([3, 1]), torch.ones(2)
    weights_t = balancer.weights(jacobian_TP[[3, 1]] @ jacobian_TP[[3, 1]].T)
    assert weights_t.shape == (2,)
    for name, value in balancer.named_buffers():
        if value.shape[:1] == (5,):
            assert_close(value[[0, 2, 4]], before[name][[0, 2, 4]], msg=name)


@pytest.mark.parametrize("kind", ["imtl_g", "nash_mtl"])
def test_the_update_does_not_feel_the_scale_of_a_loss(kind: str) -> None:
    """Projections on unit gradients, and the bargain, are the same whatever the units."""
    jacobian_TP, scale_T = jacobian(), torch.tensor([1e-4, 3.0, 1e4, 1.0, 20.0]).double()
    before_P = weights(kind, jacobian_TP) @ jacobian_TP
    after_P = weights(kind, jacobian_TP * scale_T[:, None]) @ (jacobian_TP * scale_T[:, None])
    assert_close(torch.cosine_similarity(before_P, after_P, dim=0), torch.tensor(1.0).double())


@pytest.mark.parametrize("kind", ["pcgrad", "upgrad", "dualproj", "gradvac"])
def test_without_conflicts_it_is_the_plain_sum(kind: str) -> None:
    jacobian_TP = jacobian().abs()
    assert_close(weights(kind, jacobian_TP), torch.ones(5).double())


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e8])
@pytest.mark.parametrize("kind", ["mgda", "upgrad", "dualproj"])
def test_the_update_conflicts_with_no_task(kind: str, scale: float) -> None:
    jacobian_TP = jacobian(8, 20)
    jacobian_TP[0] *= scale
    update_P = weights(kind, jacobian_TP) @ jacobian_TP
    assert cosines_with(update_P, jacobian_TP).min() > -1e-6


def test_mgda_equals_the_closed_form_for_two_tasks() -> None:
    """Sener and Koltun, algorithm 1: (g2 - g1)ᵀg2 / ‖g1 - g2‖² = 2/5 for (1, 0) and (-1, 1)."""
    jacobian_TP = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    assert_close(weights("mgda", jacobian_TP), 2 * torch.tensor([3 / 5, 2 / 5]))
    shorter_inside_TP = torch.tensor([[1.0, 0.0], [3.0, 1.0]])
    assert_close(weights("mgda", shorter_inside_TP), torch.tensor([2.0, 0.0]))


def test_mgda_is_optimal() -> None:
    """No task with weight has a larger product with the update than the smallest of all."""
    jacobian_TP = jacobian(20, 30)
    weights_T = weights("mgda", jacobian_TP)
    products_T = jacobian_TP @ (weights_T @ jacobian_TP)
    assert_close(weights_T.sum(), torch.tensor(20.0).double())
    assert weights_T.min() >= 0
    assert_close(weights_T @ products_T, len(weights_T) * products_T.min())


def test_mgda_stops_where_a_gradient_is_zero() -> None:
    jacobian_TP = torch.tensor([[0.0, 0.0], [3.0, 1.0]])
    assert_close(weights("mgda", jacobian_TP), torch.tensor([2.0, 0.0]))


def test_psmgd_is_mgda_once_in_a_while() -> None:
    balancer = method("psmgd", 5, every=7)
    gramian_TT = jacobian() @ jacobian().T
    assert balancer.every == 7
    assert method("psmgd", 5).every > 1
    assert_close(balancer.weights(gramian_TT), weights("mgda", jacobian()))


def test_pcgrad_draws_its_order_from_the_global_generator() -> None:
    jacobian_TP = jacobian(12, 6)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(weights("pcgrad", jacobian_TP))
    assert_close(drawn[0], drawn[1], rtol=0, atol=0)
    assert not torch.allclose(drawn[0], drawn[2])


def test_pcgrad_equals_its_loops() -> None:
    """Algorithm 1 as it is written, on gradients, for the same orders."""
    jacobian_TP = jacobian(6, 8)
    torch.manual_seed(3)
    update_P = weights("pcgrad", jacobian_TP) @ jacobian_TP
    torch.manual_seed(3)
    expected_P = torch.zeros_like(update_P)
    for task, order in enumerate(torch.rand(6, 6, dtype=torch.float64).argsort(1).tolist()):
        row_P = jacobian_TP[task].clone()
        for other_P in (jacobian_TP[o] for o in order if o != task):
            row_P -= (row_P @ other_P).clamp(max=0) / (other_P @ other_P) * other_P
        expected_P += row_P
    assert_close(update_P, expected_P)


def test_gradvac_reaches_the_target_cosine() -> None:
    """With 90° between unit gradients and a target of 60°, one is turned to (1, 1/√3)."""
    balancer = method("gradvac", 2)
    balancer.get_buffer("targets_TT").copy_(torch.tensor([[0.0, 0.5], [-1.0, 0.0]]))
    weights_T = balancer.weights(torch.eye(2, dtype=torch.float64))
    assert_close(weights_T, torch.tensor([1.0, 1 + 1 / math.sqrt(3)]).double())


def test_gradvac_with_no_memory_is_pcgrad() -> None:
    """With g1 = (1, 0), g2 = (-1, 1): g1 + g2/2 and g2 + g1."""
    jacobian_TP = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    assert_close(weights("gradvac", jacobian_TP), torch.tensor([2.0, 1.5]))
    assert_close(weights("pcgrad", jacobian_TP), torch.tensor([2.0, 1.5]))


def test_cagrad_equals_the_symmetric_case() -> None:
    """Two orthogonal gradients of equal length: the best point of the ball is straight ahead."""
    assert_close(weights("cagrad", torch.eye(2), c=0.5), torch.tensor([1.5, 1.5]))


@pytest.mark.parametrize("c", [0.0, 0.1, 0.4, 0.9])
@pytest.mark.parametrize("seed", range(3))
def test_cagrad_stays_in_its_ball_and_is_best_there(c: float, seed: int) -> None:
    """The worst-off task makes as much progress as the dual says can be made: there is no gap."""
    jacobian_TP = jacobian(seed=seed)
    weights_T = weights("cagrad", jacobian_TP, c=c)
    plain_P, update_P = jacobian_TP.sum(0), weights_T @ jacobian_TP
    assert (update_P - plain_P).norm() <= (c + 1e-6) * plain_P.norm()
    if c > 0:
        simplex_T = (weights_T - 1) / (weights_T - 1).sum()
        mixed_P = simplex_T @ jacobian_TP
        most = mixed_P @ plain_P + c * plain_P.norm() * mixed_P.norm()
        assert_close((jacobian_TP @ update_P).min(), most, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("scale", [1.0, 1e8])
def test_imtl_g_projects_equally_on_all_gradients(scale: float) -> None:
    jacobian_TP = jacobian(5, 40)
    jacobian_TP[0] *= scale
    weights_T = weights("imtl_g", jacobian_TP)
    cosines_T = cosines_with(weights_T @ jacobian_TP, jacobian_TP)
    assert cosines_T.min() > 0
    assert_close(cosines_T, cosines_T[:1].expand(5), rtol=1e-6, atol=1e-8)
    assert_close(weights_T.abs().sum(), torch.tensor(5.0).double())


@pytest.mark.parametrize("num_tasks", [2, 8, 64])
def test_nash_mtl_is_the_fixed_point(num_tasks: int) -> None:
    jacobian_TP = jacobian(num_tasks, 2 * num_tasks)
    weights_T = weights("nash_mtl", jacobian_TP)
    assert (weights_T > 0).all()
    assert_close(jacobian_TP @ (weights_T @ jacobian_TP), 1 / weights_T, rtol=1e-6, atol=0)
    assert_close((weights_T @ jacobian_TP).norm(), torch.tensor(float(num_tasks)).double().sqrt())


def test_nash_mtl_equals_cases_solved_by_hand() -> None:
    assert_close(weights("nash_mtl", torch.diag(torch.tensor([2.0, 0.1]))), torch.tensor([0.5, 10]))
    assert_close(weights("nash_mtl", torch.ones(2, 1)), torch.full((2,), 0.5).sqrt())


@pytest.mark.parametrize("alpha", [0.3, 1.0, 2.0, 5.0])
def test_fairgrad_is_the_fixed_point(alpha: float) -> None:
    jacobian_TP = jacobian(8, 16)
    weights_T = weights("fairgrad", jacobian_TP, alpha=alpha)
    progress_T = jacobian_TP @ (weights_T @ jacobian_TP)
    assert_close(progress_T, weights_T ** (-1 / alpha), rtol=1e-6, atol=0)


def test_fairgrad_equals_orthogonal_gradients_by_hand() -> None:
    """n² w = w^(-1/2) gives w = n^(-4/3)."""
    jacobian_TP = torch.diag(torch.tensor([8.0, 1.0, 1 / 8]))
    assert_close(weights("fairgrad", jacobian_TP, alpha=2.0), torch.tensor([1 / 16, 1.0, 16.0]))


def test_aligned_mtl_makes_the_components_equally_long() -> None:
    """Its claim: the aligned gradients have a condition number of one."""
    jacobian_TP = jacobian()
    lengths_T = torch.linalg.svdvals(jacobian_TP)
    directions_TT, _, right_TP = torch.linalg.svd(jacobian_TP, full_matrices=False)
    expected_P = (lengths_T.min() * directions_TT @ right_TP).sum(0)
    assert_close(weights("aligned_mtl", jacobian_TP) @ jacobian_TP, expected_P)


def test_aligned_mtl_does_not_take_rounding_errors_for_a_component() -> None:
    """g5 = g1 + g2: of the five tasks, four components remain."""
    jacobian_TP = torch.randn(4, 50_000, generator=torch.Generator().manual_seed(0))
    jacobian_TP = torch.cat([jacobian_TP, jacobian_TP[:1] + jacobian_TP[1:2]])
    for dtype in (torch.float32, torch.float64):
        update_P = weights("aligned_mtl", jacobian_TP.to(dtype)) @ jacobian_TP.to(dtype)
        assert cosines_with(update_P, jacobian_TP.to(dtype)).min() > 0.2


def test_projections_equal_the_example_by_hand() -> None:
    """G = [[18, -22], [-22, 38]]; Quinton and Rey's example: each is projected off the other."""
    jacobian_TP = torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
    assert_close(weights("upgrad", jacobian_TP), torch.tensor([1 + 22 / 18, 1 + 22 / 38]))
    assert_close(weights("dualproj", jacobian_TP), torch.tensor([1 + 4 / 18, 1.0]))


def test_dualproj_is_the_nearest_direction() -> None:
    """Weights of at least 1; a task with more than that is exactly orthogonal to the update."""
    jacobian_TP = jacobian(16, 20)
    weights_T = weights("dualproj", jacobian_TP)
    cosines_T = cosines_with(weights_T @ jacobian_TP, jacobian_TP)
    assert weights_T.min() >= 1
    assert_close(cosines_T[weights_T > 1], torch.zeros(int((weights_T > 1).sum())).double())


def test_upgrad_gives_every_gradient_an_influence_proportional_to_its_length() -> None:
    """Linear under scaling, which Quinton and Rey claim: U(c J) is affine in each scale."""
    jacobian_TP = jacobian()
    updates = []
    for scale in (1.0, 2.0, 3.0):
        scale_T1 = torch.tensor([[scale], [1], [1], [1], [1]]).double()
        updates.append(weights("upgrad", scale_T1 * jacobian_TP) @ (scale_T1 * jacobian_TP))
    assert_close(updates[2] - updates[1], updates[1] - updates[0])


def test_modo_takes_a_projected_step() -> None:
    """(.5, .5) - .1 (G λ + .1 λ) = (.345, .445); the nearest point of the simplex: (.45, .55)."""
    balancer = method("modo", 2, step_size=0.1, regularisation=0.1)
    assert_close(balancer.weights(torch.diag(torch.tensor([3.0, 1.0]))), torch.tensor([0.9, 1.1]))


def test_modo_multiplies_the_products_from_the_right() -> None:
    """G is not symmetric; both tasks are pushed alike, since G (.5, .5) = (1.5, 1.5)."""
    products_TT = torch.tensor([[3.0, 0.0], [1.0, 2.0]])
    assert_close(method("modo", 2).weights(products_TT), torch.ones(2))


@pytest.mark.parametrize("kind", ["modo", "sdmgrad"])
def test_methods_that_need_two_samples_say_so(kind: str) -> None:
    assert method(kind, 2).needs == {"halves"}


def test_sdmgrad_with_a_strong_preference_is_the_plain_sum() -> None:
    assert_close(weights("sdmgrad", jacobian(), preference=1e9), torch.ones(5).double())


def test_sdmgrad_without_a_preference_finds_the_weights_of_mgda() -> None:
    jacobian_TP = jacobian(3, 20)
    found_T = weights("sdmgrad", jacobian_TP, preference=0.0, steps=5000, step_size=0.1)
    assert_close(found_T, weights("mgda", jacobian_TP), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("tasks", [2, 4, 8, 16])
def test_sdmgrad_does_not_depend_on_rounding(tasks: int) -> None:
    exact, rounded = method("sdmgrad", tasks), method("sdmgrad", tasks)
    for step in range(20):
        jacobian_TP = jacobian(tasks, 40, seed=step)
        gramian_TT = jacobian_TP @ jacobian_TP.T
        expected_T = exact.weights(gramian_TT)
        assert_close(
            rounded.weights(gramian_TT * (1 + 1e-6 * torch.eye(tasks))),
            expected_T,
            rtol=0,
            atol=1e-4,
        )


def test_gradnorm_equals_one_step_by_hand() -> None:
    """Norms 3 and 1 about a mean of 2: slopes 3/2 and -1/2; then weights sum to 2 again."""
    balancer = method("gradnorm", 2, learning_rate=0.1)
    gramian_TT = torch.diag(torch.tensor([9.0, 1.0]))
    assert_close(balancer.weights(gramian_TT), torch.ones(2))
    assert_close(balancer.weights(gramian_TT), torch.tensor([0.85, 1.05]) * 2 / 1.9)


def test_gradnorm_pushes_tasks_that_learn_slowly() -> None:
    """Equal norms; the loss of one halved: ratios 2/3 and 4/3 of their mean."""
    balancer = method("gradnorm", 2, learning_rate=0.1, alpha=1.0)
    balancer.losses_t = torch.tensor([4.0, 1.0])
    balancer.weights(torch.eye(2))
    balancer.losses_t = torch.tensor([2.0, 1.0])
    balancer.weights(torch.eye(2))
    assert_close(balancer.weights(torch.eye(2)), torch.tensor([0.9, 1.1]))


def test_gradnorm_makes_gradients_equally_long() -> None:
    balancer = method("gradnorm", 3, learning_rate=0.01)
    norms_T = torch.tensor([1.0, 2.0, 5.0])
    for _ in range(500):
        weights_T = balancer.weights(torch.diag(norms_T.square()))
    weighted_T = weights_T * norms_T
    assert_close(weighted_T, weighted_T.mean().expand(3), rtol=0.05, atol=0)


def test_metabalance_equals_two_steps_by_hand() -> None:
    """Norms 1 and 4, then 2 and 4; averages .1, .4, then .29, .76; .7 of the way to their ratio."""
    balancer = method("metabalance", 2, relax=0.7, decay=0.9)
    first_T = balancer.weights(torch.diag(torch.tensor([1.0, 16.0])))
    second_T = balancer.weights(torch.diag(torch.tensor([4.0, 16.0])))
    assert_close(first_T, torch.tensor([1.0, 0.3 + 0.7 / 4]))
    assert_close(second_T, torch.tensor([1.0, 0.3 + 0.7 * 0.29 / 0.76]))


def test_metabalance_remembers_an_absent_target() -> None:
    balancer = method("metabalance", 2, target=1, relax=1.0)
    balancer.weights(torch.diag(torch.tensor([16.0, 4.0])))
    balancer.active_t = torch.tensor([0])
    assert_close(balancer.weights(torch.tensor([[16.0]])), torch.tensor([0.5]))


def test_cosine_weighs_by_the_angle_with_the_main_task() -> None:
    """Angles of 60°, 0° and 180° with the task at position 1."""
    jacobian_TP = torch.tensor([[0.5, math.sqrt(0.75)], [1.0, 0.0], [3.0, 0.0], [-2.0, 0.0]])
    assert_close(weights("cosine", jacobian_TP, main=1), torch.tensor([0.5, 1.0, 1.0, 0.0]))


def test_cosine_is_the_plain_sum_where_the_main_task_is_absent() -> None:
    balancer = method("cosine", 3)
    balancer.active_t = torch.tensor([1, 2])
    assert_close(balancer.weights(torch.tensor([[1.0, -1.0], [-1.0, 1.0]])), torch.ones(2))


@pytest.mark.parametrize(("kind", "option"), [("cosine", "main"), ("metabalance", "target")])
def test_a_position_beyond_the_tasks_is_a_mistake(kind: str, option: str) -> None:
    with pytest.raises(RecipeError, match=f"balancing.{option}: found 3, expected .* 0 to 2"):
        method(kind, 3, **{option: 3})


PROJECTOR = QuadprogProjector(norm_eps=1e-12, reg_eps=1e-9)
ORACLES: list[tuple[str, dict[str, Any], torchjd.Weighting[Any], float]] = [
    ("upgrad", {}, torchjd.UPGradWeighting(projector=PROJECTOR), 5.0),
    ("dualproj", {}, torchjd.DualProjWeighting(projector=PROJECTOR), 5.0),
    ("mgda", {}, torchjd.MGDAWeighting(epsilon=1e-9, max_iters=20_000), 5.0),
    ("aligned_mtl", {"scale": "min"}, torchjd.AlignedMTLWeighting(scale_mode="min"), 5.0),
    ("aligned_mtl", {"scale": "median"}, torchjd.AlignedMTLWeighting(scale_mode="median"), 5.0),
    ("aligned_mtl", {"scale": "rmse"}, torchjd.AlignedMTLWeighting(scale_mode="rmse"), 5.0),
    ("fairgrad", {"alpha": 2.0}, torchjd.FairGradWeighting(alpha=2.0), 1.0),
    ("modo", {}, torchjd.MoDoWeighting(gamma=0.1, rho=0.1), 5.0),
    ("sdmgrad", {"step_size": 10.0}, torchjd.SDMGradWeighting(lr=10.0, lambda_=0.3), 5.0),
]


@pytest.mark.parametrize(("kind", "options", "oracle", "factor"), ORACLES)
def test_weights_equal_those_of_torchjd(
    kind: str, options: dict[str, Any], oracle: torchjd.Weighting[Any], factor: float
) -> None:
    """Over three steps, since some remember; TorchJD's weights sum to one where ours sum to T."""
    balancer = method(kind, 5, **options)
    for step in range(3):
        jacobian_TP = jacobian(5, 12, seed=step) / 4
        gramian_TT = jacobian_TP @ jacobian_TP.T
        expected_T = factor * oracle(gramian_TT)
        assert_close(balancer.weights(gramian_TT), expected_T, rtol=1e-4, atol=2e-4)


@pytest.mark.filterwarnings("ignore:You are solving a parameterized problem that is not DPP")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("kind", "oracle", "factor"),
    [
        ("cagrad", lambda: torchjd.CAGrad(c=0.4, norm_eps=1e-12), 5.0),
        ("nash_mtl", lambda: torchjd.NashMTL(n_tasks=5, max_norm=0.0), 1.0),
    ],
)
def test_updates_equal_those_of_convex_programs(
    kind: str, oracle: Callable[[], torchjd.Aggregator], factor: float, seed: int
) -> None:
    """To the precision of their solvers."""
    jacobian_TP = jacobian(5, 12, seed=seed) / 4
    expected_P = factor * oracle()(jacobian_TP)
    found_P = weights(kind, jacobian_TP) @ jacobian_TP
    assert (found_P - expected_P).norm() < 1e-3 * expected_P.norm()


def test_imtl_g_equals_torchjd_up_to_a_factor() -> None:
    gramian_TT = jacobian() @ jacobian().T
    found_T, expected_T = weights("imtl_g", jacobian()), torchjd.IMTLGWeighting()(gramian_TT)
    assert_close(found_T / found_T.sum(), expected_T)


def test_pairs_equal_those_of_torchjd() -> None:
    """With two tasks no order is drawn; the memory of GradVac is compared over ten steps."""
    vaccine, oracle = method("gradvac", 2, decay=0.3), torchjd.GradVacWeighting(beta=0.3, eps=0.0)
    for step in range(10):
        jacobian_TP = jacobian(2, 4, seed=step)
        gramian_TT = jacobian_TP @ jacobian_TP.T
        assert_close(weights("pcgrad", jacobian_TP), torchjd.PCGradWeighting()(gramian_TT))
        assert_close(vaccine.weights(gramian_TT), oracle(gramian_TT), rtol=1e-5, atol=1e-5)
