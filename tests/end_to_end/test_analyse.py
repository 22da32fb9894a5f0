"""From a recipe to the reasons: what is shared, who disturbs whom, who belongs together."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from polytask.core.run_folder import RunFolder
from tests.end_to_end.files import RECIPE, polytask, reviews, write_experiment, write_rows

pytestmark = pytest.mark.slow
THREE = (
    RECIPE.replace("\ntraining:", "\n  side: {kind: classification, target: side}\ntraining:")
    + "compare: {groups: [[mood, stars], [side]]}\n"
)
LOOKING = THREE.replace("epochs: 2,", "epochs: 2, interference: 2,")


def three(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [{**row, "side": "lr"[n % 3 == 0]} for n, row in enumerate(reviews(count, first))]


def experiment(folder: Path, recipe: str) -> Path:
    rows = {"train": three(48), "validation": three(16, 100), "test": three(16, 200)}
    return write_experiment(folder, recipe, rows)


def steps(run: Path) -> list[dict[str, Any]]:
    timed = ("seconds", "tokens_per_second")
    lines = map(json.loads, (run / "metrics.jsonl").read_text("utf-8").splitlines())
    return [{name: value for name, value in line.items() if name not in timed} for line in lines]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe, and a run of it that was looked at."""
    place = tmp_path_factory.mktemp("analyse")
    recipe = experiment(place, LOOKING)
    assert polytask("train", recipe, "--run", place / "run").exit_code == 0
    return place


@pytest.mark.parametrize("balancing", ["equal", "pcgrad"])
def test_a_training_is_the_same_with_and_without_looks(tmp_path: Path, balancing: str) -> None:
    dropout = THREE.replace("hidden: [8]", "hidden: [8], dropout: 0.3")
    recipe = experiment(tmp_path, dropout + f"balancing: {balancing}\n")
    for name, setting in (("plain", "0"), ("looked", "1")):
        chosen = f"training.interference={setting}"
        assert polytask("train", recipe, "--run", tmp_path / name, "--set", chosen).exit_code == 0
    assert steps(tmp_path / "looked") == steps(tmp_path / "plain")
    parameters = [tmp_path / n / "model" / "model.safetensors" for n in ("plain", "looked")]
    assert parameters[0].read_bytes() == parameters[1].read_bytes()
    looks = (tmp_path / "looked" / "interference.jsonl").read_text("utf-8").splitlines()
    assert len(looks) == max(record["step"] for record in steps(tmp_path / "plain"))
    assert not (tmp_path / "plain" / "interference.jsonl").exists()


def test_a_run_is_analysed(folder: Path) -> None:
    result = polytask("analyse", folder / "run", "--steps", "2")
    assert result.exit_code == 0, result.stderr
    for said in ("Interference", "Transference", "Proposed groups", "compare.groups"):
        assert said in result.stdout
    records = {
        path.stem: json.loads(path.read_text("utf-8"))
        for path in (folder / "run" / "analysis").glob("*.json")
    }
    assert set(records) == {"describe", "interference", "transference", "groups"}
    assert records["interference"]["when"] == "training"
    assert records["interference"]["looks"] == 6
    assert set(records["transference"]["methods"]) == {"lookahead", "first_order", "training"}
    groups = records["groups"]
    assert {t for group in groups["proposed"]["groups"] for t in group} == {"mood", "stars", "side"}
    for path in groups["recipes"]:
        assert polytask("check", folder / "run" / "analysis" / path).exit_code == 0


def test_a_run_that_was_not_looked_at_is_looked_at_now(folder: Path) -> None:
    run = folder / "unseen"
    arguments: list[str | Path] = ["--run", run, "--set", "training.interference=0"]
    assert polytask("train", folder / "shop.yaml", *arguments).exit_code == 0
    result = polytask("analyse", run, "--steps", "3")
    assert result.exit_code == 0, result.stderr
    found = json.loads((run / "analysis" / "interference.json").read_text("utf-8"))
    assert (found["when"], found["looks"]) == ("after", 3)
    assert "training.interference: auto" in result.stdout


def test_a_budget_may_be_one_of_parameters(folder: Path) -> None:
    size = json.loads((folder / "run" / "run.json").read_text("utf-8"))["parameters"]
    arguments: list[str | Path] = ["analyse", folder / "run", "--steps", "1", "--parameters"]
    assert polytask(*arguments, str(2 * size + 1)).exit_code == 0
    groups = json.loads((folder / "run/analysis/groups.json").read_text("utf-8"))
    assert [each["models"] for each in groups["by_models"]] == [1, 2]
    result = polytask(*arguments, str(size - 1))
    assert result.exit_code == 2
    assert f"one model of this run has {size:,}" in result.stderr


def test_groups_are_verified_and_nothing_is_trained_twice(folder: Path) -> None:
    command: list[str | Path] = [
        "analyse",
        folder / "run",
        "--steps",
        "1",
        "--pairwise",
        "--verify",
        "--models",
        "2",
    ]
    result = polytask(*command)
    assert result.exit_code == 0, result.stderr
    assert "The prediction" in result.stdout
    trained = {
        path: path.stat().st_mtime_ns for path in (folder / "run/analysis/trainings").iterdir()
    }
    assert all(path.suffix == ".json" for path in trained)
    groups = json.loads((folder / "run/analysis/groups.json").read_text("utf-8"))
    assert groups["from"] == "pairwise"
    assert set(groups["verified"]["tasks"]) == {"mood", "stars", "side"}
    assert polytask(*command).exit_code == 0
    assert trained == {path: path.stat().st_mtime_ns for path in trained}


