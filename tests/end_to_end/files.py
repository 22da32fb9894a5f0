"""Small recipes and data files, and ``polytask`` in this process."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from polytask.cli import app

RECIPE = """\
data:
  shop: {kind: jsonl, train: train.jsonl, validation: validation.jsonl, test: test.jsonl}
encoder: {kind: bag, dimension: 8, hidden: [8]}
tasks:
  mood: {kind: classification, target: mood}
  stars: {kind: regression, target: stars}
training:
  {epochs: 2, batch_rows: 8, learning_rate: 1e-2, precision: fp32, threads: 1, device: cpu}
evaluation: {bootstrap: 0}
"""
Files = Mapping[str, Sequence[Mapping[str, Any]]]
"""Rows by the name of the file they are written to, without ``.jsonl``."""

_WORDS = {"good": ("fine", "great", "lovely"), "bad": ("poor", "broken", "awful")}


def polytask(*arguments: str | Path) -> Result:
    """Run a command; an error that is not explained fails the test."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    output = result.stdout + result.stderr
    assert "Traceback" not in output, output
    assert result.exit_code in (0, 1, 2), output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def reviews(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Rows of which no two have the same text."""
    found = []
    for number in range(first, first + count):
        mood = ("good", "bad")[number % 2]
        word = _WORDS[mood][number % 3]
        text = f"parcel {number} was {word} and the shop too"
        found.append({"text": text, "mood": mood, "stars": 4.0 if mood == "good" else 2.0})
    return found


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_experiment(folder: Path, recipe: str = RECIPE, rows: Files | None = None) -> Path:
    """Write a recipe and its data files, some of them with other rows; return its path."""
    usual = {"train": reviews(48), "validation": reviews(16, 100), "test": reviews(16, 200)}
    for name, content in {**usual, **(rows or {})}.items():
        write_rows(folder / f"{name}.jsonl", content)
    path = folder / "shop.yaml"
    path.write_text(recipe, encoding="utf-8")
    return path
