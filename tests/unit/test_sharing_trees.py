"""Private layers and trees: known values."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from polytask.core.errors import RecipeError
from polytask.sharing import Architecture
from polytask.sharing.branching import run_once
from polytask.sharing.copies import side_by_side
from tests.contracts import test_sharing as contract
from tests.contracts.test_sharing import ROWS, disturb, everything, new_encoder
from tests.unit.test_sharing_columns import build, network_of, same

SHARED_TWICE = {"x": torch.tensor([0, 2, 3]), "y": torch.tensor([0, 2, 3, 4])}
"""More places than rows."""
PARTED: dict[str, dict[str, Any]] = {
    "hard": {"shared_layers": 1},
    "tree": {"branches": {0: [["z", "x"], ["y"]], 1: [["y"], ["x"], ["z"]]}},
    "tree above": {"branches": {1: [["x", "z"], ["y"]]}},
}
WITH_LAYERS = ["bilstm", "transformer", "huggingface", "gpt2", "llama"]


@pytest.fixture(params=WITH_LAYERS)
def encoder(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=PARTED)
def parted(request: pytest.FixtureRequest, encoder: str) -> Any:
    made = build(request.param.split()[0], encoder, **PARTED[request.param])
    disturb(made)
    return made


def test_private_layers_keep_the_contract(parted: Architecture, encoder: str) -> None:
    contract.test_every_task_gets_the_features_of_its_rows(parted, encoder)
    contract.test_a_mixed_batch_equals_separate_batches(parted, encoder)
    contract.test_row_order_changes_nothing(parted, encoder)
    contract.test_every_parameter_is_trained_and_every_task_trains_some(parted, encoder)
    contract.test_private_parameters_get_nothing_from_other_tasks(parted, encoder)
    contract.test_an_absent_task_leaves_what_is_its_own_alone(parted, encoder)


def test_rows_of_several_tasks_give_what_they_give_alone(
    parted: Architecture, encoder: str
) -> None:
    found = parted(everything(encoder), SHARED_TWICE)
    for task, rows_b in SHARED_TWICE.items():
        same({task: found[task]}, parted(everything(encoder), {task: rows_b}))


def test_private_layers_start_as_the_encoder(encoder: str) -> None:
    plain = new_encoder(encoder)(everything(encoder))
    found = build("hard", encoder, shared_layers=1)(everything(encoder), ROWS)
    same(found, {task: plain.select(rows_b) for task, rows_b in ROWS.items()})


def test_rows_of_several_tasks_go_through_shared_layers_once() -> None:
    """And through private ones once for each task that reads them."""
    seen: dict[str, int] = {}

    def see(name: str, _module: nn.Module, arguments: Any) -> None:
        seen[name] = len(arguments[0])

    made = build("hard", shared_layers=1)
    for place, layer in enumerate(made.encoder.layers):
        for task, each in layer.copies.items():
            each.register_forward_pre_hook(
                lambda module, given, name=f"{place}/{task}": see(name, module, given)
            )
    made(everything("transformer"), SHARED_TWICE)
    assert seen == {"0/shared": 5, "1/x": 3, "1/y": 4}


@pytest.mark.parametrize("encoder", ["transformer", "bytes"], indirect=True)
def test_no_shared_layer_is_a_network_of_layers_for_each_task(encoder: str) -> None:
    """Embeddings and what is above the layers are shared still."""
    made = build("hard", encoder, shared_layers=0)
    disturb(made)
    found = made(everything(encoder), ROWS)
    for task, rows_b in ROWS.items():
        alone = new_encoder(encoder)
        alone.load_state_dict(network_of(made, task))
        same({task: found[task]}, {task: alone(everything(encoder)).select(rows_b)})


@pytest.mark.parametrize("encoder", ["transformer", "bytes"], indirect=True)
def test_a_tree_of_one_branch_is_hard_sharing(encoder: str) -> None:
    made, hard = build("tree", encoder, branches={0: [["z", "x", "y"]]}), build("hard", encoder)
    disturb(made)
    hard.load_state_dict(made.state_dict())
    same(made(everything(encoder), ROWS), hard(everything(encoder), ROWS))


def test_a_tree_of_leaves_is_private_layers(encoder: str) -> None:
    leaves = [["x"], ["y"], ["z"]]
    made = build("tree", encoder, branches={1: leaves})
    hard = build("hard", encoder, shared_layers=1)
    disturb(made)
    hard.load_state_dict(made.state_dict())
    same(made(everything(encoder), ROWS), hard(everything(encoder), ROWS))


def test_a_branch_is_reached_by_its_tasks() -> None:
    made = build("tree", **PARTED["tree"])
    owners = contract.partition(made, "transformer").tasks_of
    readers = {
        tuple(name.split(".")[2:5:2]): tasks for name, tasks in owners.items() if "copies" in name
    }
    assert readers == {
        ("0", "z"): ("x", "z"),
        ("0", "y"): ("y",),
        ("1", "x"): ("x",),
        ("1", "y"): ("y",),
        ("1", "z"): ("z",),
    }


def test_more_layers_than_there_are_cannot_be_shared() -> None:
    with pytest.raises(RecipeError, match=r"sharing.shared_layers: 3, but the encoder has 2"):
        build("hard", shared_layers=3)


@pytest.mark.parametrize(
    ("branches", "message"),
    [
        ({0: [["x", "y"]]}, "branches.0: task 'z' is in no group"),
        ({0: [["x", "y"], ["z", "w"]]}, "branches.0: no task is called 'w'. The tasks are x, y, z"),
        ({0: [["x", "y"], ["z", "y"]]}, "branches.0: task 'y' is in 2 groups"),
        ({2: [["x", "y"], ["z"]]}, "branches.2: the encoder has 2 layers; branch after 1 at most"),
        (
            {0: [["x", "y"], ["z"]], 1: [["x"], ["y", "z"]]},
            "branches.1: y, z are not together before",
        ),
    ],
)
def test_what_is_no_tree_is_refused(branches: dict[int, list[list[str]]], message: str) -> None:
    with pytest.raises(RecipeError) as refused:
        build("tree", branches=branches)
    [mistake] = refused.value.mistakes
    assert message in mistake


def test_what_copies_give_once_is_given_to_each_of_their_rows() -> None:
    class Bias(nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.value = value

        def forward(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return hidden + self.value, torch.full((1, 1), self.value)

    hidden, bias = side_by_side([Bias(1.0), Bias(2.0)], [2, 1], (torch.zeros(3, 1),), {})
    assert hidden.flatten().tolist() == [1.0, 1.0, 2.0]
    assert bias.flatten().tolist() == [1.0, 1.0, 2.0]


@pytest.mark.parametrize("named", [False, True])
def test_a_table_as_long_as_the_batch_is_whole_for_every_copy(named: bool) -> None:
    """A matrix of positions, as wide as hidden states; a mask of the rows is another matter."""

    class Positions(nn.Module):
        def forward(self, hidden: torch.Tensor, table: Any, mask: Any) -> torch.Tensor:
            assert table.tolist() == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
            assert mask.shape == (len(hidden), 4)
            return hidden

    hidden, table, mask = torch.zeros(3, 4, 2), torch.arange(6.0).view(3, 2), torch.ones(3, 4)
    given: Any = (
        ((hidden,), {"table": table, "mask": mask}) if named else ((hidden, table, mask), {})
    )
    side_by_side([Positions(), Positions()], [2, 1], *given)
    run_once(Positions(), torch.tensor([2, 1]), torch.tensor([1, 1, 0]), *given)
