"""An architecture over an encoder, and a head per task or per shared head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from polytask.core.batch import Batch, Targets
from polytask.core.collated import Collated
from polytask.core.errors import RecipeError
from polytask.modeling import MultiTaskModel
from polytask.sharing import architectures
from polytask.tasks import Task, tasks
from tests.fakes import Cells

WIDTH = 3


def classification(name: str, labels: Sequence[str] = ("no", "yes"), **options: Any) -> Task:
    task = tasks.build({"kind": "classification", "dropout": 0, **options}, name)
    task.fit(labels)
    return task


def regression(name: str, **options: Any) -> Task:
    task = tasks.build({"kind": "regression", "dropout": 0, **options}, name)
    task.fit([-1.0, 1.0])
    return task


def make(*made: Task, sharing: str = "hard") -> MultiTaskModel:
    torch.manual_seed(0)
    encoder = Cells()
    encoder.fit([(0.0,) * WIDTH])
    return MultiTaskModel(
        architectures.build(sharing, encoder, [task.name for task in made]),
        {task.name: task for task in made},
    )


def batch(targets: Mapping[str, tuple[list[int], list[float]]], size: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(0)
    inputs = Collated(
        numbers=torch.randn(size, WIDTH, generator=generator),
        known=torch.ones(size, WIDTH, dtype=torch.long),
    )
    return Batch(
        inputs,
        {
            task: Targets(torch.tensor(rows), torch.tensor(values))
            for task, (rows, values) in targets.items()
        },
        size,
    )


def test_every_task_is_scored_for_its_rows_only() -> None:
    model = make(classification("mood"), regression("stars"))
    whole = batch({})
    rows = {"mood": torch.tensor([0, 2, 3]), "stars": torch.tensor([1])}
    scores = model(whole.inputs, rows)
    assert scores["mood"].shape == (3, 2)
    assert scores["stars"].shape == (1, 1)
    everything = model(whole.inputs, dict.fromkeys(model.tasks, torch.arange(4)))
    for task, rows_b in rows.items():
        assert_close(scores[task], everything[task][rows_b])


def test_losses_are_those_of_the_tasks_present_in_their_order() -> None:
    model = make(classification("mood"), regression("stars"), classification("topic"))
    losses = model.losses(batch({"topic": ([0], [1]), "mood": ([1, 2], [0, 1])}))
    assert [*losses] == ["mood", "topic"]
    for loss in losses.values():
        assert loss.shape == ()
        assert loss.requires_grad


def test_tasks_that_name_the_same_head_share_it() -> None:
    model = make(*(classification(name, head="stance") for name in ("war", "tax")))
    assert [*model.heads] == ["stance"]
    inputs, rows_b = batch({}).inputs, torch.arange(4)
    scores = model(inputs, {"war": rows_b, "tax": rows_b})
    assert_close(scores["war"], scores["tax"])


def test_a_task_may_name_another_task_to_share_its_head() -> None:
    model = make(classification("war"), classification("tax", head="war"))
    assert [*model.heads] == ["war"]
    apart = make(classification("war"), classification("tax"))
    head = sum(p.numel() for p in apart.heads["tax"].parameters())
    assert sum(p.numel() for p in model.parameters()) == (
        sum(p.numel() for p in apart.parameters()) - head
    )


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (
            classification("tax", labels=["maybe", "no"], head="stance"),
            "labels maybe, no here, no, yes there",
        ),
        (classification("tax", hidden=5, head="stance"), "hidden 5 here, none there"),
        (regression("tax", head="stance"), "kind regression here, classification there"),
    ],
    ids=["labels", "options", "kind"],
)
def test_tasks_that_do_not_fit_one_head_are_refused(other: Task, difference: str) -> None:
    with pytest.raises(RecipeError) as caught:
        make(classification("war", head="stance"), other)
    [mistake] = caught.value.mistakes
    assert mistake.startswith("tasks.tax.head: cannot share head 'stance' with task 'war'")
    assert difference in mistake
    assert "{" not in mistake


def test_the_partition_is_the_map_of_parameters_and_tasks() -> None:
    model = make(
        classification("war", head="stance"), classification("tax", head="stance"),
        regression("stars"),
    )  # fmt: skip
    labels: dict[str, tuple[list[int], list[float]]] = {
        "war": ([0], [1]), "tax": ([1], [0]), "stars": ([2], [0.5])
    }  # fmt: skip
    partition = model.partition(batch(labels))
    assert partition.tasks_of["sharing.encoder.columns"] == ("war", "tax", "stars")
    for name, reached_by in partition.tasks_of.items():
        if name.startswith("heads.stance"):
            assert reached_by == ("war", "tax")
        if name.startswith("heads.stars"):
            assert reached_by == ("stars",)
    assert partition.unreached == []
    assert {*map(id, partition.shared), *map(id, partition.private)} == set(
        map(id, model.trainable().values())
    )


def test_looking_for_the_partition_leaves_no_trace() -> None:
    model = make(classification("mood", dropout=0.5))
    state = torch.get_rng_state()
    model.partition(batch({"mood": ([0, 1], [1, 0])}))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_frozen_parameters_are_not_trainable_and_in_no_partition() -> None:
    model = make(classification("mood"))
    model.sharing.requires_grad_(False)
    assert all(name.startswith("heads.") for name in model.trainable())
    partition = model.partition(batch({"mood": ([0], [1])}))
    assert set(partition.tasks_of) == set(model.trainable())
    assert not partition.shared


def test_nothing_is_shared_between_independent_tasks() -> None:
    model = make(classification("mood"), regression("stars"), sharing="independent")
    partition = model.partition(batch({"mood": ([0], [1]), "stars": ([1], [0.5])}))
    assert not partition.shared
    assert all(len(reached_by) == 1 for reached_by in partition.tasks_of.values())


def test_parameters_come_back() -> None:
    model, other = (make(classification("mood"), regression("stars")) for _ in range(2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    other.load_state_dict(model.state_dict())
    rows = dict.fromkeys(model.tasks, torch.arange(4))
    inputs = batch({}).inputs
    assert_close(other(inputs, rows), model(inputs, rows))
