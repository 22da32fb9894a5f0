"""Methods that look at losses only: values by hand, claims of the papers, TorchJD as an oracle."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor
from torch.testing import assert_close
from torchjd import scalarization

from polytask.balancing import LossBalancer, balancers
from polytask.balancing.go4align import group_means
from polytask.core.errors import RecipeError

KINDS = [
    "coba", "cosmos", "cov", "dtp", "dwa", "equal", "famo", "fixed", "gls", "go4align", "igb_v1",
    "imtl_l", "log", "pbi", "random", "stch", "tchebycheff", "uncertainty", "uw_so",
]  # fmt: skip
SIGNED = {"cosmos", "pbi"}  # a task that is ahead of the preference may be unlearned
LOSSES = [0.5, 2.0, 1.25]


def build(kind: str, num_tasks: int, **options: object) -> LossBalancer:
    method = balancers.build({"kind": kind, **options}, num_tasks)
    assert isinstance(method, LossBalancer)
    return method


def value(method: LossBalancer, losses: Sequence[float]) -> Tensor:
    method.active_t = torch.arange(len(losses))
    return method.objective(torch.tensor(losses)).detach()


def weights(
    method: LossBalancer, losses: Sequence[float], active: Sequence[int] | None = None
) -> Tensor:
    """The derivative of the objective by each loss."""
    method.active_t = torch.tensor(range(len(losses)) if active is None else active)
    method.losses_t = torch.tensor(losses)
    leaf_t = torch.tensor(losses, requires_grad=True)
    with method.seed_draws():
        method.objective(leaf_t).backward()
    assert leaf_t.grad is not None
    return leaf_t.grad


def oracle(scalarizer: torch.nn.Module, losses: Sequence[float]) -> Tensor:
    leaf_t = torch.tensor(losses, requires_grad=True)
    scalarizer(leaf_t).backward()
    assert leaf_t.grad is not None
    return leaf_t.grad


def tell_losses(method: LossBalancer, *steps: Sequence[float], epoch: float = 0.0) -> None:
    for step, losses in enumerate(steps):
        method.tell({"step": step, "epoch": epoch, "losses": dict(enumerate(losses))})


def trained(kind: str) -> LossBalancer:
    """A method that has been told of enough to leave its first phase."""
    method = build(kind, 3, **({"window": 4} if kind == "coba" else {}))
    for epoch, step in itertools.product(range(3), range(4)):
        losses = [1.5 - 0.1 * epoch, 2.0 - 0.05 * step - 0.3 * epoch, 0.3 + 0.05 * step]
        tell_losses(method, losses, epoch=epoch)
    method.tell({"step": 12, "epoch": 3, "validation": {0: 0.9, 1: 0.2, 2: 0.6}})
    return method


# What all of them have in common


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "losses", [[0.0, 0.0, 0.0], [0.0, 1.0, 2.0], [1e-10, 1e10, 1.0], [1.0, 1.0, 1.0]], ids=str
)
def test_weights_are_finite_whatever_the_losses(kind: str, losses: list[float]) -> None:
    for method in (build(kind, 3), trained(kind)):
        tell_losses(method, losses, losses, epoch=7)
        assert weights(method, losses).isfinite().all()
        method.after(torch.tensor(losses), torch.arange(3))
        assert weights(method, LOSSES).isfinite().all()
        assert all(values.isfinite().all() for values in method.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_one_loss_of_zero_does_not_stop_the_others(kind: str) -> None:
    weights_t = weights(trained(kind), [0.0, 1.0, 1.1])
    assert weights_t[1:].abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_one_task_alone_has_a_positive_weight(kind: str) -> None:
    for method in (build(kind, 3), trained(kind)):
        assert weights(method, [0.7], active=[1]) > 0
    assert weights(build(kind, 1), [0.7]) > 0


@pytest.mark.parametrize("kind", sorted({*KINDS} - SIGNED))
def test_no_weight_is_negative(kind: str) -> None:
    for losses in itertools.permutations([0.01, 1.0, 30.0]):
        assert (weights(trained(kind), losses) >= 0).all()


@pytest.mark.parametrize("kind", sorted({*KINDS} - {"random"}))
def test_the_order_of_tasks_does_not_matter(kind: str) -> None:
    method, turned = build(kind, 3), build(kind, 3)
    for step in range(3):
        losses = [1.0 - 0.1 * step, 2.0 - 0.5 * step, 0.7 + 0.1 * step]
        tell_losses(method, losses, epoch=step)
        tell_losses(turned, losses[::-1], epoch=step)
    assert_close(weights(method, LOSSES), weights(turned, LOSSES[::-1]).flip(0))


@pytest.mark.parametrize("kind", sorted({*KINDS} - {"uncertainty", "igb_v1", "log", "random"}))
def test_equal_tasks_weigh_as_in_the_plain_sum(kind: str) -> None:
    assert_close(weights(build(kind, 3), [1.0] * 3), torch.ones(3))


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_method_knows_of_an_absent_task_stays(kind: str) -> None:
    method = trained(kind)
    before = {name: values.clone() for name, values in method.state_dict().items()}
    weights(method, [1.0, 2.0], active=[0, 2])
    method.after(torch.tensor([0.9, 2.1]), torch.tensor([0, 2]))
    method.tell({"step": 13, "epoch": 2, "losses": {0: 1.0, 2: 2.0}})
    for name, values in method.state_dict().items():
        if values.shape == (3,):
            assert_close(values[1], before[name][1])


# One by one


def test_log_ignores_the_scale_of_a_loss() -> None:
    assert_close(weights(build("log", 3), [0.5, 2.0, 4.0]), torch.tensor([2.0, 0.5, 0.25]))
    assert weights(build("log", 2), [0.0, 2.0]).tolist() == [0.0, 0.5]


def test_gls_is_the_geometric_mean_times_the_number_of_tasks() -> None:
    method = build("gls", 3)
    assert_close(value(method, [1.0, 2.0, 4.0]), torch.tensor(6.0))
    assert_close(weights(method, LOSSES), 3 * oracle(scalarization.GeometricMean(), LOSSES))
    assert value(method, LOSSES) < sum(LOSSES)


def test_gls_goes_on_with_the_tasks_that_are_not_finished() -> None:
    assert_close(weights(build("gls", 3), [0.0, 2.0, 8.0]), torch.tensor([0.0, 2.0, 0.5]))


def test_uw_so_is_the_softmax_of_reciprocals() -> None:
    """Losses 1 and 1/2 at temperature 1: exp(1) to exp(2)."""
    expected_t = 2 * torch.tensor([1.0, math.e]) / (1 + math.e)
    assert_close(weights(build("uw_so", 2), [1.0, 0.5]), expected_t)
    hot = weights(build("uw_so", 2, temperature=1e6), [1.0, 0.5])
    assert_close(hot, torch.ones(2), atol=1e-5, rtol=0)


def test_imtl_l_settles_where_every_scaled_loss_is_one() -> None:
    method = build("imtl_l", 3)
    assert_close(weights(method, LOSSES), oracle(scalarization.IMTLL(3), LOSSES))
    scales_T = method.get_parameter("log_scale_T")
    scales_T.data = -torch.tensor(LOSSES).log()
    scales_T.grad = None
    assert_close(weights(method, LOSSES) * torch.tensor(LOSSES), torch.ones(3))
    assert_close(scales_T.grad, torch.zeros(3))


def test_uncertainty_equals_torchjd() -> None:
    method = build("uncertainty", 3)
    assert_close(weights(method, LOSSES), oracle(scalarization.UW(3), LOSSES))
    assert_close(value(method, LOSSES), scalarization.UW(3)(torch.tensor(LOSSES)).detach())


def test_revised_uncertainty_adds_log_of_one_plus_variance() -> None:
    """Variance 3 and losses 6 and 12: 6/6 + 12/6 + 2 log 4."""
    method = build("uncertainty", 2, initial=math.log(3), revised=True)
    assert_close(value(method, [6.0, 12.0]), torch.tensor(3 + 2 * math.log(4)))


def test_revised_uncertainty_is_never_negative() -> None:
    plain, revised = (build("uncertainty", 1, initial=-8.0, revised=r) for r in (False, True))
    assert value(plain, [0.0]) < 0 < value(revised, [0.0])


def test_tchebycheff_follows_the_worst_task() -> None:
    assert weights(build("tchebycheff", 3), LOSSES).tolist() == [0.0, 3.0, 0.0]
    weighted = build("tchebycheff", 3, weights=[1.0, 0.5, 1.0])
    assert weights(weighted, LOSSES).tolist() == [0.0, 0.0, 3.0]
    assert_close(weights(build("tchebycheff", 3), [1.0, 2.0, 2.0]), torch.tensor([0.0, 1.5, 1.5]))


@pytest.mark.parametrize("mu", [0.01, 1.0, 100.0])
def test_stch_equals_torchjd(mu: float) -> None:
    preferences = [0.2, 0.5, 0.3]
    expected = scalarization.STCH(mu, torch.tensor(preferences))
    method = build("stch", 3, mu=mu, weights=preferences)
    assert_close(weights(method, LOSSES), 3 * oracle(expected, LOSSES))


def test_stch_lies_between_the_maximum_and_the_maximum_plus_mu_log_t() -> None:
    for mu in (0.01, 0.1, 1.0):
        smooth = value(build("stch", 3, mu=mu), LOSSES) / 3
        assert max(LOSSES) <= smooth <= max(LOSSES) + mu * math.log(3)
    flat = weights(build("stch", 3, mu=1e5), LOSSES)
    assert_close(flat, torch.ones(3), atol=1e-4, rtol=0)


def test_pbi_equals_torchjd_up_to_the_length_of_the_weights() -> None:
    preferences_T = torch.tensor([3.0, 4.0, 12.0])
    expected = scalarization.PBI(5.0, preferences_T)
    method = build("pbi", 3, weights=preferences_T.tolist(), penalty=5.0)
    assert_close(weights(method, LOSSES), 13 * oracle(expected, LOSSES))
    assert_close(value(method, LOSSES), 13 * expected(torch.tensor(LOSSES)))


def test_pbi_without_a_penalty_is_the_weighted_sum() -> None:
    method = build("pbi", 2, weights=[1.0, 3.0], penalty=0.0)
    assert_close(weights(method, [5.0, 0.1]), torch.tensor([1.0, 3.0]))


def test_pbi_unlearns_beyond_the_penalty_that_its_docstring_names() -> None:
    limit = 1 / math.sqrt(3 - 1)
    ahead = [0.0, 1.0, 1.0]
    assert weights(build("pbi", 3, penalty=0.99 * limit), ahead)[0] > 0
    assert weights(build("pbi", 3, penalty=1.01 * limit), ahead)[0] < 0


def test_cosmos_equals_torchjd() -> None:
    preferences_T = torch.tensor([0.2, 0.5, 0.3])
    expected = scalarization.COSMOS(2.0, preferences_T)
    method = build("cosmos", 3, weights=preferences_T.tolist(), penalty=2.0)
    assert_close(weights(method, LOSSES), oracle(expected, LOSSES))
    assert_close(value(method, LOSSES), expected(torch.tensor(LOSSES)))


@pytest.mark.parametrize("kind", ["fixed", "tchebycheff", "stch", "pbi", "cosmos"])
@pytest.mark.parametrize("wrong", [[1.0], [1.0, -1.0], [0.0, 0.0]], ids=str)
def test_weights_that_do_not_fit_are_refused(kind: str, wrong: list[float]) -> None:
    with pytest.raises(RecipeError, match=r"balancing\.weights"):
        build(kind, 2, weights=wrong)


def test_famo_equals_torchjd_over_many_steps() -> None:
    torch.manual_seed(0)
    expected, method = scalarization.FAMO(3), build("famo", 3)
    for _ in range(30):
        before, after = (torch.rand(2, 3) + 0.1).tolist()
        assert_close(weights(method, before), 3 * oracle(expected, before))
        expected.update(torch.tensor(after))
        method.after(torch.tensor(after), torch.arange(3))


def test_famo_starts_with_weights_inverse_to_the_losses() -> None:
    """Equal shares z: weight times loss is the same for every task, and weights sum to T."""
    weights_t = weights(build("famo", 3), LOSSES)
    product_t = weights_t * torch.tensor(LOSSES)
    assert_close(product_t, product_t.mean().expand(3))
    assert_close(weights_t.sum(), torch.tensor(3.0))


def test_famo_moves_weight_to_the_task_that_fell_least() -> None:
    method = build("famo", 2)
    weights(method, [1.0, 1.0])
    method.after(torch.tensor([0.5, 0.9]), torch.arange(2))
    logits_T = method.get_buffer("logits_T")
    assert logits_T[0] < 0 < logits_T[1]


def test_famo_leaves_out_tasks_that_it_cannot_compare() -> None:
    """Task 0 had no finite loss before the update, task 2 has none after it."""
    method = build("famo", 4)
    weights(method, [1.0, 1.0, 1.0], active=[1, 2, 3])
    method.after(torch.tensor([1.0, 0.5, math.nan, 0.9]), torch.arange(4))
    first, second, third, fourth = method.get_buffer("logits_T").tolist()
    assert first == third == 0
    assert second < 0 < fourth


def test_dtp_equals_the_focal_loss_of_the_score() -> None:
    method = build("dtp", 3, gamma=2.0, discount=0.25)
    method.tell({"step": 1, "epoch": 1, "validation": {0: 0.5, 1: 0.8}})
    expected_T = torch.tensor([-0.25 * math.log(0.5), -0.04 * math.log(0.8), 1.0])
    assert_close(weights(method, LOSSES), expected_T)
    method.tell({"step": 2, "epoch": 2, "validation": {0: 0.9, 1: 0.8}})  # 0.25 · 0.9 + 0.75 · 0.5
    expected_T[0] = -(0.4**2) * math.log(0.6)
    assert_close(weights(method, LOSSES), expected_T)


@pytest.mark.parametrize("score", [-0.3, 0.0, 1.0, 250.0])
def test_dtp_bounds_scores_that_are_no_shares(score: float) -> None:
    method = build("dtp", 1)
    method.tell({"step": 1, "epoch": 1, "validation": {0: score}})
    assert 0 < weights(method, [1.0]) < 10


def test_dwa_equals_torchjd() -> None:
    expected, method = scalarization.DWA(), build("dwa", 3)
    epochs = [[LOSSES, [0.4, 1.0, 1.0]], [[0.3, 0.9, 1.1], [0.5, 0.8, 0.1]], [[0.1, 0.2, 0.3]]]
    for epoch, steps in enumerate(epochs):
        tell_losses(method, *steps, epoch=epoch)
        for losses in steps:
            expected(torch.tensor(losses))
        if epoch < 2:
            expected.step()
    assert_close(weights(method, LOSSES), oracle(expected, LOSSES))


def test_dwa_closes_an_epoch_when_it_is_over_and_not_before() -> None:
    method = build("dwa", 2)
    for epoch in (0.0, 0.5, 0.99, 1.0, 1.6, 1.99):
        tell_losses(method, [2.0, 2.0] if epoch < 1 else [1.0, 2.0], epoch=epoch)
    assert weights(method, [1.0, 1.0]).tolist() == [1.0, 1.0]
    tell_losses(method, [1.0, 1.0], epoch=2.0)
    expected_T = 2 * torch.tensor([0.5 / 2, 1.0 / 2]).softmax(0)
    assert_close(weights(method, [1.0, 1.0]), expected_T)


def test_cov_weighs_by_the_variation_of_loss_over_mean_loss() -> None:
    """Ratios 1 and 3/2, 1 and 1/2: deviation over mean is (1/4)/(5/4) and (1/4)/(3/4)."""
    method = build("cov", 2)
    tell_losses(method, [2.0, 4.0])
    assert weights(method, LOSSES[:2]).tolist() == [1.0, 1.0]
    tell_losses(method, [3.0, 2.0])
    variation_T = torch.tensor([1 / 5, 1 / 3])
    assert_close(weights(method, LOSSES[:2]), 2 * variation_T / variation_T.sum())


def test_cov_equals_the_statistics_of_the_whole_history() -> None:
    torch.manual_seed(0)
    history_ST = torch.rand(50, 3).double() + 0.1
    method = build("cov", 3)
    tell_losses(method, *history_ST.tolist())
    mean_ST = history_ST.cumsum(0) / torch.arange(1, 51)[:, None]
    ratio_ST = torch.cat([torch.ones(1, 3), history_ST[1:] / mean_ST[:-1]])
    variation_T = ratio_ST.std(0, correction=0) / ratio_ST.mean(0)
    expected_T = 3 * variation_T / variation_T.sum()
    assert_close(weights(method, LOSSES), expected_T.float())


def test_cov_ignores_the_scale_of_a_loss() -> None:
    methods = [build("cov", 2), build("cov", 2)]
    for loss in (1.0, 0.8, 0.9, 0.4):
        tell_losses(methods[0], [loss, 1 - loss / 2])
        tell_losses(methods[1], [1000 * loss, 1 - loss / 2])
    assert_close(*(weights(method, [1.0, 1.0]) for method in methods))


def test_igb_v1_is_the_softmax_of_loss_over_base_loss_upon_log_losses() -> None:
    method = build("igb_v1", 2)
    for epoch, losses in enumerate([(9.0, 9.0), (1.0, 4.0), (0.5, 3.0)]):
        tell_losses(method, losses, [loss + 2 for loss in losses], epoch=epoch)
    gap_T = torch.tensor([1.0 / 2, 2.0 / 5])  # means of the second epoch: 2 and 5
    assert_close(weights(method, [1.0, 2.0]), 2 * gap_T.softmax(0) / torch.tensor([1.0, 2.0]))


def test_igb_v1_is_the_sum_of_log_losses_until_the_base_epoch_is_over() -> None:
    method = build("igb_v1", 3)
    tell_losses(method, LOSSES, epoch=0)
    tell_losses(method, LOSSES, epoch=1)
    assert_close(weights(method, LOSSES), weights(build("log", 3), LOSSES))


def test_go4align_gives_a_group_the_mean_of_its_weights() -> None:
    """Losses 1, 1, 4 have scales 6, 6, 3/2; with no history every task has a share of 1/3."""
    losses = [1.0, 1.0, 4.0]
    assert_close(
        weights(build("go4align", 3, step_size=0.0), losses), torch.tensor([2.0, 2.0, 0.5])
    )
    one = weights(build("go4align", 3, groups=1, step_size=0.0), losses)
    assert_close(one, torch.full((3,), 1.5))


def test_go4align_multiplies_shares_by_the_exponential_of_past_losses() -> None:
    method = build("go4align", 2, step_size=0.1)
    tell_losses(method, [1.0, 3.0], [2.0, 1.0])
    share_T = (-0.1 * torch.tensor([1.0 + 2.0 + 4.0, 3.0 + 1.0 + 2.0])).softmax(0)
    assert_close(weights(method, [4.0, 2.0]), share_T * 6 / torch.tensor([4.0, 2.0]))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=5),
    st.integers(min_value=1, max_value=3),
)
def test_groups_are_the_best_of_all_clusterings(values: list[float], groups: int) -> None:
    values_N = torch.tensor(values, dtype=torch.float64)

    def error(labels: Sequence[int]) -> float:
        labels_N = torch.tensor(labels)
        parts = [values_N[labels_N == label] for label in set(labels)]
        return float(sum((part - part.mean()).square().sum() for part in parts))

    best = min(error(labels) for labels in itertools.product(range(groups), repeat=len(values)))
    means_N = group_means(values_N, groups)
    assert means_N.unique().numel() <= groups
    assert_close(float((values_N - means_N).square().sum()), best, atol=1e-6, rtol=1e-6)


def test_coba_slows_down_the_task_that_converges_faster() -> None:
    """Straight lines of slopes -0.1 and -0.2: RCS decides alone, by exp(-2/3) to exp(-4/3)."""
    method = build("coba", 2, window=4)
    tell_losses(method, *([3 - 0.3 * step, 1 - 0.2 * step] for step in range(4)))
    expected_T = 2 * torch.tensor([-2 / 3, -4 / 3]).softmax(0)
    assert_close(weights(method, [1.0, 1.0]), expected_T)


def test_coba_turns_away_from_a_task_that_diverges() -> None:
    method = build("coba", 2, window=10)
    tell_losses(method, *([1 - 0.05 * step, 1 - 0.05 * step] for step in range(10)))
    assert_close(weights(method, [1.0, 1.0]), torch.ones(2))
    tell_losses(method, *([0.5 - 0.01 * step, 0.5 + 0.1 * step] for step in range(6)))
    first, second = weights(method, [1.0, 1.0])
    assert first > 1 > second


def test_coba_starts_with_equal_weights_and_ignores_scales() -> None:
    methods = [build("coba", 2, window=6), build("coba", 2, window=6)]
    curve = [1.0, 0.8, 0.7, 0.65, 0.5, 0.52, 0.3]
    for step, loss in enumerate(curve):
        tell_losses(methods[0], [loss, loss**2])
        tell_losses(methods[1], [1000 * loss, loss**2])
        if step < 2:
            assert weights(methods[0], [1.0, 1.0]).tolist() == [1.0, 1.0]
    assert_close(*(weights(method, [1.0, 1.0]) for method in methods))
    assert_close(weights(methods[0], [1.0, 1.0]).sum(), torch.tensor(2.0))


def test_random_draws_once_per_step_and_anew_for_the_next() -> None:
    method = build("random", 3)

    def weigh(*tasks: int) -> Tensor:
        return method.weigh(torch.tensor(tasks), torch.ones(len(tasks)))

    whole_T = weigh(0, 1, 2)
    assert_close(torch.cat([weigh(1), weigh(0, 2)]), whole_T[[1, 0, 2]])
    assert_close(method.finish(), whole_T)
    assert (weigh(0, 1, 2) - whole_T).abs().min() > 0


def test_random_weights_are_one_on_average() -> None:
    torch.manual_seed(0)
    method = build("random", 2)
    drawn = [method.objective(torch.tensor([1.0, 0.0])) for _ in range(2000)]
    assert_close(torch.stack(drawn).mean(), torch.tensor(1.0), atol=0.05, rtol=0)
