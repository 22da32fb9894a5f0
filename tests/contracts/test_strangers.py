"""Images, sounds, language modelling and tables go through the same loop, unchanged."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from polytask.balancing import balancers
from polytask.core.batch import Row
from polytask.core.encoder import Encoder
from polytask.core.run_folder import RunFolder
from polytask.data.loader import Loader
from polytask.data.mixing import mixtures
from polytask.data.pools import Collation, Preparation, collate, make_pool
from polytask.data.sampler import BatchSize
from polytask.data.sources import sources
from polytask.modeling import MultiTaskModel
from polytask.sharing import architectures
from polytask.tasks import Task, tasks
from polytask.training.loop import train
from polytask.training.options import TrainingOptions
from polytask.training.selection import Criterion
from polytask.training.session import Parts, Session
from tests.contracts.input_rows import png, wav
from tests.fakes import Bytes, Cells, NextToken, Pictures, Sounds

EMPTY: dict[str, Any] = {"tasks": {}, "pooled": {}, "average": None}


def session(
    folder: Path, encoder: Encoder, made: Mapping[str, Task], rows: Sequence[Row], inputs: list[str]
) -> Session:
    torch.manual_seed(0)
    table = sources.build({"kind": "rows", "rows": list(rows)}, ()).load()["all"]
    for task in made.values():
        task.fit([ref for row in rows if (ref := task.reference(row)) is not None])
    encoder.fit([tuple(row[name] for name in inputs) for row in rows])

    def target_of(task: Task) -> Callable[[int, Row, dict[str, Any]], Any | None]:
        return lambda index, row, prepared: (
            None if (ref := task.reference(row)) is None else task.encode(ref, prepared)
        )

    preparation = Preparation(
        lambda index, row: tuple(row[name] for name in inputs),
        encoder.prepare,
        encoder.num_tokens,
        {name: target_of(task) for name, task in made.items()},
    )
    pool = make_pool("strangers", table, preparation, folder)
    collation = Collation(
        encoder.collate, {name: t.collate for name, t in made.items()}, encoder.read
    )
    options = TrainingOptions(epochs=12, batch_tokens=256, learning_rate=0.02, precision="fp32")
    parts = Parts(
        model=MultiTaskModel(architectures.build("hard", encoder, list(made)), made),
        balancer=balancers.build("uncertainty", len(made)),
        loader=Loader([pool], collation, mixtures.build("proportional"), size=BatchSize(256)),
        collation=collation,
        probe=collate(pool.fetch(np.arange(len(pool))), collation),
        validate=lambda predictor: EMPTY,
        criterion=Criterion({}),
    )
    return Session(parts, options, RunFolder(folder))


def losses(run: RunFolder) -> list[dict[str, float]]:
    return [record["losses"] for record in run.records() if "losses" in record]


def check_it_learned(trained: Session, names: set[str]) -> None:
    found = losses(trained.run)
    for name in names:
        first, *_, last = [step[name] for step in found if name in step]
        assert last < 0.8 * first, name
    assert trained.partition.unreached == []
    assert set().union(*trained.partition.tasks_of.values()) == names


def test_images_that_are_cropped_at_every_draw(tmp_path: Path) -> None:
    rows = [
        {"image": half(seed, is_left=seed % 2 == 0), "side": ("left", "right")[seed % 2]}
        for seed in range(96)
    ]
    made = {"side": tasks.build({"kind": "classification", "target": "side"}, "side")}
    trained = session(tmp_path, Pictures(), made, rows, ["image"])
    train(trained)
    check_it_learned(trained, {"side"})


def half(seed: int, *, is_left: bool) -> dict[str, Any]:
    """Return a noisy picture that is bright on one side."""
    pixels = np.random.default_rng(seed).integers(0, 100, (12, 20), dtype=np.uint8)
    pixels[:, slice(10) if is_left else slice(10, None)] += 155
    return png(pixels)


def test_sounds_of_different_lengths(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    rows = [
        {"sound": wav(generator.normal(0, volume, 800 + 10 * number)), "loud": volume > 1000}
        for number, volume in enumerate([300, 6000] * 30)
    ]
    made = {"loud": tasks.build({"kind": "classification", "target": "loud"}, "loud")}
    trained = session(tmp_path, Sounds(), made, rows, ["sound"])
    train(trained)
    check_it_learned(trained, {"loud"})


def test_causal_language_modelling_with_a_tied_head_beside_classification(tmp_path: Path) -> None:
    rows = [
        {"text": word * 4, "kind": kind}
        for word, kind in [("abab", "letters"), ("1212", "digits"), ("xyz", "letters")] * 20
    ]
    made: dict[str, Task] = {
        "next": NextToken("next"),
        "kind": tasks.build({"kind": "classification", "target": "kind"}, "kind"),
    }
    encoder = Bytes()
    trained = session(tmp_path, encoder, made, rows, ["text"])
    train(trained)
    check_it_learned(trained, {"next", "kind"})
    assert trained.partition.tasks_of["sharing.encoder.table.weight"] == ("next", "kind")
    assert sum(p is encoder.table.weight for p in trained.model.parameters()) == 1


def test_tables_with_missing_cells_and_missing_labels(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for number, (a, b, c) in enumerate(generator.normal(size=(120, 3)).tolist()):
        rows.append(
            {
                "a": a,
                "b": None if number % 7 == 0 else b,
                "c": c,
                "positive": None if number % 3 == 0 else str(a > 0),
                "amount": None if number % 3 == 1 else 2 * c - 1,
            }
        )
    made = {
        "positive": tasks.build({"kind": "classification", "target": "positive"}, "positive"),
        "amount": tasks.build({"kind": "regression", "target": "amount"}, "amount"),
    }
    trained = session(tmp_path, Cells(), made, rows, ["a", "b", "c"])
    train(trained)
    check_it_learned(trained, {"positive", "amount"})


def test_every_record_is_json_with_a_loss_for_every_task_present(tmp_path: Path) -> None:
    rows = [{"text": "ab" * length} for length in range(1, 30)]
    made = {"next": NextToken("next")}
    trained = session(tmp_path, Bytes(), made, rows, ["text"])
    train(trained)
    lines = (tmp_path / "metrics.jsonl").read_text("utf-8").splitlines()
    steps = [record for record in map(json.loads, lines) if "losses" in record]
    assert [record["step"] for record in steps] == list(range(1, len(steps) + 1))
    assert all(math.isfinite(record["losses"]["next"]) for record in steps)
    assert sum(record["rows"] for record in steps) == 12 * len(rows)
