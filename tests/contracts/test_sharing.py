"""Properties of every architecture over every encoder. A new one is covered by being registered.

Over encoders that read no texts, an architecture has the same properties, or refuses them.
"""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from polytask.core.batch import Fields
from polytask.core.collated import Collated
from polytask.core.encoder import Encoder
from polytask.core.errors import RecipeError
from polytask.core.features import Features
from polytask.core.partition import Partition, find_partition
from polytask.encoders import encoders
from polytask.sharing import Architecture, architectures
from tests.contracts.input_rows import STRANGERS, collate, forms_of, new, rows_of
from tests.fakes import Bytes

pytestmark = pytest.mark.covering
TEXTS = ["a", "b c d", "e f g h i j", "k l", "m n o p q"]
ROWS = {"x": torch.tensor([0, 2, 3]), "y": torch.tensor([1, 2]), "z": torch.tensor([4])}
NARROW = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16}
DECODERS: dict[str, dict[str, Any]] = {
    "gpt2": {"model_type": "gpt2", **NARROW, "max_position_embeddings": 64},
    "llama": {"model_type": "llama", **NARROW, "intermediate_size": 24},
}
WITHOUT_LAYERS = "bytes"
OPTIONS: dict[str, dict[str, Any]] = {"prompt": {"length": 2}, "deep_prompt": {"length": 2}}
"""Of architectures that cannot be built without any; the encoders here read 16 tokens at most."""
OPTIONS_OF_TASKS: dict[str, Callable[[list[str]], dict[str, Any]]] = {
    "tree": lambda tasks: {"branches": {0: [each for each in (tasks[:1], tasks[1:]) if each]}}
}
"""Of those whose options name all tasks."""


def rows_for(encoder: str) -> list[Fields]:
    """Return five rows that an encoder reads."""
    if encoder in DECODERS or encoder == WITHOUT_LAYERS or "text" in forms_of(encoder):
        return [(text,) for text in TEXTS]
    return rows_of(encoder, forms_of(encoder)[0])[: len(TEXTS)]


@cache
def _fitted(kind: str) -> Encoder:
    torch.manual_seed(0)
    if kind == WITHOUT_LAYERS:
        encoder: Encoder = Bytes()
    elif kind in DECODERS:
        options = {"config": DECODERS[kind], "vocabulary": 400, "max_length": 16}
        encoder = encoders.build({"kind": "huggingface", **options}, ())
    else:
        encoder = new(kind, forms_of(kind)[0])
    encoder.fit(rows_for(kind))
    return encoder.eval()


def new_encoder(kind: str) -> Encoder:
    return copy.deepcopy(_fitted(kind))


def new_architecture(
    kind: str, encoder: str, tasks: Mapping[str, Tensor] = ROWS, seed: int = 0
) -> Architecture:
    named = OPTIONS_OF_TASKS[kind](list(tasks)) if kind in OPTIONS_OF_TASKS else {}
    options = {"kind": kind, **OPTIONS.get(kind, {}), **named}
    base = new_encoder(encoder)
    torch.manual_seed(seed)
    return architectures.build(options, base, list(tasks)).eval()


@pytest.fixture(params=[*encoders.kinds(), *DECODERS, WITHOUT_LAYERS, *STRANGERS])
def encoder(request: pytest.FixtureRequest) -> str:
    """Of those that read no texts, pictures and sounds have layers, and cells has none."""
    return str(request.param)


@pytest.fixture(params=architectures.kinds())
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@cache
def refusal(kind: str, encoder: str) -> str | None:
    """Return why an architecture refuses an encoder; None if it does not."""
    try:
        new_architecture(kind, encoder)
    except RecipeError as refused:
        return str(refused)
    return None


@pytest.fixture(autouse=True)
def _works_or_says_what_it_needs(kind: str, encoder: str) -> None:
    if encoder in STRANGERS and (found := refusal(kind, encoder)):
        assert found.startswith("sharing")
        assert "Choose an encoder that" in found
        pytest.skip(found)


@pytest.fixture
def architecture(kind: str, encoder: str) -> Architecture:
    """One that has been trained a little, so that tasks differ."""
    built = new_architecture(kind, encoder)
    disturb(built)
    return built


