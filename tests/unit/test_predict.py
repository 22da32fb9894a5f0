"""Predictions do not depend on how rows are put into batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import polytask
from polytask.build.pools import evaluation_pool
from polytask.build.trained import TrainedModel
from polytask.build.views import views_of_any
from polytask.data.sources import sources
from polytask.recipe import load

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


@pytest.mark.parametrize("task", [None, "stars"])
def test_vectors_are_the_means_of_tokens_of_rows_alone(tmp_path: Path, task: str | None) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    run = polytask.train(path, tmp_path / "run")
    recipe = load(run.recipe)
    trained = TrainedModel.load(recipe, run)
    rows = sources.build({"kind": "rows", "rows": [{"text": text} for text in TEXTS]}, ()).load()
    [view] = views_of_any(recipe, "new")
    pool = evaluation_pool(view, rows["all"], trained.encoder, tmp_path)
    vectors_ND = trained.predictor.vectors(pool, task)
    assert vectors_ND.shape == (len(TEXTS), 16)
    model = trained.predictor.model.eval()
    for text, vector_D in zip(TEXTS, vectors_ND, strict=True):
        inputs = trained.encoder.collate(trained.encoder.prepare([(text,)]))
        with torch.no_grad():
            features = model.sharing(inputs, {"stars": torch.tensor([0])})["stars"]
        mean_D = features.tokens_BLD[0][features.mask_BL[0]].numpy().mean(0)
        np.testing.assert_allclose(vector_D, mean_D, rtol=1e-4, atol=1e-5)
