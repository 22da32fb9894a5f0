"""Several texts in a sequence: the same features, losses and gradients as in rows of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from polytask.balancing import balancers
from polytask.core.batch import Batch, Targets
from polytask.core.collated import Collated
from polytask.core.encoder import Encoder
from polytask.core.errors import RecipeError
from polytask.core.features import Features
from polytask.core.packing import first_fit, make_attention_mask, make_position_ids, pack
from polytask.core.prompts import LEARNED, Prompt
from polytask.encoders import encoders
from polytask.modeling import MultiTaskModel
from polytask.sharing import architectures
from polytask.tasks import tasks

GPT2 = {"model_type": "gpt2", "n_layer": 2, "n_embd": 16, "n_head": 2, "n_positions": 64}
LLAMA = {
    "model_type": "llama", "num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2,
    "intermediate_size": 16,
}  # fmt: skip
NAMES = ["one", "two", "three"]
TEXTS = ["a", "a b c d e f", "b c", "d e f a", "c", "f e d c b a f", "a a", "b"]


def encoder_of(packing: bool, config: dict[str, Any] = GPT2, max_length: int = 32) -> Encoder:
    torch.manual_seed(0)
    options = {"config": config, "max_length": max_length, "vocabulary": 300, "dropout": 0}
    encoder = encoders.build({"kind": "huggingface", "packing": packing, **options}, ())
    encoder.fit([(text,) for text in TEXTS])
    return encoder


def model_of(
    packing: bool, sharing: str, config: dict[str, Any] = GPT2, max_length: int = 32
) -> MultiTaskModel:
    encoder = encoder_of(packing, config, max_length)
    made = {name: tasks.build({"kind": "instruction", "max_tokens": 4}, name) for name in NAMES}
    model = MultiTaskModel(architectures.build(sharing, encoder, NAMES), made)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model


def batch_of(encoder: Encoder) -> Batch:
    rows = encoder.prepare([(Prompt(text, f" {text} b"),) for text in TEXTS])
    targets = {}
    for place, name in enumerate(NAMES):
        rows_b = torch.arange(place, len(TEXTS), len(NAMES))
        targets[name] = Targets(rows_b, torch.tensor([sum(rows[row][LEARNED]) for row in rows_b]))
    return Batch(encoder.collate(rows), targets, len(rows))


def losses_and_gradients(model: MultiTaskModel) -> tuple[list[Tensor], list[Tensor]]:
    losses = model.losses(batch_of(model.sharing.encoder_of("one")))
    parameters = [*model.trainable().values()]
    total = torch.stack([*losses.values()]).sum()
    found: Sequence[Tensor | None] = torch.autograd.grad(total, parameters, allow_unused=True)
    return [*losses.values()], [g for g in found if g is not None]


def seen(model: MultiTaskModel) -> list[Sequence[int]]:
    """The shapes of what the encoder reads."""
    shapes: list[Sequence[int]] = []

    def hook(_module: Any, inputs: Any) -> None:
        shapes.append(tuple(inputs[0]["ids"].shape))

    for name in NAMES:
        model.sharing.encoder_of(name).register_forward_pre_hook(hook)
    losses_and_gradients(model)
    return shapes


def test_the_longest_go_first_into_the_first_that_has_room() -> None:
    lengths = [3, 7, 2, 5, 4, 9, 1]
    assert first_fit([0, 1, 2, 3, 4, 6], lengths, 8) == [[1, 6], [3, 0], [4, 2]]
    assert first_fit([5, 6], lengths, 8) == [[5], [6]]


def test_places_start_anew_and_attention_ends_at_each_text() -> None:
    parts_SM = torch.tensor([[0, 0, 0, 1, 1, 2], [0, 1, 1, -1, -1, -1]])
    assert make_position_ids(parts_SM)[:, :3].tolist() == [[0, 1, 2], [0, 0, 1]]
    assert make_position_ids(parts_SM)[0].tolist() == [0, 1, 2, 0, 1, 0]
    assert make_attention_mask(parts_SM)[0, 4].tolist() == [False, False, False, True, True, False]
    assert make_attention_mask(parts_SM)[0, 1].tolist() == [True, True, False, False, False, False]


@pytest.mark.parametrize("apart", [False, True])
def test_every_text_is_in_one_sequence_and_comes_back(apart: bool) -> None:
    lengths_N = torch.tensor([3, 1, 4, 1, 5, 2])
    ids_NL = torch.arange(30).view(6, 5)
    rows = {"x": torch.tensor([0, 2, 4]), "y": torch.tensor([1, 4, 5])}
    packed = pack(Collated(ids=ids_NL, lengths=lengths_N), rows, 8, apart=apart)
    ids_SM1 = packed.inputs["ids"].unsqueeze(-1)
    for task, texts_n in rows.items():
        own = Features(ids_SM1, ids_SM1.squeeze(-1) >= 0).select(packed.rows[task])
        found = packed.features(own, task, texts_n)
        for at, text in enumerate(texts_n.tolist()):
            kept = found.tokens_BLD[at, :, 0][found.mask_BL[at]]
            assert kept.tolist() == ids_NL[text, : lengths_N[text]].tolist()
    if apart:
        both = set(packed.rows["x"].tolist()) & set(packed.rows["y"].tolist())
        assert both == {int(packed.sequence_N[4])}


@pytest.mark.parametrize("sharing", ["hard", "lora", "task_lora", "mtl_lora", "independent"])
@pytest.mark.parametrize("config", [GPT2, LLAMA], ids=["gpt2", "llama"])
@pytest.mark.parametrize("apart", [False, True])
def test_packed_losses_and_gradients_are_those_of_rows(
    sharing: str, config: dict[str, Any], apart: bool
) -> None:
    packed, padded = model_of(True, sharing, config), model_of(False, sharing, config)
    packed.tasks_apart = apart
    for one, other in zip(losses_and_gradients(packed), losses_and_gradients(padded), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_tasks_meet_in_a_sequence_where_nothing_keeps_them_apart() -> None:
    counts = {}
    for sharing, apart in [("lora", False), ("lora", True), ("task_lora", False)]:
        model = model_of(True, sharing, max_length=64)
        model.tasks_apart = apart
        [shape] = set(seen(model))
        counts[sharing, apart] = shape[0]
    assert counts == {("lora", False): 2, ("lora", True): 3, ("task_lora", False): 3}
    [(count, _)] = set(seen(model_of(False, "lora")))
    assert count == len(TEXTS)


def test_texts_are_packed_in_training_only() -> None:
    model = model_of(True, "hard").eval()
    [shape] = set(seen(model))
    assert shape[0] == len(TEXTS)


@pytest.mark.parametrize("kind", ["pcgrad", "mgda"])
def test_task_gradients_are_the_same(kind: str) -> None:
    gradients = []
    for packing in (True, False):
        model = model_of(packing, "hard")
        batch = batch_of(model.sharing.encoder_of("one"))
        partition = model.partition(batch)
        balancer = balancers.build(kind, len(NAMES))
        balancer.attach(model)
        losses = [*model.losses(batch).values()]
        balancer.backward(losses, partition, rows=[*model.lines(batch).values()])
        gradients.append([p.grad for p in model.trainable().values() if p.grad is not None])
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_labels_of_words_stay_with_their_words() -> None:
    losses = []
    for packing in (True, False):
        encoder = encoder_of(packing)
        task = tasks.build({"kind": "tagging", "scheme": "none", "dropout": 0}, "tags")
        labels = [["x" if word in "ace" else "y" for word in text.split()] for text in TEXTS]
        task.fit(labels)
        torch.manual_seed(0)
        model = MultiTaskModel(architectures.build("hard", encoder, ["tags"]), {"tags": task})
        rows = encoder.prepare([(text.split(),) for text in TEXTS])
        values = task.collate([task.encode(*pair) for pair in zip(labels, rows, strict=True)])
        targets = {"tags": Targets(torch.arange(len(rows)), values)}
        losses.append(model.losses(Batch(encoder.collate(rows), targets, len(rows)))["tags"])
    torch.testing.assert_close(*losses)


def test_a_model_that_reads_in_both_directions_is_refused() -> None:
    bert = {
        "model_type": "bert",
        "num_hidden_layers": 1,
        "hidden_size": 16,
        "num_attention_heads": 2,
    }
    made = {"topic": tasks.build({"kind": "classification", "labels": ["a", "b"]}, "topic")}
    made["topic"].fit(["a", "b"])
    with pytest.raises(RecipeError, match=r"encoder.packing: is for models that read from left"):
        MultiTaskModel(architectures.build("hard", encoder_of(True, bert), ["topic"]), made)


def test_sharing_that_adds_tokens_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"encoder.packing: this sharing does not keep texts"):
        model_of(True, "prompt")


def test_a_model_that_takes_no_places_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"encoder.packing: a bloom takes no positions"):
        encoder_of(True, {"model_type": "bloom", "n_layer": 1, "hidden_size": 16, "n_head": 2})
