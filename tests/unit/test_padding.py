"""A row means the same alone and beside a longer one, or the model is refused."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from polytask.core.encoder import Encoder
from polytask.core.errors import RecipeError
from polytask.core.features import Features
from polytask.encoders import encoders
from polytask.modeling import MultiTaskModel
from polytask.sharing import architectures
from polytask.tasks import tasks

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 32,
    "embedding_size": 32,
    "d_model": 32,
    "d_ff": 32,
    "d_kv": 16,
    "d_inner": 32,
    "d_head": 16,
    "num_layers": 2,
    "num_heads": 2,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "state_size": 8,
    "block_sizes": [1, 1],
    "max_position_embeddings": 128,
}
UNPADDED = {"fnet", "convbert", "nystromformer", "yoso"}
"""Types whose layers mix padding into the tokens."""
REFUSED = {"funnel", "clip", "reformer", "xmod"}
PADDED = {
    *("albert", "bart", "bert", "big_bird", "deberta", "deberta-v2", "distilbert", "electra"),
    *("gpt2", "llama", "longformer", "mamba", "modernbert", "mpnet", "qwen2", "roberta"),
    *("roformer", "squeezebert", "t5", "xlm", "xlm-roberta", "xlnet"),
}
TEXTS = ["", "a cat", "a", "the dog sat on the mat and looked at the cat for a while", "a cat"]


@cache
def fitted(kind: str) -> Encoder:
    default = transformers.AutoConfig.for_model(kind)
    known = {*default.to_dict(), *default.attribute_map}
    meant = {default.attribute_map.get(name) for name in SIZES}
    chosen = {name: value for name, value in SIZES.items() if name in known and name not in meant}
    options = {"config": {"model_type": kind, **chosen}, "vocabulary": 300, "max_length": 64}
    torch.manual_seed(0)
    encoder = encoders.build({"kind": "huggingface", **options}, ())
    encoder.fit([(text,) for text in TEXTS])
    return encoder.eval()


def model_of(encoder: Encoder, sharing: str = "hard") -> MultiTaskModel:
    options: dict[str, dict[str, Any]] = {
        "prompt": {"length": 2},
        "deep_prompt": {"length": 2},
        "tree": {"branches": {0: [["x"], ["y"]]}},
    }
    torch.manual_seed(0)
    built = architectures.build(
        {"kind": sharing, **options.get(sharing, {})}, copy.deepcopy(encoder), ["x", "y"]
    )
    return MultiTaskModel(
        built, {name: tasks.build({"kind": "regression", "target": "n"}, name) for name in "xy"}
    ).eval()


@torch.no_grad()
def features(model: MultiTaskModel, encoder: Encoder, fields: list[Any]) -> dict[str, Features]:
    inputs = encoder.collate(encoder.prepare([(field,) for field in fields]))
    every = torch.arange(len(fields))
    return model.features(inputs, {"x": every, "y": every[1:] if len(every) > 1 else every})


def assert_alone_as_together(model: MultiTaskModel, encoder: Encoder) -> None:
    together = features(model, encoder, TEXTS)
    for row, text in enumerate(TEXTS):
        alone = features(model, encoder, [text])
        for task, first in {"x": 0, "y": 1}.items():
            if row >= first:
                found, expected = together[task], alone[task]
                vectors_LD = found.tokens_BLD[row - first][found.mask_BL[row - first]]
                torch.testing.assert_close(
                    vectors_LD, expected.tokens_BLD[0][expected.mask_BL[0]], rtol=1e-3, atol=1e-4
                )


@pytest.mark.parametrize("kind", sorted(UNPADDED | PADDED))
def test_a_row_has_the_same_features_alone_and_together(kind: str) -> None:
    encoder = fitted(kind)
    assert encoder.pads == (kind not in UNPADDED)
    assert_alone_as_together(model_of(encoder), encoder)


@pytest.mark.parametrize("kind", sorted(REFUSED))
def test_what_cannot_encode_a_short_text_is_refused_in_words(kind: str) -> None:
    with pytest.raises(RecipeError, match=r"encoder(\.config)?: .*"):
        fitted(kind)


@pytest.mark.parametrize("sharing", architectures.kinds())
def test_architectures_keep_it_so(sharing: str) -> None:
    encoder = fitted("fnet")
    assert_alone_as_together(model_of(encoder, sharing), encoder)


def test_words_stay_where_they_are() -> None:
    encoder = fitted("fnet")
    found = features(model_of(encoder), encoder, [["a", "cat"], ["a"], ["the", "dog", "sat"]])
    expected = encoder.collate(
        encoder.prepare([(["a", "cat"],), (["a"],), (["the", "dog", "sat"],)])
    )
    assert found["x"].words_BW is not None
    assert torch.equal(found["x"].words_BW, expected["words"])
    assert found["x"].mask_BL.shape == expected["ids"].shape


def test_a_restored_encoder_is_tried_as_well(tmp_path: Path) -> None:
    encoder = fitted("fnet")
    encoder.save(tmp_path)
    restored = encoders.build(
        {"kind": "huggingface", "config": {"model_type": "fnet"}, "max_length": 64}, ()
    )
    restored.restore(tmp_path)
    assert not restored.pads


def test_a_trial_leaves_no_trace() -> None:
    torch.manual_seed(3)
    fitted.cache_clear()
    encoder = fitted("big_bird")
    assert encoder.training is False
    model: Any = encoder.model
    assert model.attention_type == "block_sparse"