def test_a_learning_curve_needs_no_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    result = polytask("analyse", folder / "shop.yaml", "--curve", "16,8")
    assert result.exit_code == 0, result.stderr
    assert "Sharing" in result.stdout
    record = json.loads((folder / "runs/shop-analysis/curve.json").read_text("utf-8"))
    assert [point["rows"] for point in record["points"]] == [8, 16]
    assert set(record["points"][0]["joint"]) == {"mood", "stars", "side"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["shop.yaml"], "with --curve or --pairwise"),
        (["shop.yaml", "--curve", "8,many"], "expected numbers of rows"),
        (["shop.yaml", "--curve", "8", "--parameters", "9"], "known of a run only"),
        (["nowhere"], "no such file"),
    ],
)
def test_what_cannot_be_analysed_is_said(folder: Path, arguments: list[str], said: str) -> None:
    result = polytask("analyse", folder / arguments[0], *arguments[1:])
    assert result.exit_code == 2
    assert said in result.stderr


def test_one_task_is_refused(tmp_path: Path) -> None:
    recipe = write_experiment(
        tmp_path, RECIPE.replace("  stars: {kind: regression, target: stars}\n", "")
    )
    assert polytask("train", recipe, "--run", tmp_path / "run").exit_code == 0
    result = polytask("analyse", tmp_path / "run")
    assert result.exit_code == 2
    assert "at least two" in result.stderr


def test_rows_that_are_gone_are_named(tmp_path: Path) -> None:
    recipe = experiment(tmp_path, THREE)
    assert polytask("train", recipe, "--run", tmp_path / "run").exit_code == 0
    (tmp_path / "train.jsonl").unlink()
    result = polytask("analyse", tmp_path / "run")
    assert result.exit_code == 2
    assert "train.jsonl" in result.stderr


SHARINGS = {
    "hard": "hard",
    "mmoe": "{kind: mmoe}",
    "lora": "{kind: task_lora}",
    "tree": "{kind: tree, branches: {0: [[mood, side], [stars]]}}",
    "independent": "independent",
}
TRANSFORMER = THREE.replace(
    "{kind: bag, dimension: 8, hidden: [8]}",
    "{kind: transformer, width: 8, layers: 2, heads: 2}",
)
CHAIN = """\
name: chain
data:
  rows: {kind: jsonl, path: rows.jsonl, split: {validation: 0.25}}
encoder: {kind: transformer, width: 8, layers: 1, heads: 2}
tasks:
  tags: {kind: tagging, from: rows, input: words, target: tags, crf: true}
"""


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    found = {}
    for name, sharing in SHARINGS.items():
        place = tmp_path_factory.mktemp(name)
        recipe = experiment(place, TRANSFORMER + f"sharing: {sharing}\n")
        result = polytask("describe", recipe, "--format", "json")
        assert result.exit_code == 0, result.stderr
        found[name] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize("name", SHARINGS)
def test_a_description_adds_up(described: dict[str, dict[str, Any]], name: str) -> None:
    found = described[name]
    for total, kind in (("all", "parameters"), ("trained", "trained")):
        assert sum(layer[kind] for layer in found["layers"]) == found["parameters"][total]
    for task in found["tasks"]:
        [head] = [layer for layer in found["layers"] if layer["name"].startswith(f"heads.{task}.")]
        assert head["tasks"] == [task]
        assert found["flops"]["alone"][task] > 0


def test_who_shares_what(described: dict[str, dict[str, Any]]) -> None:
    assert described["independent"]["parameters"]["shared"] == 0
    hard, tree = described["hard"], described["tree"]
    found = {
        name: [
            each["tasks"] for each in described[name]["layers"] if each["name"] == "encoder.stack.1"
        ]
        for name in ("hard", "tree")
    }
    assert found["hard"] == [["mood", "stars", "side"]]
    assert found["tree"] == [["mood", "side"], ["stars"]]
    assert tree["parameters"]["all"] > hard["parameters"]["all"]


@pytest.mark.parametrize("form", ["table", "mermaid", "svg"])
def test_a_run_is_described(folder: Path, form: str) -> None:
    result = polytask("describe", folder / "run", "--format", form)
    assert result.exit_code == 0, result.stderr
    assert "mood" in result.stdout
    if form == "svg":
        assert ET.fromstring(result.stdout).tag.endswith("svg")


def test_a_run_is_described_without_its_rows(tmp_path: Path) -> None:
    recipe = experiment(tmp_path, TRANSFORMER + "sharing: {kind: mmoe, experts: 2}\n")
    run = tmp_path / "run"
    assert polytask("train", recipe, "--run", run, "--set", "training.steps=2").exit_code == 0
    with_rows, of_recipe = (
        json.loads(polytask("describe", target, "--format", "json").stdout)
        for target in (run, recipe)
    )
    assert with_rows == of_recipe
    for file in tmp_path.glob("*.jsonl"):
        file.unlink()
    without = json.loads(polytask("describe", run, "--format", "json").stdout)
    assert without.pop("flops") is None
    assert "no such file" in without.pop("flops_missing")
    assert without == {name: value for name, value in with_rows.items() if name != "flops"}
    shown = polytask("describe", run)
    assert shown.exit_code == 0
    assert "FLOPs are counted on training rows, which cannot be read: " in shown.stdout
    RunFolder(run).reach.unlink()
    old = polytask("describe", run).stderr
    assert "no such file" in old
    assert "so its training rows are needed" in old


def test_heads_that_return_parameters_of_their_own_are_described(tmp_path: Path) -> None:
    rows = [{"words": ["a", "b"], "tags": ["O", f"B-{'xy'[n % 2]}"]} for n in range(8)]
    write_rows(tmp_path / "rows.jsonl", rows)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(CHAIN, encoding="utf-8")
    result = polytask("describe", recipe, "--format", "json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["flops"]["alone"]["tags"] > 0
