"""Scores of tokens equal those of the causal language models of transformers, for every architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from polytask.core.errors import RecipeError
from polytask.encoders import encoders
from polytask.encoders.huggingface import HuggingFaceEncoder
from polytask.encoders.output_scores import OutputScores, new_output_scores
from polytask.tasks import tasks

KINDS = [
    kind
    for kind, config in transformers.CONFIG_MAPPING.items()
    if config in transformers.MODEL_FOR_CAUSAL_LM_MAPPING
]
SIZES: dict[str, Any] = {
    **dict.fromkeys(
        ("hidden_size", "d_model", "n_embd", "dim", "embedding_size", "word_embed_proj_dim"), 32
    ),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), 2),
    **dict.fromkeys(("decoder_layers", "encoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("decoder_attention_heads", "num_key_value_heads", "num_kv_heads"), 4),
    **dict.fromkeys(("intermediate_size", "n_inner", "ffn_dim", "decoder_ffn_dim", "dff"), 64),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 64),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx"), 64),
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), 400),
    **dict.fromkeys(("head_dim", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"), 8),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "mamba_d_head"), 16),
    "hidden_size_per_layer_input": 8, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1,
    "rotary_dim": 4, "mamba_n_heads": 4, "mamba_expand": 2, "time_step_rank": 4, "state_size": 8,
    "ssm_state_size": 8, "conv_kernel": 4, "expand": 2,
    "logits_scaling": 8.0, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
"""Small sizes, by the names that configurations have for them."""
NOT_SMALL = {
    "audio, images or several models in one": (
        "emu3", "fuyu", "gemma3", "gemma3n", "gemma4", "gemma4_assistant", "gemma4_unified",
        "gemma4_unified_assistant", "git", "got_ocr2", "llama4", "mllama", "moss_transcribe_diarize",
        "musicgen", "musicgen_melody", "phi4_multimodal", "qwen3_5", "qwen3_5_moe", "qwen4_exp",
        "dots3_note", "whisper", "trocr", "blt",
    ),
    "sizes that depend on each other in a way of their own": (
        "cohere_compass_text", "dbrx", "dots1", "falcon_h1", "gemma3n_text", "gpt_neo", "kimi_linear",
        "lfm2_moe", "llama4_text", "mamba2", "mimo_v2_flash", "reformer", "roc_bert", "xmod", "zamba",
        "zamba2", "zaya",
    ),
    "an encoder beside the decoder": (
        "bart", "bigbird_pegasus", "blenderbot", "blenderbot-small", "marian", "mbart", "mvp",
        "pegasus", "plbart", "prophetnet",
    ),
}  # fmt: skip
"""Architectures without a small configuration by these sizes, and why."""
EXPECTED = sorted({*KINDS} - {kind for kinds in NOT_SMALL.values() for kind in kinds})
SOME = ["cohere", "gemma2", "gpt2", "gptj", "granite", "llama", "modernbert-decoder", "opt", "phi"]


def small_config(kind: str) -> Any:
    """Return the configuration of a small model."""
    default = transformers.AutoConfig.for_model(kind)
    known = {*default.to_dict(), *default.attribute_map}
    sizes = {name: value for name, value in SIZES.items() if name in known}
    config = transformers.AutoConfig.for_model(kind, **sizes)
    config.architectures, config.is_decoder, config.dtype = [], True, torch.float32
    return config


def small_model(kind: str) -> Any:
    """Return a small model with random parameters, biases among them."""
    torch.manual_seed(0)
    model: Any = transformers.AutoModelForCausalLM.from_config(small_config(kind)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def assert_equal_scores(found: Tensor, expected: Tensor) -> None:
    assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


def test_all_architectures_are_known() -> None:
    listed = {kind for kinds in NOT_SMALL.values() for kind in kinds}
    assert listed <= {*KINDS}
    assert {*SOME} <= {*EXPECTED}


@pytest.mark.parametrize(
    "kind",
    [kind if kind in SOME else pytest.param(kind, marks=pytest.mark.full) for kind in EXPECTED],
)
@torch.inference_mode()
def test_scores_are_those_of_the_library(kind: str) -> None:
    model = small_model(kind)
    ids = torch.randint(3, 90, (1, 7))
    expected = model(input_ids=ids, use_cache=False).logits[0]
    features = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0]
    assert_equal_scores(OutputScores(model)(features), expected)


PRODUCTS = ("gpt2", "llama", "opt")


@pytest.mark.parametrize("kind", SOME)
def test_only_what_is_no_product_is_computed_by_the_library(kind: str) -> None:
    config = small_config(kind)
    before = torch.random.get_rng_state()
    table = torch.nn.Embedding(400, 32)
    torch.random.set_rng_state(before)
    scores = new_output_scores(config, table, None, ())
    assert (scores is None) == (kind in PRODUCTS)
    assert torch.equal(torch.random.get_rng_state(), before)
    if scores is not None and config.tie_word_embeddings:
        assert scores.output.weight is table.weight


def saved(kind: str, folder: Path) -> Any:
    """Save a small model with a tokenizer of words; return the model."""
    model = small_model(kind)
    model.save_pretrained(folder)
    fresh = encoders.build(
        {"kind": "huggingface", "config": {"model_type": "gpt2", "n_embd": 8, "n_head": 2, "n_layer": 1},
         "vocabulary": 300, "max_length": 8}, ()
    )  # fmt: skip
    fresh.fit([("a b c d",)])
    assert isinstance(fresh, HuggingFaceEncoder)
    fresh.tokenizer.save_pretrained(folder)
    return model


@pytest.mark.parametrize("kind", SOME)
def test_a_pretrained_model_scores_as_it_did(kind: str, tmp_path: Path) -> None:
    model = saved(kind, tmp_path)
    encoder = encoders.build({"kind": "huggingface", "path": str(tmp_path), "max_length": 8}, ())
    encoder.fit([])
    head: Any = tasks.build({"kind": "instruction", "max_tokens": 4}, "ask").head(encoder.width)
    head.bind(encoder)
    ids = torch.randint(3, 90, (1, 7))
    with torch.inference_mode():
        features = encoder({"ids": ids, "lengths": torch.tensor([7])}).tokens_BLD[0]
        assert_equal_scores(head.logits(features), model(input_ids=ids).logits[0])
    shared = {id(parameter) for parameter in encoder.parameters()}
    assert {id(parameter) for parameter in head.parameters()} <= shared


def test_a_decoder_that_cannot_be_told_from_its_output_is_refused() -> None:
    config = transformers.AutoConfig.for_model("llama4_text")
    with pytest.raises(RecipeError, match=r"encoder: .*llama4_text"):
        new_output_scores(config, torch.nn.Embedding(9, 4), None, ())
