"""Folders of trainings and comparisons for the tests of reports, made of JSON alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from polytask.core.files import write_json, write_text
from polytask.core.run_folder import FORMAT

HOSTILE = "<script>alert(1)</script>\"'&\x07</svg>"
"""A text that would do harm if it were not escaped."""

HOSTILE_NAME = "<img src=x onerror=alert(1)>"
"""The same for a task: it can be the name of a file."""

EPOCHS = 3
_STEPS = 8


def write_run(folder: Path, tasks: Sequence[str] = ("mood", "topic"), *, steps: int = 24) -> Path:
    """A finished training."""
    sections = {task: {"kind": "classification"} for task in tasks}
    recipe = {"name": "shop", "tasks": sections, "balancing": {"kind": "equal"}}
    write_text(folder / "recipe.yaml", yaml.safe_dump(recipe, allow_unicode=True))
    facts = {
        "format": FORMAT,
        "finished": True,
        "parameters": 2_500_000,
        "precision": "bf16",
        "epochs": 3.0,
        "seconds": 12.5,
        "versions": {"polytask": "0.1.0"},
        "notes": [],
        "data": {"shop": {"test": {"rows": 9, "sha256": "ab" * 32, "files": ["shop.csv"]}}},
    }
    write_json(folder / "run.json", facts)
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records(tasks, steps)]
    write_text(folder / "metrics.jsonl", "".join(lines))
    write_json(folder / "scores.json", {"test": scores(tasks)})
    for task in tasks:
        if "/" not in task:
            write_predictions(folder / "predictions" / "test" / f"{task}.jsonl")
    return folder


def records(tasks: Sequence[str], steps: int) -> list[dict[str, Any]]:
    """The records of steps, with a validation after every eighth."""
    found: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        found.append(step_record(tasks, step, steps))
        if step % _STEPS == 0:
            epoch = EPOCHS * step / steps
            validation = {task: {"accuracy": 0.5 + 0.1 * epoch} for task in tasks}
            found.append({"step": step, "epoch": epoch, "validation": validation, "best": True})
    return found


def step_record(tasks: Sequence[str], step: int, steps: int) -> dict[str, Any]:
    """The record of one step."""
    return {
        "step": step,
        "epoch": EPOCHS * (step - 1) / steps,
        "share": step / steps,
        "losses": {task: 1 / (step + place) for place, task in enumerate(tasks)},
        "weights": {task: 1.0 + place for place, task in enumerate(tasks)},
        "learning_rate": 1e-3,
        "tokens": 100,
        "seconds": 0.1,
        "tokens_per_second": 1000.0,
    }


def scores(tasks: Sequence[str], value: float = 0.75) -> dict[str, Any]:
    """Scores of a run."""
    accuracy = {"value": value, "low": value - 0.1, "high": value + 0.1}
    entries = {task: {"rows": 9, "accuracy": accuracy} for task in tasks}
    return {"tasks": entries, "pooled": {}, "average": value}


def write_predictions(path: Path) -> None:
    """Four answers, two of them wrong; the texts are hostile."""
    pairs = [
        ("good", "good", 0.9),
        ("bad", "bad", 0.8),
        ("good", "bad", 0.95),
        ("bad", "good", 0.6),
    ]
    lines = [
        json.dumps(
            {
                "place": f"shop.csv:{row}",
                "input": [f"text {row} {HOSTILE}"],
                "reference": reference,
                "prediction": prediction,
                "probabilities": {prediction: p, ({"good", "bad"} - {prediction}).pop(): 1 - p},
            },
            ensure_ascii=False,
        )
        for row, (reference, prediction, p) in enumerate(pairs, start=1)
    ]
    write_text(path, "\n".join(lines) + "\n")


def comparison(tasks: Sequence[str], strategies: Sequence[str], seeds: int) -> dict[str, Any]:
    """A record in which every strategy is a point better than the one before."""
    entry = {
        "kind": "classification",
        "select": "accuracy",
        "metrics": ["accuracy"],
        "higher_is_better": {"accuracy": True},
    }
    results = [
        {
            "strategy": strategy,
            "seed": seed,
            "parameters": 1_000_000 * (place + 1),
            "trained_parameters": 1_000_000,
            "seconds": 10.0,
            "tokens": 100,
            "scores": scores(tasks, 0.7 + 0.01 * place + 0.005 * seed)["tasks"],
        }
        for place, strategy in enumerate(strategies)
        for seed in range(seeds)
    ]
    return {
        "format": 1,
        "name": "shop",
        "split": "test",
        "strategies": list(strategies),
        "sharing": [name for name in strategies if name == "joint"],
        "seeds": list(range(seeds)),
        "tasks": dict.fromkeys(tasks, entry),
        "pooled": {},
        "results": results,
        "drop_leaks": False,
        "leaks": {"summary": "3 of 9 test rows are in train", "train_rows": {"shop": 3}},
        "data": {},
    }


def statistics(tasks: Sequence[str], strategies: Sequence[str]) -> dict[str, Any]:
    """What was tested: the first task is significantly worse, the others are a little better."""
    others = [name for name in strategies if name != "single"]
    common = {"metric": "accuracy", "detectable": 0.05, "others": {}}
    worse = {**common, "difference": -0.02, "low": -0.03, "high": -0.01, "p_holm": 0.01}
    open_ = {**common, "difference": 0.01, "low": -0.01, "high": 0.03, "p_holm": 0.25}
    entries = {task: open_ if task in tasks[1:] else worse for task in tasks}
    gain = {"difference": -1.5, "low": -2.5, "high": -0.5, "p_holm": 0.01, "detectable": 1.25}
    moved = {"found": [tasks[0]], "seen": [tasks[0]]}
    return {
        "baseline": "single",
        "level": 0.05,
        "power": 0.8,
        "tests": len(others) * len(tasks),
        "differences": dict.fromkeys(others, entries),
        "gains": dict.fromkeys(others, gain),
        "ranks": {name: 1.5 + place for place, name in enumerate(strategies)},
        "hurt": dict.fromkeys(others, moved),
        "helped": {name: {"found": [], "seen": list(tasks[1:])} for name in others},
    }


def verdict(strategy: str = "joint") -> dict[str, Any]:
    """That sharing does harm."""
    return {
        "decision": "separate",
        "rule": "worse",
        "strategy": strategy,
        "groups": None,
        "margin": 1.0,
        "settle": None,
    }


def write_tested(
    folder: Path, tasks: Sequence[str], strategies: Sequence[str], seeds: int = 2
) -> Path:
    """A comparison that was tested, with its trainings."""
    write_comparison(folder, tasks, strategies, seeds)
    record = comparison(tasks, strategies, seeds)
    tested = {"statistics": statistics(tasks, strategies), "verdict": verdict()}
    write_json(folder / "comparison.json", {**record, **tested})
    return folder


def write_comparison(
    folder: Path,
    tasks: Sequence[str] = ("mood", "topic"),
    strategies: Sequence[str] = ("single", "joint"),
    seeds: int = 2,
) -> Path:
    """A comparison with its trainings."""
    write_json(folder / "comparison.json", comparison(tasks, strategies, seeds))
    for strategy in strategies:
        for seed in range(seeds):
            write_run(folder / strategy / f"seed-{seed}", tasks)
    return folder


def write_analysis(folder: Path, tasks: Sequence[str] = ("mood", "topic")) -> Path:
    """What ``polytask analyse`` leaves, as far as a page shows it."""
    count = len(tasks)
    mean = [[None if a == b else 0.1 * (a - b) for b in range(count)] for a in range(count)]
    method = {"meaning": "affinity", "mean": mean, "error": [[0.01] * count] * count}
    gains = dict.fromkeys(tasks, 0.1)
    points = [
        {
            "rows": rows,
            "single": dict.fromkeys(tasks, 0.5 + rows / 1000),
            "joint": dict.fromkeys(tasks, 0.6),
            "gain": 0.1 - rows / 1000,
            "error": 0.01,
        }
        for rows in (50, 100, 200)
    ]
    found: dict[str, Any] = {
        "transference": {"tasks": tasks, "preferred": "x", "methods": {"x": method}},
        "groups": {"proposed": {"groups": [list(tasks)], "gains": gains}, "recipes": ["a.yaml"]},
        "interference": {
            "over_time": {
                "steps": [10, 20, 30],
                "pairs": [{"tasks": list(tasks[:2]), "cosine": [0.5, None, -0.25]}],
            }
        },
        "curve": {"tasks": list(tasks), "points": points, "stops_paying": 99.6},
        "describe": {
            "name": "made",
            "tasks": tasks,
            "layers": [
                {"name": "encoder.0", "parameters": 9, "trained": 9, "tasks": list(tasks)},
                {"name": "heads.0", "parameters": 3, "trained": 3, "tasks": list(tasks)[:1]},
            ],
        },
    }
    for name, record in found.items():
        write_json(folder / "analysis" / f"{name}.json", record)
    return folder
