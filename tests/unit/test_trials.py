"""Settings chosen by trials: what is tried, by which rows, and that it can be stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from polytask.analysis import tuning
from polytask.analysis.compare import compare
from polytask.analysis.runs import train_model
from polytask.analysis.settings import (
    Dimension,
    dimensions,
    weight_grid,
    with_settings,
)
from polytask.analysis.tuning import GridSearch, TPESearch, choose
from polytask.core.errors import InterruptedTrainingError, RecipeError, RunError, TrainingError
from polytask.evaluation.merit import first_mean
from polytask.recipe import Recipe, load
from tests.end_to_end.files import RECIPE, reviews, write_experiment

pytest.importorskip("optuna", reason="install the extra: tuning")
pytestmark = pytest.mark.slow
TRIALS = 3
RATE = Dimension("learning_rate", 1e-3, 1e-4, 1e-2)
WHOLE = Dimension("balancing.steps", 4, 1, 16, whole=True)


def drawn(seed: int, count: int, score: Callable[[Mapping[str, float]], float | None]) -> list[Any]:
    search = TPESearch([RATE, WHOLE], count, seed)
    found = []
    for number in range(count):
        found.append(search.ask(number))
        search.tell(score(found[-1]))
    return found


def test_the_first_trial_is_the_recipe_and_all_lie_within_their_limits() -> None:
    found = drawn(0, 12, lambda settings: -settings["learning_rate"])
    assert found[0] == {"learning_rate": 1e-3, "balancing.steps": 4}
    for settings in found:
        assert RATE.low <= settings["learning_rate"] <= RATE.high
        assert settings["balancing.steps"] in range(1, 17)
    assert len({settings["learning_rate"] for settings in found}) == 12


def test_draws_depend_on_the_seed_and_on_scores() -> None:
    def low(settings: Mapping[str, float]) -> float:
        return -settings["learning_rate"]

    assert drawn(1, 14, low) == drawn(1, 14, low)
    assert drawn(1, 14, low)[1:] != drawn(2, 14, low)[1:]
    assert drawn(1, 14, low)[-1] != drawn(1, 14, lambda settings: -low(settings))[-1]


def test_failed_trials_do_not_stop_the_search() -> None:
    assert len(drawn(0, 4, lambda settings: None)) == 4


def test_a_grid_tries_its_points_in_turn() -> None:
    grid = GridSearch(weight_grid(["a", "b"]))
    assert grid.trials == 5
    assert [grid.ask(number) for number in range(5)] == [
        {"weights.a": a, "weights.b": b} for a, b in [(1, 1), (4, 1), (1, 4), (2, 1), (1, 2)]
    ]


def test_a_grid_for_many_tasks_has_twelve_points() -> None:
    points = weight_grid([f"t{number}" for number in range(20)])
    assert len(points) == 12
    assert set(points[0].values()) == {1.0}


def test_dimensions_are_the_rate_and_what_the_balancing_method_has(tmp_path: Path) -> None:
    path = write_experiment(tmp_path)
    recipe = load(path, ["balancing={kind: dwa, temperature: 2.0}"])
    rate, temperature = dimensions(recipe)
    assert [rate.value, rate.low, rate.high] == pytest.approx([1e-2, 1e-3, 0.1])
    assert temperature.name == "balancing.temperature"
    assert (temperature.value, temperature.low, temperature.high) == (2.0, 0.5, 8.0)
    weighted = dimensions(recipe, weights=True)
    assert [each.name for each in weighted] == ["learning_rate", "weights.mood", "weights.stars"]


def test_options_stay_within_what_they_may_be(tmp_path: Path) -> None:
    recipe = load(write_experiment(tmp_path), ["balancing={kind: cagrad, c: 0.9}"])
    [c] = [each for each in dimensions(recipe) if each.name == "balancing.c"]
    assert c.low == pytest.approx(0.225)
    assert 0.9 < c.high < 1.0


def test_settings_go_where_they_belong(tmp_path: Path) -> None:
    path = write_experiment(tmp_path)
    recipe = load(
        path, ["balancing={kind: dwa, temperature: 2.0}", "training.head_learning_rate=0.1"]
    )
    changed = with_settings(recipe, {"learning_rate": 2e-2, "balancing.temperature": 3.0})
    assert changed.training.learning_rate == 2e-2
    assert changed.training.head_learning_rate == pytest.approx(0.2)  # in the same proportion
    assert changed.balancing.model_dump()["temperature"] == 3.0
    fixed = load(path, ["balancing=fixed"])
    weighted = with_settings(fixed, {"weights.stars": 0.5, "weights.mood": 2.0})
    assert list(weighted.balancing.model_dump()["weights"]) == [2.0, 0.5]  # as tasks are ordered


def run(recipe: Path, folder: Path, *kinds: str, trials: int = TRIALS) -> dict[str, Any]:
    compared = f"compare={{strategies: [{', '.join(kinds)}], seeds: 1, trials: {trials}}}"
    settings = [compared, "evaluation={bootstrap: 0}", "training.epochs=1"]
    return compare(load(recipe, settings), folder, Console(quiet=True))


def trials_of(folder: Path, place: str) -> list[dict[str, Any]]:
    paths = [folder / "trials" / place / f"{number}.json" for number in range(TRIALS)]
    return [json.loads(path.read_text("utf-8")) for path in paths]


def without_seconds(trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in each.items() if key != "seconds"} for each in trials]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_experiment(tmp_path_factory.mktemp("trials"))


@pytest.fixture(scope="module")
def whole(recipe: Path) -> Path:
    """Every model with its own trials, in a folder."""
    folder = recipe.parent / "whole"
    run(recipe, folder, "joint", "single")
    return folder


def test_every_model_has_as_many_trials_and_the_best_is_taken(whole: Path) -> None:
    record = json.loads((whole / "comparison.json").read_text("utf-8"))
    joint, single = record["results"]
    tuned = {"joint/": joint["tuning"][""]}
    tuned |= {f"single/{name}": found for name, found in single["tuning"].items()}
    assert tuned.keys() == {"joint/", "single/mood", "single/stars"}
    for place, found in tuned.items():
        tried = trials_of(whole, place)
        best = max(tried, key=lambda trial: trial["validation"])
        assert found["trials"] == TRIALS
        assert found["settings"] == best["settings"]
        assert found["validation"] == best["validation"]
        assert found["tokens"] == sum(trial["tokens"] for trial in tried)


def test_the_model_of_the_best_trial_is_not_trained_again(whole: Path) -> None:
    assert not list((whole / "trials").rglob("run-*/run.json"))
    for place in ("joint/seed-0", "single/seed-0/mood", "single/seed-0/stars"):
        facts = json.loads((whole / place / "run.json").read_text("utf-8"))
        tried = trials_of(whole, place.replace("seed-0", ""))
        assert facts["best_selection"] == max(trial["validation"] for trial in tried)
        times = {trial["seconds"] for trial in tried}
        assert facts["seconds"] in times


def test_test_rows_have_no_part_in_the_choice(whole: Path, tmp_path: Path) -> None:
    contrary = [{**row, "mood": "bad", "stars": 9.0} for row in reviews(16, 200)]
    run(write_experiment(tmp_path, RECIPE, {"test": contrary}), tmp_path / "run", "joint")
    expected = without_seconds(trials_of(whole, "joint"))
    assert without_seconds(trials_of(tmp_path / "run", "joint")) == expected


def test_trials_that_were_stopped_go_on(
    recipe: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = recipe.parent / "stopped"
    calls: list[Any] = []

    def stopping(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == TRIALS:
            raise InterruptedTrainingError("stopped")
        return train_model(*arguments)

    monkeypatch.setattr(tuning, "train_model", stopping)
    with pytest.raises(InterruptedTrainingError):
        run(recipe, folder, "joint")
    assert len(list((folder / "trials").rglob("run-*/run.json"))) == 1  # the best so far
    run(recipe, folder, "joint")
    assert len(calls) == TRIALS + 1  # the third one alone is done again
    assert without_seconds(trials_of(folder, "joint")) == without_seconds(trials_of(whole, "joint"))


def test_a_training_that_fails_is_a_bad_trial(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(comparison: Any, tried: Any, place: Path) -> Any:
        if place.name == "run-0":
            raise TrainingError("the loss is not a number")
        return train_model(comparison, tried, place)

    monkeypatch.setattr(tuning, "train_model", failing)
    [result] = run(recipe, tmp_path / "run", "joint")["results"]
    first, *others = trials_of(tmp_path / "run", "joint")
    assert (first["validation"], first["error"]) == (None, "the loss is not a number")
    assert result["tuning"][""]["validation"] == max(trial["validation"] for trial in others)


def test_if_all_trials_fail_the_reason_is_given(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*arguments: Any) -> Any:
        raise TrainingError("the loss is not a number")

    monkeypatch.setattr(tuning, "train_model", failing)
    with pytest.raises(RecipeError, match=r"all 2 trials of joint have failed: the loss is not"):
        run(recipe, tmp_path / "run", "joint", trials=2)


def test_the_best_trial_is_not_the_one_with_fewer_tasks_defined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merits = iter([[1, 0.9], [2, 0.5], [], [2, 0.6], [1, 1.0]])

    def trial(*arguments: Any) -> dict[str, Any]:
        merit = next(merits)
        found = {"validation": first_mean(merit), "merit": merit, "error": "nothing is defined"}
        return {**found, "seconds": 1.0, "tokens": 1}

    monkeypatch.setattr(tuning, "_try", trial)
    comparison: Any = SimpleNamespace(folder=tmp_path, console=Console(quiet=True))
    whole, recipe = (
        GridSearch([{"learning_rate": 10.0**-n} for n in range(5)]),
        Recipe.model_construct(),
    )
    monkeypatch.setattr(tuning, "with_settings", lambda recipe, settings: recipe)
    chosen = choose(comparison, recipe, Path("joint"), whole)
    assert chosen.record is not None
    assert chosen.record["settings"] == {"learning_rate": 1e-3}
    assert chosen.record["validation"] == 0.6
    merits = iter([[], []])
    with pytest.raises(RecipeError, match="all 2 trials of other have failed: nothing is defined"):
        choose(comparison, recipe, Path("other"), GridSearch([{"a": 1.0}, {"a": 2.0}]))


def test_static_weights_are_tuned_by_as_many_trials(recipe: Path, tmp_path: Path) -> None:
    [result] = run(recipe, tmp_path / "run", "static")["results"]
    found = result["tuning"][""]
    assert found["trials"] == TRIALS
    assert found["settings"].keys() == {"learning_rate", "weights.mood", "weights.stars"}


def test_the_number_of_trials_cannot_change_in_a_folder(recipe: Path, whole: Path) -> None:
    with pytest.raises(RunError, match="holds a comparison of another recipe"):
        run(recipe, whole, "joint", trials=TRIALS + 1)
