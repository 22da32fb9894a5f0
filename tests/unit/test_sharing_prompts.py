"""Learned tokens: what they are in front of, and that the text keeps its place."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from polytask.core.capabilities import TokenTable
from polytask.core.collated import Collated
from polytask.core.errors import RecipeError
from polytask.core.features import Features, TextLayout
from polytask.sharing import architectures
from polytask.sharing.deep_prompt import DeepPrompt
from polytask.sharing.prompt_base import PromptArchitecture, add_room, remove_room, replace_first
from tests.contracts.test_sharing import ROWS, everything, new_encoder
from tests.fakes import table_of

INPUTS = Collated(
    {
        "ids": torch.tensor([[5, 6, 7, 8], [9, 4, 0, 0]]),
        "segments": torch.tensor([[0, 0, 1, 1], [0, 0, 0, 0]]),
        "lengths": torch.tensor([4, 2]),
        "words": torch.tensor([[0, 3], [1, -1]]),
    }
)


def build(kind: str, encoder: str, **options: Any) -> PromptArchitecture:
    torch.manual_seed(0)
    built = architectures.build({"kind": kind, **options}, new_encoder(encoder), list(ROWS)).eval()
    assert isinstance(built, PromptArchitecture)
    return built


def test_room_is_made_of_copies_of_the_first_token() -> None:
    longer = add_room(INPUTS, 2, None)
    assert longer["ids"].tolist() == [[5, 5, 5, 6, 7, 8], [9, 9, 9, 4, 0, 0]]
    assert longer["segments"].tolist() == [[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0]]
    assert longer["lengths"].tolist() == [6, 4]
    assert longer["words"].tolist() == [[2, 5], [3, -1]]


def test_the_end_of_a_text_makes_room_where_there_are_no_more_positions() -> None:
    longer = add_room(INPUTS, 2, 5)
    assert longer["ids"].tolist() == [[5, 5, 5, 6, 7], [9, 9, 9, 4, 0]]
    assert longer["lengths"].tolist() == [5, 4]
    assert longer["words"].tolist() == [[2, -1], [3, -1]]


def test_features_are_those_of_the_text() -> None:
    longer = add_room(INPUTS, 2, None)
    mask_BL = torch.arange(6) < longer["lengths"].unsqueeze(1)
    features = Features(torch.arange(12.0).view(2, 6, 1), mask_BL, TextLayout(longer["words"]))
    kept = remove_room(features, 2, longer)
    assert kept.tokens_BLD.squeeze(-1).tolist() == [[2, 3, 4, 5], [8, 9, 10, 11]]
    assert kept.mask_BL.sum(1).tolist() == INPUTS["lengths"].tolist()
    assert kept.words_BW is not None
    assert torch.equal(kept.words_BW, INPUTS["words"])


@torch.no_grad()
def test_a_prompt_is_in_front_of_the_word_vectors() -> None:
    built = build("prompt", "huggingface", length=3)
    inputs = everything("huggingface")
    model: Any = built.encoder.get_submodule("model")
    found = built(inputs, {"y": torch.arange(5)})["y"].tokens_BLD
    plain = new_encoder("huggingface")
    words_BLD = table_of(plain)(inputs["ids"])
    given_BLD = torch.cat([built.prompts["y"].expand(5, -1, -1), words_BLD], 1)
    mask_BL = torch.arange(given_BLD.shape[1]) < 3 + inputs["lengths"].unsqueeze(1)
    model = plain.get_submodule("model")
    expected = model(inputs_embeds=given_BLD, attention_mask=mask_BL.long()).last_hidden_state
    real_BL = mask_BL[:, 3:]
    assert_close(found[real_BL], expected[:, 3:][real_BL], rtol=1e-4, atol=1e-5)


def test_each_layer_reads_learned_tokens_of_its_own() -> None:
    built = build("deep_prompt", "transformer", length=2)
    assert isinstance(built, DeepPrompt)
    read: list[Tensor] = []
    for layer in built.encoder.layers:
        layer.register_forward_pre_hook(lambda _, given: read.append(given[0][:, :2]))
    built(everything("transformer"), {"x": torch.arange(5), "z": torch.arange(5)})
    [vectors] = built.deep
    expected = torch.cat([vectors.get_parameter(t).expand(5, -1, -1) for t in ("x", "z")])
    assert_close(read[1], expected)
    assert not torch.equal(read[0], read[1])


def test_prompts_start_as_vectors_of_words() -> None:
    built = build("prompt", "bilstm", length=2)
    table_ND = table_of(built.encoder).weight
    for prompt_PD in built.prompts.values():
        assert torch.cdist(prompt_PD, table_ND).min(1).values.max() < 1e-3


@pytest.mark.parametrize("kind", ["prompt", "deep_prompt"])
def test_a_prompt_must_leave_room(kind: str) -> None:
    with pytest.raises(RecipeError, match=r"16 learned tokens leave no room .* at most 16 tokens"):
        build(kind, "transformer", length=16)


@pytest.mark.parametrize("encoder", ["transformer", "huggingface"])
def test_texts_as_long_as_can_be_are_read(encoder: str) -> None:
    built = build("prompt", encoder, length=4)
    ready = built.encoder
    assert isinstance(ready, TokenTable)
    assert ready.max_tokens is not None
    longest = ready.max_tokens
    inputs = Collated(ids=torch.full((2, longest), 5), lengths=torch.tensor([longest, 3]))
    found = built(inputs, {"x": torch.arange(2)})["x"]
    assert found.mask_BL.sum(1).tolist() == [longest - 4, 3]


def test_vectors_take_the_first_places() -> None:
    hidden, vectors = torch.zeros(1, 3, 2), torch.ones(1, 2, 2)
    assert replace_first(vectors, hidden)[0].tolist() == [[1, 1], [1, 1], [0, 0]]