@torch.no_grad()
def disturb(architecture: Architecture) -> None:
    for parameter in architecture.parameters():
        if parameter.requires_grad:
            parameter.add_(0.1 * torch.randn_like(parameter))
    for module in architecture.modules():
        if isinstance(module, torch.nn.Embedding) and module.padding_idx is not None:
            module.weight[module.padding_idx] = 0


def inputs_of(encoder: str, *positions: int) -> Collated:
    ready, rows = _fitted(encoder), rows_for(encoder)
    return collate(ready, ready.prepare([rows[position] for position in positions]))


def everything(encoder: str) -> Collated:
    return inputs_of(encoder, *range(len(TEXTS)))


def real_tokens(features: Features) -> Tensor:
    return features.tokens_BLD[features.mask_BL]


def losses(
    architecture: Architecture, encoder: str, rows: Mapping[str, Tensor] = ROWS
) -> dict[str, Tensor]:
    found = architecture(everything(encoder), rows)
    return {task: features.mean_BD.square().sum() for task, features in found.items()}


def partition(architecture: Architecture, encoder: str) -> Partition:
    """Each task alone: in a batch of several the graph of one leads to the parameters of all."""
    alone = {
        task: losses(architecture, encoder, {task: rows_b})[task] for task, rows_b in ROWS.items()
    }
    trained = {name: p for name, p in architecture.named_parameters() if p.requires_grad}
    return find_partition(alone, trained)


def test_every_task_gets_the_features_of_its_rows(architecture: Architecture, encoder: str) -> None:
    found = architecture(everything(encoder), ROWS)
    expected = _fitted(encoder)(everything(encoder))
    tokens_B = expected.mask_BL.sum(1)
    assert list(found) == list(ROWS)
    for task, features in found.items():
        assert features.tokens_BLD.shape[-1] == architecture.width_of(task)
        assert features.tokens_BLD.shape[:2] == features.mask_BL.shape
        assert features.tokens_BLD.isfinite().all()
        assert features.mask_BL.sum(1).tolist() == tokens_B[ROWS[task]].tolist()
        assert type(features.layout) is type(expected.layout)


def test_it_is_freed_with_its_last_reference(kind: str, encoder: str) -> None:
    """Not only when the garbage collector comes round: many models may be trained in a row."""
    built = new_architecture(kind, encoder)
    torch.stack([*losses(built, encoder).values()]).sum().backward()
    modules = [weakref.ref(module) for module in built.modules()]
    gc.disable()
    try:
        del built
        assert [left for module in modules if (left := module()) is not None] == []
    finally:
        gc.enable()


def test_a_deep_copy_is_a_model_of_its_own(architecture: Architecture, encoder: str) -> None:
    """Averages of weights are kept in deep copies, for one."""
    copied = copy.deepcopy(architecture)
    before, alike = (made(everything(encoder), ROWS) for made in (architecture, copied))
    disturb(copied)
    after, apart = (made(everything(encoder), ROWS) for made in (architecture, copied))
    for task in ROWS:
        assert torch.equal(real_tokens(alike[task]), real_tokens(before[task]))
        assert torch.equal(real_tokens(after[task]), real_tokens(before[task]))
        assert not torch.equal(real_tokens(apart[task]), real_tokens(before[task]))


def test_a_mixed_batch_equals_separate_batches(architecture: Architecture, encoder: str) -> None:
    mixed = architecture(everything(encoder), ROWS)
    for task, rows_b in ROWS.items():
        alone = architecture(
            inputs_of(encoder, *rows_b.tolist()), {task: torch.arange(len(rows_b))}
        )
        assert_close(real_tokens(mixed[task]), real_tokens(alone[task]))


def test_row_order_changes_nothing(architecture: Architecture, encoder: str) -> None:
    order = [4, 2, 0, 3, 1]
    rows = {"x": torch.arange(5)}
    forward = architecture(everything(encoder), rows)["x"]
    shuffled = architecture(inputs_of(encoder, *order), rows)["x"]
    for place, row in enumerate(order):
        assert_close(shuffled.mean_BD[place], forward.mean_BD[row])


