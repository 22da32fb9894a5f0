"""Splits: exact shares, groups kept whole, nothing moves, changed data are refused."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from pydantic import ValidationError

from polytask.core.errors import DataError, RunError
from polytask.data.sources import sources
from polytask.data.splits import SplitOptions, assign_splits, load_splits, save_splits, take_splits
from polytask.data.tables import Table

LABELS = ["a"] * 70 + ["b"] * 25 + ["c"] * 4 + ["d"]


def tables(**rows: list[dict[str, Any]]) -> dict[str, Table]:
    return sources.build({"kind": "rows", **rows}, ()).load()


def numbered(number: int) -> list[dict[str, Any]]:
    return [{"x": index} for index in range(number)]


def labelled(labels: list[Any]) -> list[dict[str, Any]]:
    return [{"x": index, "label": label} for index, label in enumerate(labels)]


def split(given: dict[str, Table], **options: Any) -> dict[str, Table]:
    return take_splits(given, assign_splits(given, SplitOptions(**options)))


def values(table: Table, column: str = "x") -> list[Any]:
    return list(table.column(column))


def sizes(splits: dict[str, Table]) -> dict[str, int]:
    return {name: len(table) for name, table in splits.items()}


def test_given_splits_stay_as_they_are() -> None:
    given = tables(train=numbered(6), validation=numbered(3), test=numbered(2))
    assert take_splits(given, assign_splits(given)) == given


def test_validation_is_cut_from_train_unless_told_otherwise() -> None:
    given = tables(train=numbered(100), test=numbered(7))
    assert sizes(split(given)) == {"train": 90, "validation": 10, "test": 7}
    assert sizes(split(given, validation=0.25)) == {"train": 75, "validation": 25, "test": 7}
    assert sizes(split(given, validation=0)) == {"train": 100, "test": 7}


def test_there_is_no_test_split_unless_asked_for() -> None:
    given = tables(rows=numbered(50))
    assert sizes(split(given)) == {"train": 45, "validation": 5}
    assert sizes(split(given, test=0.2)) == {"train": 35, "validation": 5, "test": 10}
    assert sizes(split(tables(train=numbered(50)), test=0.2, validation=0)) == {
        "train": 40,
        "test": 10,
    }


@settings(max_examples=50, deadline=None)
@given(
    number=st.integers(40, 300),
    validation=st.floats(0.05, 0.45),
    test=st.floats(0.05, 0.45),
    seed=st.integers(0, 9),
)
def test_every_row_is_in_one_split_and_shares_are_exact(
    number: int, validation: float, test: float, seed: int
) -> None:
    given = tables(rows=numbered(number))
    splits = split(given, validation=validation, test=test, seed=seed)
    assert sorted(x for table in splits.values() for x in values(table)) == list(range(number))
    assert abs(len(splits["validation"]) - validation * number) <= 1
    assert abs(len(splits["test"]) - test * number) <= 1


def test_the_seed_decides_and_a_place_in_the_file_does_not() -> None:
    given = tables(rows=numbered(1000))
    first, again, other = (split(given, seed=seed)["validation"] for seed in (1, 1, 2))
    assert values(first) == values(again) != values(other)
    # The mean of 100 of the numbers 0 to 999 drawn at random has a standard error of 27.
    assert abs(np.mean(values(first)) - 499.5) < 4 * 27


def test_these_rows_are_drawn_in_every_version() -> None:
    # random() of the Mersenne Twister with seed 0 begins 0.84, 0.76, 0.42, 0.26, 0.51, 0.40, 0.78,
    # 0.30, 0.48, 0.58; in that order every second row of the order of these numbers is held out.
    drawn = [0.84, 0.76, 0.42, 0.26, 0.51, 0.40, 0.78, 0.30, 0.48, 0.58]
    order = np.argsort(drawn)
    found = values(split(tables(rows=numbered(10)), validation=0.5)["validation"])
    assert found == sorted(order[0::2].tolist())


def test_strata_have_equal_shares_in_every_split() -> None:
    splits = split(
        tables(rows=labelled(LABELS)), validation=0.2, test=0.2, stratify="label", seed=3
    )
    for name in ("validation", "test"):
        counts = Counter(values(splits[name], "label"))
        for label, number in Counter(LABELS).items():
            assert abs(counts[label] - 0.2 * number) <= 1
    assert set(values(splits["train"], "label")) == set(LABELS)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from("aaaabbc"), min_size=20, max_size=200), st.integers(0, 3))
def test_every_label_is_seen_in_training(labels: list[str], seed: int) -> None:
    given = tables(rows=labelled(labels))
    splits = split(given, validation=0.2, test=0.2, stratify="label", seed=seed)
    assert set(values(splits["train"], "label")) == set(labels)
    for label, number in Counter(labels).items():
        assert abs(values(splits["test"], "label").count(label) - 0.2 * number) < 2


def test_sets_of_labels_are_strata() -> None:
    labels = [["x"], ["x", "y"], [], None] * 30 + [["x", f"rare {n}"] for n in range(80)]
    splits = split(tables(rows=labelled(labels)), validation=0.1, stratify="label")
    counts = Counter(map(str, values(splits["validation"], "label")))
    assert [counts[str(label)] for label in labels[:4]] == [3, 3, 3, 3]
    assert len(splits["validation"]) == 20


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=15, max_size=60), st.integers(0, 3))
def test_groups_stay_together(numbers: list[int], seed: int) -> None:
    users = [user for user, number in enumerate(numbers) for _ in range(number)]
    rows = [{"x": index, "user": user} for index, user in enumerate(users)]
    splits = split(tables(rows=rows), validation=0.2, test=0.2, group="user", seed=seed)
    found = [set(values(table, "user")) for table in splits.values()]
    assert sum(map(len, found)) == len(set().union(*found)) == len(set(users))
    assert abs(len(splits["test"]) - 0.2 * len(rows)) <= max(numbers)


def test_groups_and_strata_together() -> None:
    rows = [{"user": n // 5, "label": "a" if n < 300 else "b"} for n in range(400)]
    splits = split(tables(rows=rows), validation=0.25, group="user", stratify="label")
    assert Counter(values(splits["validation"], "label")) == {"a": 75, "b": 25}
    users = [set(values(table, "user")) for table in splits.values()]
    assert not users[0] & users[1]


def test_rows_without_a_group_stand_alone() -> None:
    rows = [{"user": None}] * 50 + [{"user": "u"}] * 50
    splits = split(tables(rows=rows), validation=0.2, group="user")
    assert 10 <= values(splits["validation"], "user").count(None) <= 50
    assert values(splits["validation"], "user").count("u") in (0, 50)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test": 0.1}, "the source has test rows, and split.test asks for a share of 0.1"),
        ({"stratify": "lable"}, "no column 'lable'. Did you mean 'label'"),
        ({"group": "user"}, "no column 'user'"),
        ({"validation": 0.001}, "validation gets none of the 100 rows"),
        ({"group": "same"}, "train rows: validation gets none of the 100 rows"),
        ({"stratify": "x"}, "validation gets none of the 100 rows"),
    ],
)
def test_splits_that_cannot_be_made_are_explained(options: dict[str, Any], message: str) -> None:
    rows = [{**row, "same": 1} for row in labelled(LABELS)]
    with pytest.raises(DataError, match=message):
        split(tables(train=rows, test=rows), **options)


@pytest.mark.parametrize("options", [{"validation": 0.5, "test": 0.5}, {"test": -0.1}, {"x": 1}])
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SplitOptions(**options)


def test_saved_splits_come_back_whatever_the_options(tmp_path: Path) -> None:
    given = tables(train=numbered(1000), test=numbered(5))
    made = assign_splits(given, SplitOptions(validation=0.3, seed=5))
    save_splits(tmp_path / "splits" / "source.json", given, made)
    found = take_splits(given, load_splits(tmp_path / "splits" / "source.json", given))
    for name, table in take_splits(given, made).items():
        assert values(found[name]) == values(table)
    record = json.loads((tmp_path / "splits" / "source.json").read_text())
    assert record["train"]["splits"] == {"train": 700, "validation": 300, "test": 0}


def test_a_million_rows_take_little_room(tmp_path: Path) -> None:
    codes = np.zeros(1_000_000, np.uint8)
    codes[np.random.default_rng(0).permutation(1_000_000)[:100_000]] = 1
    save_splits(tmp_path / "splits.json", tables(train=numbered(1)), {"train": codes})
    assert (tmp_path / "splits.json").stat().st_size < 200_000


@pytest.mark.parametrize(
    "now",
    [
        {"train": numbered(9), "test": numbered(5)},
        {"train": [{"x": -n} for n in range(10)], "test": numbered(5)},
        {"train": numbered(10)},
        {"rows": numbered(10), "test": numbered(5)},
    ],
)
def test_other_data_are_refused(now: dict[str, Any], tmp_path: Path) -> None:
    given = tables(train=numbered(10), test=numbered(5))
    save_splits(tmp_path / "splits.json", given, assign_splits(given))
    with pytest.raises(DataError, match=r"splits\.json: the data have changed"):
        load_splits(tmp_path / "splits.json", tables(**now))


@pytest.mark.parametrize("content", ["", "[]", "{}x", '{"train": {}}', '{"train": 1}'])
def test_damaged_splits_are_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "splits.json").write_text(content)
    with pytest.raises(RunError, match=r"splits\.json"):
        load_splits(tmp_path / "splits.json", {})
    with pytest.raises(RunError, match=r"absent\.json"):
        load_splits(tmp_path / "absent.json", {})


def rare(number: int, of: int, seed: int) -> list[dict[str, Any]]:
    """Rows of which a few, anywhere, have stars."""
    chosen = {*np.random.default_rng(seed).permutation(of)[:number].tolist()}
    return [{"x": n, "mood": "good", "stars": float(n) if n in chosen else None} for n in range(of)]


def with_stars(given: dict[str, Table], **options: Any) -> dict[str, int]:
    made = assign_splits(given, SplitOptions(**options), labelled=["mood", "stars", "absent"])
    return {
        name: sum(value is not None for value in values(table, "stars"))
        for name, table in take_splits(given, made).items()
    }


@pytest.mark.parametrize("seed", range(21))
def test_every_split_has_labels_of_a_rare_task(seed: int) -> None:
    given = tables(rows=rare(6, 200, seed))
    assert with_stars(given, validation=0.1, seed=seed) == {"train": 4, "validation": 2}
    assert with_stars(given, seed=seed) == {"train": 4, "validation": 2}
    assert with_stars(given, validation=0.1, test=0.1, seed=seed) == dict.fromkeys(
        ("train", "validation", "test"), 2
    )
    assert min(with_stars(given, test=0.2, seed=seed, group="x").values()) == 2
    assert min(with_stars(given, seed=seed, stratify="mood").values()) >= 2
    given = tables(rows=rare(3, 200, seed))
    assert with_stars(given, test=0.1, seed=seed) == dict.fromkeys(
        ("train", "validation", "test"), 1
    )
    assert with_stars(tables(rows=rare(1, 50, seed)), seed=seed)["train"] == 1


@pytest.mark.parametrize("seed", range(5))
def test_rows_with_the_same_labels_are_split_as_without_them(seed: int) -> None:
    given = tables(rows=[{"x": n, "label": n, "none": None} for n in range(57)])
    options = SplitOptions(validation=0.2, test=0.1, seed=seed)
    plain = assign_splits(given, options)
    made = assign_splits(given, options, labelled=["label", "none", "absent"])
    assert made["all"].tolist() == plain["all"].tolist()


@settings(max_examples=40, deadline=None)
@given(
    patterns=st.lists(st.tuples(*[st.booleans()] * 3), min_size=30, max_size=120),
    seed=st.integers(0, 20),
)
def test_many_patterns_of_labels_leave_the_shares_alone(
    patterns: list[tuple[bool, ...]], seed: int
) -> None:
    rows = [{c: c if has else "" for c, has in zip("abc", p, strict=True)} for p in patterns]
    given = tables(rows=rows)
    made = assign_splits(given, SplitOptions(validation=0.2, seed=seed), labelled=[*"abc"])
    held_out = int((made["all"] == 1).sum())
    assert 0.2 * len(rows) - 1 <= held_out <= 0.2 * len(rows) + 1 + 2 * 3
    for column, number in Counter(c for row in rows for c in row if row[c]).items():
        found = [bool(row[column]) for row in rows]
        there = sum(np.array(found)[made["all"] == 1])
        if number < len(rows):
            assert there >= min(number // 2, 2 if number >= 6 else 1)
            assert number - there >= there
