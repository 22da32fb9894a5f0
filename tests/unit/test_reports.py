from __future__ import annotations

from typing import Any

import pytest

from polytask.evaluation.coverage import coverage, select_counted
from polytask.reports.comparison_text import comparison_markdown, render_comparison
from polytask.reports.summary import (
    best,
    family_estimate,
    gain,
    main_estimate,
    worst_task,
)
from polytask.reports.tables import render_scores


def result(strategy: str, seed: int, accuracy: float, rmse: float | None) -> dict[str, Any]:
    return {
        "strategy": strategy,
        "seed": seed,
        "parameters": 2_000_000,
        "trained_parameters": 2_000_000,
        "seconds": 12.0,
        "tokens": 100,
        "scores": {
            "topic": {"rows": 9, "accuracy": {"value": accuracy, "low": None, "high": None}},
            "stars": {"rows": 9, "rmse": {"value": rmse, "low": 0.1, "high": 0.9}},
        },
    }


@pytest.fixture
def record() -> dict[str, Any]:
    results = [
        result("single", 0, 0.7, 1.0),
        result("single", 1, 0.9, 1.0),
        result("joint", 0, 0.9, 1.5),
        result("joint", 1, 0.9, 1.5),
        result("linear", 0, 0.4, None),
    ]
    tasks = {
        "topic": {
            "kind": "classification",
            "select": "accuracy",
            "metrics": ["accuracy"],
            "higher_is_better": {"accuracy": True},
        },
        "stars": {
            "kind": "regression",
            "select": "rmse",
            "metrics": ["rmse"],
            "higher_is_better": {"rmse": False},
        },
    }
    return {
        "format": 1,
        "name": "shop",
        "split": "test",
        "strategies": ["linear", "single", "joint"],
        "seeds": [0, 1],
        "tasks": tasks,
        "pooled": {},
        "results": results,
        "drop_leaks": False,
        "leaks": {"summary": "3 of 9 test rows are in train", "train_rows": {"shop": 3}},
    }


def test_the_gain_counts_lower_errors_as_better(record: dict[str, Any]) -> None:
    """Topic rises from .8 to .9 (+12.5 %), the error of stars from 1 to 1.5 (-50 %)."""
    assert gain(record, "joint") == pytest.approx((12.5 - 50) / 2)
    assert gain(record, "single") == pytest.approx(0)
    worst = worst_task(record, "joint")
    assert worst is not None
    assert worst[0] == "stars"
    assert worst[1] == pytest.approx(-50)


def test_the_best_of_a_task_respects_its_direction(record: dict[str, Any]) -> None:
    assert best(record, "topic") == "joint"
    assert best(record, "stars") == "single"


def test_estimates_have_an_interval_over_seeds(record: dict[str, Any]) -> None:
    found = family_estimate(record, "single", "accuracy")
    assert found is not None
    assert found.mean == pytest.approx(0.8)
    assert found.half == pytest.approx(12.706 * 0.1, rel=1e-3)  # of two values 0.2 apart
    alone = main_estimate(record, "linear")
    assert alone is not None
    assert alone.half is None


def test_what_is_missing_is_a_dash_and_not_a_zero(record: dict[str, Any]) -> None:
    [line] = [
        line for line in comparison_markdown(record).splitlines() if line.startswith("| stars")
    ]
    assert line == "| stars | rmse | – | **1.000 ± 0.000** | 1.500 ± 0.000 |"


def test_no_strategy_is_left_out_and_leaks_are_said(record: dict[str, Any]) -> None:
    for shown in (render_comparison(record), comparison_markdown(record)):
        assert all(strategy in shown for strategy in record["strategies"])
        assert "80.0 ± 127.1" in shown
        assert "3 of 9 test rows are in train; not dropped." in shown


def test_a_mean_over_fewer_tasks_names_them_and_is_not_the_best(record: dict[str, Any]) -> None:
    record["results"][-1]["scores"]["topic"]["accuracy"]["value"] = 1.0  # linear, without stars
    record["results"][0]["scores"]["stars"]["rmse"]["value"] = None  # of two seeds of single, one
    shown = comparison_markdown(record)
    [line] = [line for line in shown.splitlines() if line.startswith("| linear | **100.0** ")]
    assert line.split(" | ")[2] == "100.0 without stars"  # as single has it for one seed only
    [joint] = [line for line in shown.splitlines() if line.startswith("| joint | 90.0 ± 0.0 ")]
    assert joint.split(" | ")[2:4] == ["**-30.0 ± 0.0**", "+12.5 without stars"]
    assert "| stars | rmse | – | **1.000 (1 of 2 seeds)** | 1.500 ± 0.000 |" in shown


