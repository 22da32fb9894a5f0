"""Every architecture in every format: it exports and answers alike, or is refused, as docs/export.md says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import polytask
from polytask.core.errors import RunError
from polytask.exports.export import FORMATS
from polytask.sharing import architectures
from tests.end_to_end.exported import assert_alike
from tests.end_to_end.files import reviews, write_experiment
from tests.thinning import every

PAGE = Path(__file__).parents[2] / "docs" / "export.md"
RECIPE = """\
data:
  shop: {kind: jsonl, train: train.jsonl, validation: validation.jsonl, test: test.jsonl}
encoder:
  kind: huggingface
  vocabulary: 300
  config: {model_type: bert, hidden_size: 16, num_hidden_layers: 2, num_attention_heads: 2,
    intermediate_size: 32, max_position_embeddings: 256}
sharing: SHARING
tasks:
  mood: {kind: classification, target: mood, pool: first}
  stars: {kind: regression, target: stars, pool: first}
training: {steps: 1, batch_rows: 8, precision: fp32, threads: 1, device: cpu}
evaluation: {bootstrap: 0}
"""
OPTIONS = {"tree": "{kind: tree, branches: {1: [[mood], [stars]]}}"}


def documented() -> dict[str, dict[str, bool]]:
    """Return what the page says of each architecture: whether each format holds it."""
    rows = re.findall(
        r"^\| `(\w+)` \| (yes|no) \| (yes|no) \|$", PAGE.read_text("utf-8"), re.MULTILINE
    )
    return {
        kind: dict(zip(FORMATS, (one == "yes" for one in own), strict=True)) for kind, *own in rows
    }


def test_the_page_names_every_architecture() -> None:
    assert [*documented()] == sorted(architectures.kinds())


@pytest.mark.slow
@pytest.mark.parametrize("kind", every(16, architectures.kinds()))
def test_the_page_is_right(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    files = {"train": reviews(8), "validation": reviews(4, 100), "test": reviews(4, 200)}
    recipe = write_experiment(tmp_path, RECIPE.replace("SHARING", OPTIONS.get(kind, kind)), files)
    run = polytask.train(recipe, tmp_path / "run").path
    for to, possible in documented()[kind].items():
        if possible:
            out = polytask.export(run, tmp_path / to, to)
        else:
            with pytest.raises(RunError, match=kind) as refused:
                polytask.export(run, tmp_path / to, to)
            assert "polytask serve" in str(refused.value)
            assert not list(tmp_path.glob(f"*{to}*"))
        if possible and to == "onnx":
            rows = [{"text": " ".join([row["text"]] * n)} for n, row in enumerate(reviews(5, 300))]
            assert_alike([*polytask.predict(out, rows)], [*polytask.predict(run, rows)])
