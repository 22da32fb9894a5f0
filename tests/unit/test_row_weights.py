"""A row with weight 2 is a row that is there twice, one with weight 0 is left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import pytest
import torch
from torch.testing import assert_close

from polytask.assembly.data.loading import load_data
from polytask.assembly.run.training_parts import fit_parts, training_parts
from polytask.core.batch import Batch
from polytask.core.errors import DataError, RecipeError
from polytask.core.run_folder import RunFolder
from polytask.data.loader import Loader
from polytask.recipe import Recipe, load
from polytask.training.session import Parts
from tests.unit.test_step import ROWS, Rows, make_batch, make_model, make_stepper, values

Weights: TypeAlias = list[tuple[int, int]]
WEIGHTS: Weights = [(2, 1), (1, 3), (1, 1), (3, 1), (1, 1), (1, 1), (2, 2), (1, 1)]
"""How many times each row counts for ``kind`` and for ``amount``."""


def weighted(rows: Rows = ROWS, weights: Weights = WEIGHTS) -> Batch:
    batch = make_batch(rows)
    weights_BT = torch.tensor(weights, dtype=torch.float)
    for place, name in enumerate(("kind", "amount")):
        if name in batch.targets:
            own = batch.targets[name]
            batch.targets[name] = replace(own, weights_b=weights_BT[own.rows_b, place])
    return batch


def repeated(rows: Rows, weights: Weights) -> Batch:
    return make_batch(
        [
            (cells, kind if copy < times else None, amount if copy < others else None)
            for (cells, kind, amount), (times, others) in zip(rows, weights, strict=True)
            for copy in range(max(times, others if amount is not None else 0))
        ]
    )


@pytest.mark.parametrize("balancing", ["equal", "uncertainty", "pcgrad", "famo"])
@pytest.mark.parametrize("size", [8, 4])
def test_a_step_with_weights_is_one_with_repeated_rows(balancing: str, size: int) -> None:
    one, other = (make_stepper(make_model(), balancing) for _ in range(2))
    parts = [
        (ROWS[start : start + size], WEIGHTS[start : start + size])
        for start in range(0, len(ROWS), size)
    ]
    torch.manual_seed(0)
    found = one.step([weighted(*part) for part in parts])
    torch.manual_seed(0)
    expected = other.step([repeated(*part) for part in parts])
    assert found.losses == pytest.approx(expected.losses, rel=1e-5)
    assert found.gradient_norm == pytest.approx(expected.gradient_norm, rel=1e-4)
    for name, tensor in values(one.model).items():
        assert_close(tensor, values(other.model)[name], rtol=1e-4, atol=1e-5, msg=name)


def test_weights_stay_with_their_rows() -> None:
    batch = weighted()
    kept = batch.select(torch.tensor([6, 1])).only("amount").to(torch.device("cpu"))
    assert kept.targets["amount"].weights_b is not None
    assert sorted(kept.targets["amount"].weights_b.tolist()) == [2, 3]
    assert batch.targets["amount"].weight == 6
    assert batch.labelled == 2 + 3 + 1 + 3 + 1 + 1 + 2 + 1
    assert make_batch(ROWS).labelled == len(ROWS)


def recipe(folder: Path, weights: list[object], task: str = "kind: classification") -> Path:
    lines = [
        f'{{"text": "t {n}", "label": "{"ab"[n % 2]}", "w": {w}}}\n' for n, w in enumerate(weights)
    ]
    (folder / "rows.jsonl").write_text("".join(lines), encoding="utf-8")
    path = folder / "recipe.yaml"
    path.write_text(
        "data: {rows: {kind: jsonl, train: rows.jsonl, validation: rows.jsonl}}\n"
        "encoder: {kind: bag, dimension: 4, min_count: 1}\n"
        f"tasks: {{t: {{{task}, weight: w}}}}\n"
        "training: {steps: 1}\n",
        encoding="utf-8",
    )
    return path


def parts_of(recipe: Recipe, folder: Path) -> Parts:
    data = load_data(recipe)
    fitted = fit_parts(recipe, RunFolder(folder / "run"), data, started=False)
    return training_parts(recipe, data, fitted, folder)


def test_rows_of_weight_zero_are_left_out_and_counted(tmp_path: Path) -> None:
    made = load(recipe(tmp_path, [1, 0, 2.5, '"3"']))
    parts = parts_of(made, tmp_path)
    assert isinstance(parts.loader, Loader)
    [pool] = parts.loader.pools
    assert [row["weight:t"] for row in pool.fetch(torch.arange(3).numpy())] == [1, 2.5, 3]
    account = pool.accounts["t"].record()
    assert (account["rows"], account["used"]) == (4, 3)
    assert account["left_out"]["weight 0"]["rows"] == 1
    assert parts.probe.targets["t"].weights_b is not None


@pytest.mark.parametrize("weight", ["-1", "null", "NaN", '"much"', "true"])
def test_what_is_no_weight_is_a_mistake_with_its_line(weight: str, tmp_path: Path) -> None:
    made = load(recipe(tmp_path, [1, 1, weight]))
    with pytest.raises(DataError, match=r"rows\.jsonl:3: task t: column 'w': expected a weight"):
        parts_of(made, tmp_path)


def test_a_column_of_weights_that_is_missing_is_named(tmp_path: Path) -> None:
    made = load(recipe(tmp_path, [1, 1]), ["tasks.t.weight=ww"])
    with pytest.raises(DataError, match=r"rows\.jsonl:1: .*no column 'ww'.* Did you mean 'w'"):
        parts_of(made, tmp_path)


def test_a_loss_that_compares_rows_refuses_weights(tmp_path: Path) -> None:
    made = load(recipe(tmp_path, [1, 1], "kind: embedding, input: [text, label]"))
    with pytest.raises(RecipeError, match=r"tasks\.t\.weight: its loss compares the rows"):
        parts_of(made, tmp_path)
