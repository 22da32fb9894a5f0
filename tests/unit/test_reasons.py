"""An analysis in words: worst first, and honest about what did not hold."""

from __future__ import annotations

from typing import Any

from polytask.reports.reasons import curve_text, groups_text, interference_text, transference_text


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
    lines = interference_text({"when": "after", "layers": layers}).splitlines()
    shown = [line for line in lines if " – " in line]
    assert shown[0].startswith("a – c")
    assert "-0.200 ± 0.100" in shown[0]
    assert shown[0].endswith("top (100 %)")
    assert shown[1].startswith("a – b")
    assert shown[2].startswith("b – c")


def test_pairs_are_in_percent_and_affinities_in_thousandths() -> None:
    matrix = {"mean": [[0.0, 0.02], [-0.01, 0.0]], "error": [[None, 0.001], [None, None]]}
    record = {"tasks": ["a", "b"], "preferred": "pairwise", "methods": {"pairwise": matrix}}
    assert "+2.00 ± 0.10" in transference_text(record)
    record = {"tasks": ["a", "b"], "preferred": "lookahead", "methods": {"lookahead": matrix}}
    assert "-10.00" in transference_text(record)


def groups(held: bool) -> dict[str, Any]:
    means = {"mean": 0.01, "error": None}
    tasks = {"a": {"predicted": 0.02, "grouped": 0.01, "joint": 0.03}}
    verified = {
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
    text = groups_text(groups(held=True))
    assert "compare.groups: [[a, b], [c]]" in text
    assert "The prediction held" in text
    assert "One seed shows little" in text
    assert "did not hold" in groups_text(groups(held=False))


def test_the_end_of_a_learning_curve_is_said() -> None:
    points = [{"rows": 50, "gain": 0.1, "error": None}, {"rows": 100, "gain": -0.1, "error": None}]
    assert "about 71 rows" in curve_text({"points": points, "stops_paying": 70.7})
    assert "still pays at 50 rows" in curve_text({"points": points[:1], "stops_paying": None})
    assert "at none" in curve_text({"points": points[1:], "stops_paying": None})
