"""Affinities on losses whose values after a step are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from polytask.analysis.transference import affinity, first_order, from_looks, lookahead, rate
from polytask.analysis.uncertainty import matrix_record
from tests.unit.test_interference import make_observer
from tests.unit.test_step import ROWS, make_batch, values

CENTRES = torch.tensor([[1.0, 0.0], [1.0, 1.0], [-2.0, 0.0]])


def quadratic(point: Tensor) -> Tensor:
    """Half the squared distances to three centres."""
    return (point - CENTRES).square().sum(1) / 2


def test_the_rate_lowers_the_own_losses_by_a_hundredth() -> None:
    gramian = torch.diag(torch.tensor([4.0, 1.0]))
    losses = torch.tensor([2.0, 1.0])
    chosen = rate(losses, gramian)
    assert np.mean([chosen * 4 / 2, chosen * 1 / 1]) == pytest.approx(0.01)


def test_affinities_of_quadratic_losses() -> None:
    gradients = -CENTRES  # at the origin
    losses = quadratic(torch.zeros(2))
    gramian = gradients @ gradients.T
    chosen = rate(losses, gramian)
    after = torch.stack([quadratic(-chosen * gradient) for gradient in gradients], dim=1)
    exact = affinity(losses, after)
    curvature = chosen**2 * gramian.diagonal() / 2 / losses[:, None]
    assert exact == pytest.approx(first_order(losses, gramian) - curvature.numpy(), abs=1e-6)
    assert exact[0, 1] > 0 > exact[0, 2]
    assert exact[0, 2] != pytest.approx(exact[2, 0])


def test_a_lookahead_is_a_step_that_is_undone() -> None:
    observer = make_observer()
    before = values(observer.model)
    exact, first = lookahead(observer, [make_batch(ROWS)])
    for name, tensor in values(observer.model).items():
        assert torch.equal(tensor, before[name])
    assert exact.diagonal().mean() == pytest.approx(0.01, abs=0.002)
    assert first.diagonal().mean() == pytest.approx(0.01)
    assert exact == pytest.approx(first, abs=0.003)


def test_what_is_absent_is_not_known() -> None:
    exact, first = lookahead(make_observer(), [make_batch([r for r in ROWS if r[2] is None])])
    for found in (exact, first):
        assert np.isfinite(found).tolist() == [[True, False], [False, False]]


def test_looks_during_a_training_give_the_same_as_gradients() -> None:
    observer = make_observer()
    record = observer.look([make_batch(ROWS)])
    [found] = from_looks([record], ["kind", "amount"])
    assert found == pytest.approx(lookahead(observer, [make_batch(ROWS)])[1], rel=1e-3, abs=1e-6)


def test_means_pass_over_what_is_not_known() -> None:
    found = matrix_record([np.array([[1.0, np.nan]]), np.array([[3.0, np.nan]])])
    assert found == {"mean": [[2.0, None]], "error": [[1.0, None]], "samples": [[2, 0]]}
