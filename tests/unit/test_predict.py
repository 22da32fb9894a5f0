"""Predictions do not depend on how rows are put into batches."""

from __future__ import annotations

from pathlib import Path

import pytest

import polytask

RECIPE = """
data: {reviews: {kind: synthetic, size: 60, validation: 20, test: 20}}
encoder: {kind: transformer, vocabulary: 300, layers: 1, width: 16, heads: 2, feed_forward: 32}
tasks:
  sentiment: {kind: classification, target: sentiment}
  stars: {kind: regression, target: stars}
training: {epochs: 1, batch_rows: 16, precision: fp32}
"""
TEXTS = ["good", "the coat is warm but the delivery was slow", "bad and late", "fine " * 12]


def test_batches_change_no_prediction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    run = polytask.train(recipe, tmp_path / "run")
    rows = [{"text": text} for text in TEXTS]
    together = polytask.predict(run.path, rows)
    monkeypatch.setattr("polytask.evaluation.predict._CACHED", 1)
    for one, other in zip(together, polytask.predict(run.path, rows), strict=True):
        assert one["sentiment"]["label"] == other["sentiment"]["label"]
        assert one["stars"]["label"] == pytest.approx(other["stars"]["label"], abs=1e-5)
