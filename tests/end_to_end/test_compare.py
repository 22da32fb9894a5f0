"""A comparison can be stopped at any time; what is done is not done again."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from benchmarks.resume import records, wait_for
from polytask.reports.summary import gain as shown_gain
from tests.end_to_end.files import RECIPE, polytask, reviews, write_experiment
from tests.end_to_end.processes import fork

pytestmark = pytest.mark.slow
STRATEGIES = ("joint", "single")
LONG = RECIPE.replace("epochs: 2", "epochs: 12, evaluate_every: 6").replace(
    "bootstrap: 0", "bootstrap: 50"
)
TIMES = {"seconds", "tokens_per_second", "peak_memory_mb"}


def arguments(recipe: Path, folder: Path, seeds: int = 1) -> list[str]:
    options = ["--strategies", ",".join(STRATEGIES), "--seeds", str(seeds)]
    return ["compare", str(recipe), "--run", str(folder), *options]


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def read(folder: Path) -> dict[str, Any]:
    text = (folder / "comparison.json").read_text("utf-8")
    record: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return record


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key not in TIMES}
    return [without_times(item) for item in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_experiment(tmp_path_factory.mktemp("compare"), LONG)


@pytest.fixture(scope="module")
def whole(recipe: Path) -> Path:
    """A comparison that was left alone."""
    folder = recipe.parent / "whole"
    result = polytask(*arguments(recipe, folder))
    assert result.exit_code == 0, result.stderr
    for strategy in STRATEGIES:
        assert strategy in result.stdout
    return folder


def test_the_record_holds_every_result_and_what_is_needed_to_read_it(whole: Path) -> None:
    record = read(whole)
    assert record["name"] == "shop"
    assert record["split"] == "test"
    assert record["strategies"] == list(STRATEGIES)
    assert record["seeds"] == [0]
    assert set(record["tasks"]) == {"mood", "stars"}
    assert record["tasks"]["stars"]["higher_is_better"]["rmse"] is False
    assert [(r["strategy"], r["seed"]) for r in record["results"]] == [("joint", 0), ("single", 0)]
    for result in record["results"]:
        assert set(result["scores"]) == {"mood", "stars"}
        for task, entry in result["scores"].items():
            assert entry["rows"] == 16
            for metric in record["tasks"][task]["metrics"]:
                assert set(entry[metric]) >= {"value", "low", "high"}
        assert result["parameters"] > 0
        assert result["seconds"] > 0
    joint, single = record["results"]
    assert joint["parameters"] < single["parameters"]  # one encoder instead of two


def test_strategies_see_as_many_rows(whole: Path) -> None:
    def rows(pattern: str) -> int:
        files = list(whole.glob(pattern))
        assert files
        lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
        return sum(line.get("rows", 0) for line in lines)

    # Both tasks label every row, so each single model passes over them half as often.
    assert rows("single/**/metrics.jsonl") == pytest.approx(
        rows("joint/**/metrics.jsonl"), rel=0.05
    )


def test_a_comparison_goes_on_where_it_was_stopped(recipe: Path, whole: Path) -> None:
    folder = recipe.parent / "stopped"
    log = recipe.parent / "stopped.log"
    process = fork(arguments(recipe, folder), log)
    second = folder / "single" / "seed-0" / "mood"
    wait_for(process, lambda: records(second) > 20)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait() == 1
    printed = log.read_text("utf-8")
    assert "stopped by SIGINT" in printed
    assert printed.endswith("Run the same command to continue.\n")
    assert "Traceback" not in printed
    assert not (folder / "comparison.json").exists()
    done = [folder / "results" / "joint-0.json", *(folder / "joint").rglob("*.json*")]
    before = {path: path.stat().st_mtime_ns for path in done}
    assert len(before) > 2
    result = polytask(*arguments(recipe, folder))
    assert result.exit_code == 0, result.stderr
    assert {path: path.stat().st_mtime_ns for path in done} == before
    assert without_times(read(folder)) == without_times(read(whole))


def test_a_finished_comparison_is_only_read(recipe: Path, whole: Path) -> None:
    runs = [path for path in whole.rglob("*") if path.is_file() and path.parent != whole]
    before = {path: path.stat().st_mtime_ns for path in runs}
    assert polytask(*arguments(recipe, whole)).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in runs} == before


def test_seeds_can_be_added(recipe: Path, whole: Path) -> None:
    first = read(whole)["results"]
    assert polytask(*arguments(recipe, whole, seeds=2)).exit_code == 0
    record = read(whole)
    assert record["seeds"] == [0, 1]
    assert [each for each in record["results"] if each["seed"] == 0] == first
    scores = [each["scores"] for each in record["results"] if each["strategy"] == "joint"]
    assert scores[0] != scores[1]


def test_differences_are_tested_and_lead_to_a_verdict(recipe: Path, whole: Path) -> None:
    """With two seeds; the first test of the record has seen that of one."""
    assert polytask(*arguments(recipe, whole, seeds=2)).exit_code == 0
    record = read(whole)
    assert record["sharing"] == ["joint"]
    entries = record["statistics"]["differences"]["joint"]
    assert set(entries) == {"mood", "stars"}
    for task, entry in entries.items():
        values = {
            name: [
                each["scores"][task][entry["metric"]]["value"]
                for each in record["results"]
                if each["strategy"] == name
            ]
            for name in STRATEGIES
        }
        pairs = zip(values["joint"], values["single"], strict=True)
        differences = [ours - theirs for ours, theirs in pairs]
        assert [each["difference"] for each in entry["seeds"]] == pytest.approx(differences)
        assert entry["p_holm"] >= entry["p"]
    gain = record["statistics"]["gains"]["joint"]["difference"]
    assert gain == pytest.approx(shown_gain(record, "joint"))
    assert record["verdict"]["strategy"] == "joint"
    for shown in ((whole / name).read_text("utf-8") for name in ("comparison.md", "report.html")):
        assert "Δm" in shown
        assert "mean rank" in shown
    text = (whole / "comparison.md").read_text("utf-8")
    assert text.index("Verdict: ") < text.index("| strategy |")


def test_a_comparison_from_before_answers_were_kept(recipe: Path, whole: Path) -> None:
    """Its page is made without tests; going on makes up for them from the models there are."""
    folder = recipe.parent / "older"
    shutil.copytree(whole, folder)
    for path in folder.glob("results/*.outcomes.json"):
        path.unlink()
    record = read(folder)
    untested = ("statistics", "verdict", "sharing")
    older = {key: value for key, value in record.items() if key not in untested}
    (folder / "comparison.json").write_text(json.dumps(older), "utf-8")
    assert polytask("report", folder).exit_code == 0
    assert 'id="verdict"' not in (folder / "report.html").read_text("utf-8")
    models = {path: path.stat().st_mtime_ns for path in folder.rglob("model/**/*")}
    assert polytask(*arguments(recipe, folder, seeds=len(record["seeds"]))).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("model/**/*")} == models
    assert read(folder)["statistics"] == record["statistics"]
    assert read(folder)["verdict"] == record["verdict"]


def test_another_recipe_is_refused(recipe: Path, whole: Path) -> None:
    result = polytask(*arguments(recipe, whole), "--set", "training.epochs=3")
    assert result.exit_code == 2
    assert "holds a comparison of another recipe" in result.stderr


def test_every_strategy_has_the_score_of_tasks_together(tmp_path: Path) -> None:
    tasks = "  side: {kind: classification, target: side}\ntraining:"
    pooled = "pooled: {feeling: {tasks: [mood, side], metric: accuracy}}\n"
    rows = [{**row, "side": row["mood"] if row["stars"] > 2 else None} for row in reviews(16, 200)]
    split = {"train": [{**row, "side": row["mood"]} for row in reviews(48)], "test": rows}
    split["validation"] = split["train"]
    recipe = write_experiment(tmp_path, RECIPE.replace("training:", tasks) + pooled, split)
    result = polytask("compare", recipe, "--run", tmp_path / "run", "--seeds", "1")
    assert result.exit_code == 0, result.stderr
    record = read(tmp_path / "run")
    assert record["pooled"]["feeling"]["tasks"] == ["mood", "side"]
    assert [each["strategy"] for each in record["results"]] == ["linear", "single", "joint"]
    for each in record["results"]:
        mood, side, feeling = (each["scores"][name] for name in ("mood", "side", "feeling"))
        assert (mood["rows"], side["rows"], feeling["rows"]) == (16, 8, 24)
        right = 16 * mood["accuracy"]["value"] + 8 * side["accuracy"]["value"]
        assert feeling["accuracy"]["value"] == pytest.approx(right / 24)
    shown = (tmp_path / "run" / "comparison.md").read_text("utf-8")
    assert "| feeling | accuracy |" in shown
    assert "| mood |" not in shown


def test_an_unknown_strategy_is_named(recipe: Path) -> None:
    folder = recipe.parent / "unknown"
    result = polytask("compare", recipe, "--run", folder, "--strategies", "joint,singel")
    assert result.exit_code == 2
    assert "no strategy called 'singel'. Did you mean 'single'?" in result.stderr
    assert not folder.exists()


def test_one_that_is_stopped_outside_of_a_training_says_what_to_do(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*anything: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("polytask.analysis.linear_strategies.fit_predict", interrupted)
    folder = recipe.parent / "fitting"
    result = polytask("compare", recipe, "--run", folder, "--strategies", "majority,linear")
    assert result.exit_code == 1
    assert (
        f"stopped; finished runs are in {folder}. Run the same command to continue."
        in result.stderr
    )
    assert (folder / "results" / "majority-0.json").is_file()
