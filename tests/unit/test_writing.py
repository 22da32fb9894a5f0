"""Texts written from what an encoder remembers are those written by reading all tokens again."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from polytask.core.errors import RecipeError
from polytask.core.prompts import Prompt
from polytask.encoders import encoders
from polytask.modeling import MultiTaskModel
from polytask.sharing import architectures
from polytask.tasks import tasks
from polytask.tasks.incremental_decoding import remembers
from tests.contracts.test_sharing import OPTIONS
from tests.fakes import causal
from tests.unit.test_packing import GPT2, LLAMA, TEXTS, encoder_of

APART = {"tree"}
"""Architectures that cannot be built without the names of tasks."""
FITTING = [
    kind
    for kind in architectures.kinds()
    if kind not in APART and architectures.part(kind).mixes != "row"
]


def model_of(sharing: str, config: dict[str, Any] = GPT2, **options: Any) -> MultiTaskModel:
    encoder = encoder_of(False, config)
    made = {"one": tasks.build({"kind": "instruction", "max_tokens": 6, **options}, "one")}
    built = architectures.build({"kind": sharing, **OPTIONS.get(sharing, {})}, encoder, ["one"])
    model = MultiTaskModel(built, made).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def written(model: MultiTaskModel) -> list[str]:
    encoder = model.sharing.encoder_of("one")
    inputs = encoder.collate(encoder.prepare([(Prompt(text, room=6),) for text in TEXTS]))
    with torch.inference_mode():
        scores = model(inputs, {"one": torch.arange(len(TEXTS))})["one"]
    return model.tasks["one"].decode(scores, [(text,) for text in TEXTS]).labels


def remembered(model: MultiTaskModel) -> bool:
    encoder = model.sharing.encoder_of("one")
    inputs = encoder.collate(encoder.prepare([(Prompt(text, room=6),) for text in TEXTS]))
    return remembers(lambda own: model._encode("one", own), inputs, causal(encoder).kv_cache)


@pytest.mark.parametrize("sharing", FITTING)
def test_remembering_changes_no_text(sharing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(sharing)
    found = written(model)
    monkeypatch.setattr("polytask.tasks.completion_head.remembers", lambda *_: False)
    assert found == written(model)
    assert len(set(found)) > 1


@pytest.mark.parametrize("options", [{"beam": 3}, {"temperature": 0.8}], ids=str)
def test_nor_does_it_for_several_texts_of_a_row_or_drawn_ones(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of("task_lora", LLAMA, **options)
    found = written(model)
    monkeypatch.setattr("polytask.tasks.completion_head.remembers", lambda *_: False)
    assert found == written(model)


@pytest.mark.parametrize("sharing", ["hard", "lora", "task_lora", "mtl_lora", "independent"])
@pytest.mark.parametrize("config", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_what_reads_each_token_by_itself_is_remembered(
    sharing: str, config: dict[str, Any]
) -> None:
    assert remembered(model_of(sharing, config))


def test_nothing_is_remembered_of_tokens_that_stand_in_front() -> None:
    assert not remembered(model_of("prompt"))


def test_encoders_without_memory_read_again() -> None:
    encoder = encoders.build({"kind": "transformer", "causal": True, "layers": 1}, ())
    with causal(encoder).kv_cache() as memory:
        assert memory is None


def test_sharing_that_lets_tokens_see_the_next_is_refused() -> None:
    with pytest.raises(RecipeError, match="this sharing lets it be seen before"):
        model_of("pal")
