"""What every architecture must do. A new one is covered by being registered."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from polytask.core.encoder import Encoder
from polytask.core.features import Features
from polytask.core.partition import find_partition
from polytask.sharing import Architecture, architectures
from tests.fakes import Bytes

TEXTS = ["a", "bcd", "efghij", "kl", "mnopq"]
ROWS = {"x": torch.tensor([0, 2, 3]), "y": torch.tensor([1, 2]), "z": torch.tensor([4])}


def new_encoder() -> Encoder:
    torch.manual_seed(0)
    encoder = Bytes()
    encoder.fit(())
    return encoder


def inputs_of(*positions: int) -> dict[str, Tensor]:
    encoder = new_encoder()
    return encoder.collate(encoder.prepare([(TEXTS[position],) for position in positions]))


def real_tokens(features: Features) -> Tensor:
    return features.tokens_BLD[features.mask_BL]


def losses(architecture: Architecture, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = architecture(inputs_of(*range(len(TEXTS))), rows)
    return {task: features.mean_BD.square().sum() for task, features in found.items()}


@pytest.fixture(params=architectures.kinds())
def architecture(request: pytest.FixtureRequest) -> Architecture:
    torch.manual_seed(0)
    return architectures.build(request.param, new_encoder(), list(ROWS)).eval()


def test_every_task_gets_the_features_of_its_rows(architecture: Architecture) -> None:
    found = architecture(inputs_of(*range(len(TEXTS))), ROWS)
    assert list(found) == list(ROWS)
    for task, features in found.items():
        assert features.tokens_BLD.shape[0] == len(ROWS[task])
        assert features.tokens_BLD.shape[-1] == architecture.encoder_of(task).width
        lengths = [len(TEXTS[row]) for row in ROWS[task]]
        assert features.mask_BL.sum(1).tolist() == lengths


def test_a_mixed_batch_equals_separate_batches(architecture: Architecture) -> None:
    mixed = architecture(inputs_of(*range(len(TEXTS))), ROWS)
    for task, rows_b in ROWS.items():
        everything = torch.arange(len(rows_b))
        alone = architecture(inputs_of(*rows_b.tolist()), {task: everything})[task]
        assert_close(real_tokens(mixed[task]), real_tokens(alone))


def test_row_order_changes_nothing(architecture: Architecture) -> None:
    order = [4, 2, 0, 3, 1]
    forward = architecture(inputs_of(*range(5)), {"x": torch.arange(5)})["x"]
    shuffled = architecture(inputs_of(*order), {"x": torch.arange(5)})["x"]
    for place, row in enumerate(order):
        assert_close(shuffled.mean_BD[place], forward.mean_BD[row])


def test_every_parameter_is_reached_and_private_ones_by_their_task_alone(
    architecture: Architecture,
) -> None:
    partition = find_partition(losses(architecture, ROWS), dict(architecture.named_parameters()))
    assert partition.unreached == []
    reached = {task for tasks in partition.tasks_of.values() for task in tasks}
    assert reached == set(ROWS)


def test_an_absent_task_reaches_nothing_of_its_own(architecture: Architecture) -> None:
    parameters = dict(architecture.named_parameters())
    everyone = find_partition(losses(architecture, ROWS), parameters)
    present = {task: rows_b for task, rows_b in ROWS.items() if task != "y"}
    torch.stack([*losses(architecture, present).values()]).sum().backward()
    for name, tasks in everyone.tasks_of.items():
        if tasks == ("y",):
            assert parameters[name].grad is None, name


def test_state_survives_a_round_trip(architecture: Architecture) -> None:
    kind = next(k for k in architectures.kinds() if architectures.part(k) is type(architecture))
    torch.manual_seed(7)
    again = architectures.build(kind, new_encoder(), list(ROWS)).eval()
    again.load_state_dict(architecture.state_dict())
    everything = inputs_of(*range(len(TEXTS)))
    for task, features in architecture(everything, ROWS).items():
        assert_close(again(everything, ROWS)[task].tokens_BLD, features.tokens_BLD)


def test_one_task_is_that_task_alone(architecture: Architecture) -> None:
    """With one task an architecture of shared features has the features of the plain encoder."""
    kind = next(k for k in architectures.kinds() if architectures.part(k) is type(architecture))
    alone = architectures.build(kind, new_encoder(), ["x"]).eval()
    features = alone(inputs_of(*range(5)), {"x": torch.arange(5)})["x"]
    assert_close(real_tokens(features), real_tokens(new_encoder()(inputs_of(*range(5)))))
