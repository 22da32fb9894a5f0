"""Every rule of the verdict, on records made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from polytask.analysis.verdict import MARGIN, estimate_needed, verdict
from polytask.evaluation.significance import Paired
from polytask.reports.verdict_text import decision
from polytask.reports.wording import LANGUAGES, dictionary

TASKS = ("mood", "topic", "stars")
Gain = dict[str, Any]


def gain(difference: float, error: float, p_holm: float | None = None, seeds: int = 5) -> Gain:
    """What was found out about Δm; half of the variance is by rows."""
    found = Paired(difference, error**2 / 2, error**2 / 2, 500, seeds)
    low, high = found.interval()
    return {
        "difference": difference,
        "low": low,
        "high": high,
        "at_least": low,
        "p_holm": found.p if p_holm is None else p_holm,
        "rows_error": found.rows_variance**0.5,
        "seeds_error": found.seeds_variance**0.5,
        "detectable": found.detectable(),
        "rows": 500,
        "seeds": seeds,
    }


def record(
    gains: Mapping[str, Gain],
    hurt: Mapping[str, Sequence[str]] | None = None,
    helped: Mapping[str, Sequence[str]] | None = None,
    groups: Sequence[Sequence[str]] = (("mood", "topic"), ("stars",)),
) -> dict[str, Any]:
    """A comparison of these strategies with five seeds; all but ``linear`` and ``grouped`` share."""

    def found(tasks: Mapping[str, Sequence[str]] | None) -> dict[str, Any]:
        own = {name: list((tasks or {}).get(name, ())) for name in gains}
        return {name: {"found": each, "seen": each} for name, each in own.items()}

    results: list[dict[str, Any]] = [{"strategy": name, "seed": 0} for name in ("single", *gains)]
    for result in results:
        if result["strategy"] == "grouped":
            result["groups"] = [list(group) for group in groups]
    return {
        "seeds": [0, 1, 2, 3, 4],
        "sharing": [name for name in gains if name not in ("linear", "grouped")],
        "results": results,
        "statistics": {
            "level": 0.05,
            "power": 0.8,
            "gains": dict(gains),
            "hurt": found(hurt),
            "helped": found(helped),
            "differences": {name: dict.fromkeys(TASKS) for name in gains},
        },
    }


GOOD, BAD, EVEN, OPEN = gain(3, 0.5), gain(-3, 0.5), gain(0.1, 0.2), gain(1, 2.0)
UNKNOWN = {
    **EVEN,
    **dict.fromkeys(("p_holm", "low", "high", "at_least", "rows_error", "detectable")),
}

CASES: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "no_baseline": ({"statistics": None, "results": []}, "undecided", None),
    "nothing_shared": (record({"linear": GOOD}), "undecided", None),
    "one_seed": (record({"joint": GOOD}) | {"seeds": [0]}, "undecided", "joint"),
    "untested": (record({"joint": UNKNOWN}), "undecided", "joint"),
    "better": (record({"joint": gain(2, 0.3), "sum": GOOD, "grouped": GOOD}), "share", "sum"),
    "groups_better": (record({"joint": EVEN, "grouped": GOOD}), "groups", "grouped"),
    "not_worse": (record({"joint": EVEN, "grouped": OPEN}), "share", "joint"),
    "groups_not_worse": (record({"joint": BAD, "grouped": EVEN}), "groups", "grouped"),
    "some_hurt": (
        record(
            {"joint": OPEN, "sum": EVEN}, {"joint": ["stars"], "sum": TASKS}, {"joint": ["mood"]}
        ),
        "groups",
        "joint",
    ),
    "none_left": (
        record({"joint": GOOD, "sum": BAD}, {"joint": ["stars", "mood"]}),
        "separate",
        "joint",
    ),
    "worse": (record({"joint": BAD, "sum": EVEN}, {"sum": ["stars"]}), "separate", "sum"),
    "unclear": (record({"joint": OPEN, "sum": BAD}), "undecided", "joint"),
}


@pytest.mark.parametrize("rule", CASES)
def test_every_rule_decides_where_it_fits(rule: str) -> None:
    found, expected, strategy = CASES[rule]
    said = verdict(found)
    assert (said["rule"], said["decision"], said["strategy"]) == (rule, expected, strategy)


def test_every_rule_has_a_case_and_words() -> None:
    rules = {key.removeprefix("verdict.rule.") for key in dictionary() if "verdict.rule" in key}
    assert rules == set(CASES)


@pytest.mark.parametrize("rule", CASES)
def test_every_verdict_is_said_in_every_language(rule: str) -> None:
    found, _, strategy = CASES[rule]
    words = decision({**found, "verdict": verdict(found)})
    assert words is not None
    for language in LANGUAGES:
        texts = [phrase.texts[language] for phrase in (words.said, *words.because)]
        assert all(texts)
        assert not any("None" in text or "nan" in text for text in texts)
        assert strategy is None or any(strategy in text for text in texts)


def test_a_significant_loss_of_less_than_the_margin_is_worth_one_model() -> None:
    small = gain(-MARGIN / 2, MARGIN / 20)
    assert small["p_holm"] < 0.05
    assert verdict(record({"joint": small}))["rule"] == "not_worse"
    assert verdict(record({"joint": gain(-2 * MARGIN, MARGIN / 20)}))["rule"] == "worse"


def test_a_gain_does_not_excuse_a_task_that_is_hurt() -> None:
    said = verdict(record({"joint": GOOD}, {"joint": ["topic"]}))
    assert said["rule"] == "some_hurt"
    assert said["groups"] == [["mood", "stars"], ["topic"]]
    assert said["settle"]["rule"] == "train_groups"
    two = verdict(record({"joint": GOOD}, {"joint": ["topic", "mood"]}))
    assert (two["rule"], two["groups"]) == ("none_left", None)  # nobody is left to share with


def test_what_correction_takes_away_is_not_better() -> None:
    assert verdict(record({"joint": gain(3, 0.9, p_holm=0.2)}))["rule"] != "better"
    said = verdict(record({"joint": UNKNOWN, "sum": gain(-1, 2)}))
    assert (said["rule"], said["settle"]["rule"]) == ("unclear", "nothing")


def test_what_is_better_without_sharing_is_not_passed_over() -> None:
    gains = {"joint": EVEN, "linear": GOOD, "single_all": gain(4, 0.5), "majority": BAD}
    found = record(gains) | {"sharing": ["joint"]}
    words = decision({**found, "verdict": verdict(found)})
    assert words is not None
    [said] = [text.texts["en"] for text in words.because if "Other strategies" in text.texts["en"]]
    assert said.endswith("by Δm: single_all (+4.0 %), linear (+3.0 %).")


@pytest.mark.parametrize(
    ("all_of_it", "said"), [(True, "is +4.0 % (single_all)"), (False, "shows their")]
)
def test_fewer_passes_of_single_task_models_are_said(all_of_it: bool, said: str) -> None:
    found = record({"joint": GOOD, **({"single_all": gain(4, 0.5)} if all_of_it else {})})
    assert verdict(found)["passes"] is None
    found["results"][0]["passes"] = 0.25
    words = decision({**found, "verdict": verdict(found)})
    assert words is not None
    [text] = [one.texts["en"] for one in words.because if "equally many tokens" in one.texts["en"]]
    assert "0.25 times as many passes" in text
    assert said in text


def test_groups_are_those_that_were_trained() -> None:
    said = verdict(record({"grouped": GOOD}))
    assert said["groups"] == [["mood", "topic"], ["stars"]]
    words = decision({**record({"grouped": GOOD}), "verdict": said})
    assert words is not None
    assert words.said.texts["en"] == "Share these groups: {mood, topic} · {stars}"


def test_what_is_asked_for_would_settle_it() -> None:
    """The errors that so many seeds and rows leave are small enough to find the difference."""
    seen = gain(2, 1.2)
    asked = estimate_needed(seen, 0.05)
    assert asked["rule"] == "seeds"
    now = Paired(2, seen["rows_error"] ** 2, seen["seeds_error"] ** 2, 500, 5)
    goal = 2 + MARGIN
    assert now.scale_to(1, asked["seeds"]).detectable() <= goal
    assert now.scale_to(1, asked["seeds"] - 1).detectable() > goal
    assert estimate_needed(gain(0.1, 0.9), 0.05)["rule"] == "rows"
    assert estimate_needed(gain(0, 50), 0.05)["rule"] == "nothing"