def test_every_parameter_is_trained_and_every_task_trains_some(
    architecture: Architecture, encoder: str
) -> None:
    """What no task reaches is reached by the architecture's own term."""
    found = partition(architecture, encoder)
    assert {task for tasks in found.tasks_of.values() for task in tasks} == set(ROWS)
    architecture.train()
    losses(architecture, encoder)
    term = architecture.penalty()
    missing = [architecture.get_parameter(name) for name in found.unreached]
    if missing:
        assert term is not None, found.unreached
        torch.autograd.grad(term, missing)


def test_private_parameters_get_nothing_from_other_tasks(
    architecture: Architecture, encoder: str
) -> None:
    """Also in a batch of several tasks, where the graph leads there."""
    parameters = dict(architecture.named_parameters())
    private = {
        name: tasks[0]
        for name, tasks in partition(architecture, encoder).tasks_of.items()
        if len(tasks) == 1
    }
    for task, loss in losses(architecture, encoder).items():
        others = [parameters[name] for name, owner in private.items() if owner != task]
        for parameter in others:
            [found] = torch.autograd.grad(
                loss, [parameter], retain_graph=True, materialize_grads=True
            )
            assert not found.any()


def test_an_absent_task_leaves_what_is_its_own_alone(
    architecture: Architecture, encoder: str
) -> None:
    parameters = dict(architecture.named_parameters())
    owners = partition(architecture, encoder).tasks_of
    present = {task: rows_b for task, rows_b in ROWS.items() if task != "y"}
    torch.stack([*losses(architecture, encoder, present).values()]).sum().backward()
    for name in [name for name, tasks in owners.items() if tasks == ("y",)]:
        assert parameters[name].grad is None, name


def test_state_survives_a_round_trip(kind: str, encoder: str, architecture: Architecture) -> None:
    again = new_architecture(kind, encoder, seed=7)
    again.load_state_dict(architecture.state_dict())
    before = architecture(everything(encoder), ROWS)
    for task, features in again(everything(encoder), ROWS).items():
        assert_close(features.tokens_BLD, before[task].tokens_BLD)


@pytest.mark.parametrize("tasks", [["x", "y", "z"], ["x"]], ids=["three tasks", "one task"])
def test_it_starts_as_the_encoder(kind: str, encoder: str, tasks: list[str]) -> None:
    """So one task is that task alone."""
    rows = {task: ROWS[task] for task in tasks}
    built = new_architecture(kind, encoder, rows)
    plain = new_encoder(encoder)(everything(encoder))
    for task, features in built(everything(encoder), rows).items():
        if built.starts_as_encoder:
            expected = real_tokens(plain.select(ROWS[task]))
            assert_close(real_tokens(features), expected)


def test_tasks_differ_after_training_unless_all_is_shared(kind: str, encoder: str) -> None:
    """Two tasks on the same rows read different features exactly where they have parameters apart."""
    built = new_architecture(kind, encoder)
    disturb(built)
    rows = dict.fromkeys(ROWS, torch.arange(len(TEXTS)))
    found = built(everything(encoder), rows)
    apart = not torch.equal(real_tokens(found["x"]), real_tokens(found["y"]))
    owners = partition(built, encoder).tasks_of.values()
    assert apart or all(len(tasks) != 1 for tasks in owners)


@pytest.mark.parametrize("encoder", ["transformer", "pictures"], indirect=True)
def test_it_can_be_exported(architecture: Architecture, encoder: str) -> None:
    """As one graph in which every task reads every row."""

    class All(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.architecture = architecture

        def forward(self, inputs: Collated) -> list[Tensor]:
            rows_B = torch.arange(inputs.size)
            found = self.architecture(inputs, dict.fromkeys(ROWS, rows_B))
            return [features.tokens_BLD for features in found.values()]

    inputs = everything(encoder)
    model = All().eval()
    with torch.no_grad():
        program = torch.export.export(model, (inputs,), strict=False)
        for found, expected in zip(program.module()(inputs), model(inputs), strict=True):
            assert_close(found, expected)
