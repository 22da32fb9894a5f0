"""How the gradients of tasks agree: known values, and a look changes nothing."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from polytask.analysis.interference import aggregate
from polytask.core.errors import RecipeError
from polytask.modeling.layers import layers_of
from polytask.training.interference import (
    InterferenceLog,
    Observer,
    agreement,
    check_observable,
)
from polytask.training.observation_schedule import Affordable, Regular, estimate_first_observation
from polytask.training.options import TrainingOptions
from tests.unit.test_step import ROWS, make_batch, make_model, values

LABELLED = [row for row in ROWS if None not in row]


def make_observer() -> Observer:
    model = make_model()
    partition = model.partition(make_batch(LABELLED))
    return Observer(model, partition, torch.device("cpu"), contextlib.nullcontext)


def test_cosines_of_known_gradients() -> None:
    gradients = torch.tensor([[3.0, 4.0], [-4.0, 3.0], [-6.0, -8.0], [0.0, 0.0]])
    found = agreement(gradients @ gradients.T)
    assert found["norm"] == [5.0, 5.0, 10.0, 0.0]
    assert found["cosine"][0] == [1.0, 0.0, -1.0, None]
    assert found["cosine"][3] == [None] * 4


def test_a_look_sees_what_autograd_gives() -> None:
    observer = make_observer()
    record = observer.look([make_batch(ROWS[:4]), make_batch(ROWS[4:])])
    rows = {}
    for task in ("kind", "amount"):
        loss = observer.model.losses(make_batch(ROWS))[task]
        pieces = torch.autograd.grad(loss, [*observer.partition.shared])
        rows[task] = torch.cat([piece.flatten() for piece in pieces])
        assert record["losses"][task] == pytest.approx(float(loss.detach()), rel=1e-5)
    stacked = torch.stack([*rows.values()])
    assert_close(torch.tensor(record["gramian"]), stacked @ stacked.T, rtol=1e-4, atol=1e-6)
    cosine = torch.cosine_similarity(rows["kind"], rows["amount"], dim=0)
    assert record["layers"]["all"]["cosine"][0][1] == pytest.approx(float(cosine), abs=1e-4)


def test_a_task_without_rows_is_left_out() -> None:
    record = make_observer().look([make_batch([row for row in ROWS if row[2] is None])])
    assert record["tasks"] == ["kind"]
    assert record["layers"]["all"]["cosine"] == [[1.0]]


def test_a_look_changes_nothing() -> None:
    observer = make_observer()
    before, state = values(observer.model), torch.get_rng_state()
    observer.look([make_batch(ROWS)])
    assert torch.equal(state, torch.get_rng_state())
    for name, tensor in values(observer.model).items():
        assert torch.equal(tensor, before[name])
    assert all(parameter.grad is None for parameter in observer.model.parameters())


def test_only_some_steps_are_looked_at(tmp_path: Path) -> None:
    log = InterferenceLog(make_observer(), Regular(3), tmp_path / "looks.jsonl")
    for step in range(1, 8):
        log.before(step, [make_batch(ROWS)])
    lines = (tmp_path / "looks.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [3, 6]


@pytest.mark.parametrize("look", [0.01, 3.0, 20.0])
@pytest.mark.parametrize("first", [1, 10, 1000])
def test_looks_cost_a_twentieth_of_the_steps_that_pay_for_them(look: float, first: int) -> None:
    seconds, looks = 0.0, []
    pace = Affordable(first, lambda: seconds)
    for step in range(101, 3001):  # a training that is gone on with
        if pace.is_due(step):
            seconds += look
            pace.record_end(step)
            looks.append(step)
        seconds += 0.5
    assert looks[0] == 101 + first
    paid = {after - before for before, after in itertools.pairwise(looks)}
    assert paid <= {max(1, math.ceil(look / (0.05 * 0.5)))}


def test_a_first_look_waits_longer_where_it_will_cost_more() -> None:
    apart = [(name,) for name in "abcdefgh"]
    assert (
        estimate_first_observation([("a",)])
        < estimate_first_observation(apart[:2])
        < estimate_first_observation(apart)
    )
    assert (
        estimate_first_observation([("a",)])
        < estimate_first_observation([("a", "b")])
        < estimate_first_observation([(*"abcd",)])
    )


@pytest.mark.parametrize("option", ["compile", "shard"])
def test_what_cannot_be_looked_at_is_refused(option: str) -> None:
    with pytest.raises(RecipeError, match=f"training.interference.*training.{option}"):
        check_observable(TrainingOptions.model_validate({option: True, "interference": "auto"}))


def test_every_parameter_is_in_a_layer() -> None:
    model = make_model()
    layers = layers_of(model)
    assert layers.keys() == dict(model.named_parameters()).keys()
    assert layers["sharing.encoder.columns"] == "encoder"


def test_looks_are_put_together() -> None:
    def record(step: int, cosine: float | None) -> dict[str, object]:
        layer = {"cosine": [[1.0, cosine], [cosine, 1.0]]}
        return {"step": step, "tasks": ["a", "b"], "layers": {"all": layer, "top": layer}}

    found = aggregate([record(1, 0.5), record(2, -0.1), record(3, None)], ["a", "b"], "training")
    [pair] = found["layers"]["top"]
    assert pair["cosine"] == pytest.approx(0.2)
    assert pair["error"] == pytest.approx(0.3 / math.sqrt(1))
    assert (pair["conflict"], pair["looks"]) == (0.5, 2)
    assert found["over_time"]["pairs"][0]["cosine"] == [0.5, -0.1, None]