def test_a_task_without_a_score_anywhere_is_named_with_the_reason(record: dict[str, Any]) -> None:
    for result in record["results"]:
        result["scores"]["stars"]["rmse"]["value"] = None
        result["scores"]["stars"]["rows"] = 0
    assert coverage(record) == {"over": ["topic"], "without": {"stars": "no_rows"}}
    shown = comparison_markdown(record)
    assert "**shop: means over 1 of 2 tasks**" in shown
    assert "Means are over topic, not over stars (no labelled test rows)." in shown
    record["results"][0]["scores"]["stars"]["rows"] = 1
    assert "not over stars (its first metric is undefined)." in comparison_markdown(record)
    for result in record["results"]:
        result["scores"] = {}
    assert "There are no means over tasks: topic (no labelled test rows), stars" in (
        comparison_markdown(record)
    )


def test_without_single_task_models_there_is_no_gain(record: dict[str, Any]) -> None:
    record["results"] = [r for r in record["results"] if r["strategy"] != "single"]
    assert gain(record, "joint") is None
    assert worst_task(record, "joint") is None
    assert "joint" in render_comparison(record)


def test_errors_lower_the_mean_over_tasks(record: dict[str, Any]) -> None:
    found = main_estimate(record, "joint")
    assert found is not None
    assert found.mean == pytest.approx((0.9 - 1.5) / 2)


@pytest.fixture
def pooled(record: dict[str, Any]) -> dict[str, Any]:
    """A record in which two more tasks are scored together."""
    for name in ("climate", "energy"):
        record["tasks"][name] = record["tasks"]["topic"]
    record["pooled"]["stance"] = {
        "tasks": ["climate", "energy"],
        "select": "mean_f1",
        "metrics": ["mean_f1"],
        "higher_is_better": {"mean_f1": True},
    }
    for result, value in zip(record["results"], (0.4, 0.6, 0.25, 0.25, None), strict=True):
        result["scores"]["climate"] = result["scores"]["energy"] = {
            "rows": 3,
            "accuracy": {"value": 0.0, "low": None, "high": None},
        }
        result["scores"]["stance"] = {"rows": 6, "mean_f1": {"value": value}}
    return record


def test_a_pooling_counts_in_place_of_its_tasks(pooled: dict[str, Any]) -> None:
    assert list(select_counted(pooled)) == ["topic", "stars", "stance"]
    found = main_estimate(pooled, "joint")
    assert found is not None
    assert found.mean == pytest.approx((0.9 - 1.5 + 0.25) / 3)
    accuracy = family_estimate(pooled, "single", "accuracy")
    assert accuracy is not None
    assert accuracy.mean == pytest.approx(0.8)  # of topic alone
    assert gain(pooled, "joint") == pytest.approx((12.5 - 50 - 50) / 3)
    assert best(pooled, "stance") == "single"


def test_a_pooling_is_a_row_of_the_table_in_place_of_its_tasks(pooled: dict[str, Any]) -> None:
    lines = comparison_markdown(pooled).splitlines()
    assert "**shop: means over 3 tasks**" in lines
    assert "| stance | mean_f1 | – | **50.0 ± 127.1** | 25.0 ± 0.0 |" in lines
    assert not any(line.startswith(("| climate", "| energy")) for line in lines)
    assert (
        "stance: one score over the rows of climate, energy together, instead of a score for each."
        in lines
    )


def test_brackets_are_text_and_wide_tables_are_whole(record: dict[str, Any]) -> None:
    strategies = [f"strategy_{number:02}_{'x' * 20}" for number in range(12)]
    record["results"] = [result(name, 0, 0.5, 0.25) for name in strategies]
    record |= {"strategies": strategies, "tasks": {"topic": record["tasks"]["topic"]}}
    record["tasks"]["[topic]"] = record["tasks"].pop("topic")
    shown = render_comparison(record)
    assert "[topic]" in shown
    assert "…" not in shown
    assert all(shown.count(name) == 3 for name in strategies)  # twice as a row, once as a column


def test_scores_have_their_intervals() -> None:
    entry = {"rows": 7, "accuracy": {"value": 0.5, "low": 0.25, "high": None}}
    shown = render_scores({"tasks": {"topic": entry}, "pooled": {}, "average": 0.5})
    assert ["topic", "7", "accuracy", "50.0", "25.0", "to", "–"] in map(
        str.split, shown.splitlines()
    )
    assert "average 0.5000" in shown


def test_an_average_names_its_tasks_if_some_are_missing() -> None:
    undefined = {"rows": 1, "pearson": {"value": None, "low": None, "high": None}}
    entry = {"rows": 7, "accuracy": {"value": 0.5, "low": 0.25, "high": 0.75}}
    tasks = {"topic": entry, "stars": undefined}
    over = {"average_over": ["topic"], "average_without": ["stars"]}
    shown = render_scores({"tasks": tasks, "pooled": {}, "average": 0.5, **over})
    assert "average 0.5000 over topic (undefined or without labelled rows: stars)" in shown
    assert ["stars", "1", "pearson", "–", "–"] in map(str.split, shown.splitlines())
    nothing = {"average": None, "average_over": [], "average_without": ["stars"]}
    shown = render_scores({"tasks": {"stars": undefined}, "pooled": {}, **nothing})
    assert "average – (undefined or without labelled rows: stars)" in shown
