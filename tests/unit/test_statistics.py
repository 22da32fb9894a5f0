"""What the answers of several strategies and seeds say about their differences."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polytask.analysis.outcomes import read_outcomes, write_outcomes
from polytask.analysis.replicates import MeasuredTask, Run, measure, with_poolings
from polytask.analysis.statistics import statistics
from polytask.evaluation.score import Outcome, Pooling
from polytask.tasks import Metric, metrics

LABELS = ["no", "yes"]
METRICS: dict[str, list[Metric]] = {
    "mood": [metrics.build("accuracy", LABELS), metrics.build("f1", LABELS)],
    "rank": [metrics.build("auc", LABELS)],
    "stars": [metrics.build("rmse", [])],
}
ROWS = 120
Answers = Mapping[Run, Mapping[str, Outcome]]


def outcome_of(task: str, better: float, seed: int) -> Outcome:
    """Answers that are the better, the higher a number is; 0 is by chance and 4 mostly right."""
    generator = np.random.default_rng(seed)
    truth_N = np.arange(ROWS) % 2
    rows = [("shop", at) for at in range(ROWS)]
    noise_N = np.random.default_rng(99).normal(size=ROWS) + generator.normal(size=ROWS)
    scores_N = 1 / (1 + np.exp(-(noise_N + better * (truth_N - 0.5))))
    if task == "stars":
        return Outcome(truth_N.astype(float).tolist(), scores_N.tolist(), (), rows)
    labels = [LABELS[number] for number in truth_N]
    found = [LABELS[int(score > 0.5)] for score in scores_N]
    return Outcome(labels, found, list(np.stack([1 - scores_N, scores_N], axis=1)), rows)


def answers(
    levels: Mapping[str, float],
    seeds: int = 3,
    moved: Mapping[str, Mapping[str, float]] | None = None,
) -> Answers:
    """The same seeds for all strategies.

    :param moved: By strategy, tasks that are at another level.
    """
    return {
        (name, seed): {
            task: outcome_of(task, (moved or {}).get(name, {}).get(task, level), 10 * place + seed)
            for task in METRICS
        }
        for place, (name, level) in enumerate(levels.items())
        for seed in range(seeds)
    }


def measured(found: Answers, resamples: int = 100) -> dict[str, MeasuredTask]:
    return measure(found.items(), METRICS, resamples)


def compared(found: Answers, names: Sequence[str] = ("single", "joint")) -> dict[str, Any]:
    result = statistics(measured(found), names)
    assert result is not None
    json.dumps(result, allow_nan=False)
    return result


@pytest.fixture(scope="module")
def better() -> dict[str, Any]:
    """Joint is better at two tasks and worse at the third."""
    return compared(answers({"single": 1.5, "joint": 4.0}, moved={"joint": {"stars": 0.2}}))


def test_the_test_within_seeds_fits_the_metric(better: dict[str, Any]) -> None:
    found = {task: entry["test"] for task, entry in better["differences"]["joint"].items()}
    assert found == {"mood": "mcnemar", "rank": "delong", "stars": "bootstrap"}


def test_the_difference_is_the_mean_of_those_of_the_seeds(better: dict[str, Any]) -> None:
    for entry in better["differences"]["joint"].values():
        assert [each["seed"] for each in entry["seeds"]] == [0, 1, 2]
        by_seed = [each["difference"] for each in entry["seeds"]]
        assert entry["difference"] == pytest.approx(np.mean(by_seed))
        assert entry["low"] < entry["difference"] < entry["high"]
        assert entry["seeds_error"] == pytest.approx(np.std(by_seed, ddof=1) / 3**0.5)
        assert entry["rows"] == ROWS
        assert entry["detectable"] > 0
        assert all(0 < each["p"] <= 1 for each in entry["seeds"])


def test_lower_errors_are_better(better: dict[str, Any]) -> None:
    """The error of stars has risen, and that is worse."""
    assert better["differences"]["joint"]["stars"]["difference"] > 0
    assert better["helped"]["joint"]["found"] == ["mood", "rank"]
    assert better["hurt"]["joint"] == {"found": ["stars"], "seen": ["stars"]}
    assert better["worst"]["joint"]["task"] == "stars"
    assert better["worst"]["joint"]["gain"] < 0


def test_other_metrics_have_intervals_but_no_tests(better: dict[str, Any]) -> None:
    others = better["differences"]["joint"]["mood"]["others"]
    assert set(others) == {"macro_f1"}
    assert set(others["macro_f1"]) == {"difference", "low", "high"}
    assert better["tests"] == 3


def test_p_values_of_all_tasks_and_strategies_are_one_family() -> None:
    found = compared(answers({"single": 1.5, "joint": 1.5, "sum": 1.7}), ("single", "joint", "sum"))
    entries = [entry for own in found["differences"].values() for entry in own.values()]
    assert found["tests"] == len(entries) == 6
    least = min(entries, key=lambda entry: entry["p"])
    assert least["p_holm"] == pytest.approx(min(1.0, 6 * least["p"]))
    gains = sorted(found["gains"].values(), key=lambda gain: float(gain["p"]))
    assert gains[0]["p_holm"] == pytest.approx(min(1.0, 2 * gains[0]["p"]))


def test_equal_answers_do_not_differ() -> None:
    single = answers({"single": 2.0})
    both = {**single, **{("joint", seed): own for (_, seed), own in single.items()}}
    found = compared(both)
    for entry in found["differences"]["joint"].values():
        assert (entry["difference"], entry["low"], entry["high"]) == (0, 0, 0)
        assert entry["p"] == entry["p_holm"] == 1
        assert all(each["p"] == 1 for each in entry["seeds"])
    assert found["hurt"]["joint"] == found["helped"]["joint"] == {"found": [], "seen": []}
    assert found["gains"]["joint"]["p"] == 1
    assert found["ranks"] == {"single": 1.5, "joint": 1.5}


def test_a_comparison_turned_round_has_the_same_p_values() -> None:
    there = answers({"single": 1.5, "joint": 2.5})
    names = {"single": "joint", "joint": "single"}
    back = {(names[name], seed): own for (name, seed), own in there.items()}
    forward, backward = (compared(each)["differences"]["joint"] for each in (there, back))
    for task, entry in forward.items():
        assert backward[task]["difference"] == pytest.approx(-entry["difference"])
        assert backward[task]["low"] == pytest.approx(-entry["high"])
        assert backward[task]["p"] == pytest.approx(entry["p"])
        for here, other in zip(entry["seeds"], backward[task]["seeds"], strict=True):
            assert other["p"] == pytest.approx(here["p"], abs=0.03)  # a bootstrap counts ties twice


def test_the_order_of_rows_does_not_matter() -> None:
    there = answers({"single": 1.5, "joint": 2.5})
    order = np.random.default_rng(0).permutation(ROWS)

    def mixed(outcome: Outcome) -> Outcome:
        columns = (outcome.references, outcome.predictions, outcome.probabilities, outcome.rows)
        references, predictions, probabilities, rows = (
            [column[at] for at in order] if len(column) else [] for column in columns
        )
        return Outcome(references, predictions, probabilities, rows)

    turned = {run: {task: mixed(o) for task, o in own.items()} for run, own in there.items()}
    one, other = (compared(each)["differences"]["joint"] for each in (there, turned))
    for task, entry in one.items():
        assert other[task]["difference"] == pytest.approx(entry["difference"])
        assert other[task]["rows_error"] == pytest.approx(entry["rows_error"], rel=0.4)
        if entry["test"] != "bootstrap":
            exact = [each["p"] for each in entry["seeds"]]
            assert [each["p"] for each in other[task]["seeds"]] == pytest.approx(exact)


def test_a_strategy_without_chance_is_compared_with_every_seed() -> None:
    found = dict(answers({"single": 1.5, "linear": 2.5}))
    for seed in (1, 2):
        del found["linear", seed]
    entry = compared(found, ("linear", "single"))["differences"]["linear"]["mood"]
    assert [each["seed"] for each in entry["seeds"]] == [0, 1, 2]
    assert entry["seeds_error"] > 0  # that of the single-task models


def test_with_one_seed_the_test_is_the_one_within_it() -> None:
    entries = compared(answers({"single": 1.5, "joint": 2.5}, seeds=1))["differences"]["joint"]
    for entry in entries.values():
        assert entry["p"] == entry["seeds"][0]["p"]
        assert entry["seeds_error"] == 0


def test_the_mean_gain_is_over_tasks_and_relative_to_the_baseline() -> None:
    found = answers({"single": 1.5, "joint": 2.5})
    values = {
        task: [
            np.mean([own.value for (who, _), own in each.main.items() if who == name])
            for name in ("single", "joint")
        ]
        for task, each in measured(found).items()
    }
    signs = {"mood": 1, "rank": 1, "stars": -1}
    gains = [100 * signs[task] * (ours - base) / base for task, (base, ours) in values.items()]
    gain = compared(found)["gains"]["joint"]
    assert gain["difference"] == pytest.approx(np.mean(gains))
    assert gain["at_least"] == pytest.approx(gain["low"])  # one strategy: nothing to correct for
    assert gain["low"] < gain["difference"] < gain["high"]


def test_ranks_are_means_over_tasks_with_ties_shared() -> None:
    levels = {"single": 1.0, "joint": 2.5, "sum": 4.0}
    found = compared(answers(levels, moved={"sum": {"stars": 0.0}}), (*levels,))
    assert found["ranks"] == pytest.approx({"single": 8 / 3, "joint": 5 / 3, "sum": 5 / 3})


def test_without_a_baseline_or_a_rival_nothing_is_tested() -> None:
    assert statistics(measured(answers({"joint": 1.0}, seeds=1), 5), ("joint",)) is None
    assert statistics(measured(answers({"single": 1.0}, seeds=1), 5), ("single",)) is None


def test_a_metric_that_is_undefined_is_left_out() -> None:
    correlation = {"stars": [metrics.build("pearson", [])]}
    there = answers({"single": 1.5, "majority": 0.0}, seeds=2)
    constant = Outcome(there["single", 0]["stars"].references, [0.5] * ROWS)
    found = {
        run: {"stars": constant if run[0] == "majority" else own["stars"]}
        for run, own in there.items()
    }
    assert statistics(measure(found.items(), correlation, 20), ("single", "majority")) is None


def test_without_resamples_nothing_is_known_about_rows() -> None:
    found = statistics(measured(answers({"single": 1.5, "joint": 2.5}), 0), ("single", "joint"))
    assert found is not None
    entry = found["differences"]["joint"]["mood"]
    assert entry["p"] is None
    assert entry["low"] is None
    assert entry["difference"] > 0
    assert found["helped"]["joint"]["found"] == []


def test_a_task_with_few_labels_of_a_large_source_can_miss_a_resample() -> None:
    many = [("shop", at) for at in range(200)]
    outcomes = {
        "many": Outcome(["yes"] * 200, ["yes"] * 200, (), many),
        "few": Outcome(["yes"], ["no"], (), many[:1]),
    }
    accuracy = {task: [metrics.build("accuracy", LABELS)] for task in outcomes}
    found = measure([(("single", 0), outcomes)], accuracy, 40)
    missing_R = np.isnan(found["few"].main["single", 0].replicates_R)
    assert 0 < missing_R.sum() < 40
    assert (found["few"].main["single", 0].replicates_R[~missing_R] == 0).all()


def test_a_pooling_is_measured_in_place_of_its_tasks() -> None:
    rows = [("shop", at) for at in range(4)]
    outcomes = {
        "a": Outcome(["yes", "no"], ["yes", "yes"], (), rows[:2]),
        "b": Outcome(["yes", "no"], ["yes", "no"], (), rows[1:3]),
        "c": Outcome(["no"], ["no"], (), rows[3:]),
    }
    match = metrics.build("exact_match", LABELS)
    pooled = {
        "both": Pooling(("a", "b"), match, by_row=True),
    }
    found = with_poolings(outcomes, pooled)
    assert list(found) == ["c", "both"]
    assert found["both"].rows == [("shop", 1)]
    found = with_poolings(outcomes, {"both": Pooling(("a", "b"), match)})
    assert found["both"].rows == [*rows[:2], *rows[1:3]]


def test_outcomes_are_read_as_they_were_written(tmp_path: Path) -> None:
    there = answers({"single": 2.0}, seeds=1)["single", 0]
    tags = Outcome([["B-x", "O"], ["O"]], [["O", "O"], ["O"]], (), ())
    write_outcomes(tmp_path / "x.json", {**there, "names": tags})
    found = read_outcomes(tmp_path / "x.json")
    assert found["names"] == Outcome(tags.references, tags.predictions, [], [])
    for task, outcome in there.items():
        assert found[task].references == outcome.references
        assert found[task].rows == outcome.rows
        for metric in METRICS[task]:
            values = [
                metric(each.references, each.predictions, each.probabilities)
                for each in (outcome, found[task])
            ]
            assert values[0] == pytest.approx(values[1])
