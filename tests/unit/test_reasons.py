"""An analysis in words: worst first, and honest about what did not hold."""

from __future__ import annotations

from typing import Any

from polytask.reports.analysis_tables import (
    render_curve,
    render_groups,
    render_interference,
    render_transference,
    render_verification,
)


def pair(first: str, second: str, cosine: float | None, conflict: float | None) -> dict[str, Any]:
    return {
        "tasks": [first, second], "cosine": cosine, "error": 0.1, "conflict": conflict, "looks": 4,
    }  # fmt: skip


def test_the_worst_pair_comes_first_with_its_worst_layer() -> None:
    layers = {
        "all": [pair("a", "b", 0.3, 0.0), pair("a", "c", -0.2, 0.75), pair("b", "c", None, None)],
        "low": [pair("a", "c", -0.1, 0.5)],
        "top": [pair("a", "c", -0.5, 1.0)],
    }
    lines = render_interference({"when": "after", "layers": layers}).splitlines()
    shown = [line for line in lines if " – " in line]
    assert shown[0].startswith("a – c")
    assert "-0.200 ± 0.100" in shown[0]
    assert shown[0].endswith("top (100 %)")
    assert shown[1].startswith("a – b")
    assert shown[2].startswith("b – c")


def test_pairs_are_in_percent_and_affinities_in_thousandths() -> None:
    matrix = {"mean": [[0.0, 0.02], [-0.01, 0.0]], "error": [[None, 0.001], [None, None]]}
    record = {"tasks": ["a", "b"], "preferred": "pairwise", "methods": {"pairwise": matrix}}
    assert "+2.00 ± 0.10" in render_transference(record)
    record = {"tasks": ["a", "b"], "preferred": "lookahead", "methods": {"lookahead": matrix}}
    assert "-10.00" in render_transference(record)


def groups(held: bool) -> dict[str, Any]:
    means = {"mean": 0.01, "error": None}
    tasks = {"a": {"predicted": 0.02, "grouped": 0.01, "joint": 0.03}}
    verified: dict[str, Any] = {
        "seeds": [0], "gains": {"grouped": means, "joint": means}, "tasks": tasks, "held": held,
        "sign": 1.0,
    }  # fmt: skip
    return {
        "from": "pairwise",
        "proposed": {"groups": [["a", "b"], ["c"]]},
        "recipes": ["groups-2/1-a-b.yaml", "groups-2/2-c.yaml"],
        "by_models": [{"models": 1, "value": 0.01}],
        "verified": verified,
    }


def test_whether_the_prediction_held_is_said() -> None:
    text = render_groups(groups(held=True))
    assert "compare.groups: [[a, b], [c]]" in text
    assert "The prediction held" in text
    assert "One seed shows little" in text
    assert "did not hold" in render_groups(groups(held=False))


def test_why_fewer_models_are_proposed_than_gain_most_is_said() -> None:
    record = groups(held=True)
    instead = {"models": 3, "cross_validated": 0.02, "error": 0.03}
    record["by_models"] = [{"models": 1, "value": 0.01, "groups": [["a", "b", "c"]]}]
    record["by_models"] += [{"models": 2, "value": 0.02, "groups": [["a", "b"], ["c"]]}]
    record["by_models"] += [{"models": 3, "value": 0.03, "groups": [["a"], ["b"], ["c"]]}]
    text = render_groups({**record, "instead": instead})
    assert "3 models are predicted to gain more" in text
    assert "they gain +2.00 ± 3.00 over those proposed" in text
    assert "compare.groups: [[a], [b], [c]]" in text
    assert "predicted to gain more" not in render_groups({**record, "instead": None})


def test_gains_that_are_undefined_are_in_no_mean_and_named() -> None:
    verified: dict[str, Any] = {
        "seeds": [0, 1], "sign": None, "held": True, "without": ["b"],
        "gains": {key: {"mean": 0.01, "error": 0.02} for key in ["grouped", "joint"]},
        "tasks": {
            "a": {"predicted": 0.02, "grouped": 0.01, "joint": 0.01},
            "b": {"predicted": 0.02, "grouped": None, "joint": None},
        },
    }  # fmt: skip
    text = render_verification(verified, 100.0)
    assert ["b", "+2.00", "–", "–"] in map(str.split, text.splitlines())
    assert "The prediction held" in text
    assert "Means are without b, whose gain is undefined." in text
    nothing = {"mean": None, "error": None}
    verified |= {"gains": {"grouped": nothing, "joint": nothing}, "held": None}
    assert "Nothing can be said" in render_verification(verified, 100.0)
    point = {"rows": 50, "gain": None, "error": None, "without": ["a", "b"]}
    text = render_curve({"points": [point], "stops_paying": None})
    assert ["50", "–", "a,", "b"] in map(str.split, text.splitlines())
    assert "Gains are undefined at all of these sizes." in text


def test_the_end_of_a_learning_curve_is_said() -> None:
    points = [{"rows": 50, "gain": 0.1, "error": None}, {"rows": 100, "gain": -0.1, "error": None}]
    assert "about 71 rows" in render_curve({"points": points, "stops_paying": 70.7})
    assert "still pays at 50 rows" in render_curve({"points": points[:1], "stops_paying": None})
    assert "at none" in render_curve({"points": points[1:], "stops_paying": None})
