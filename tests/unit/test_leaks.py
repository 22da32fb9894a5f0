"""Leaks: what counts as the same row, who has seen it, and known counts of public data sets."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from polytask.data.leaks import HeldOutLeaks, Keys, find_leaks, input_keys
from polytask.data.sources import sources
from polytask.data.sources.files import FileSource

DATA = Path(os.environ.get("POLYTASK_DATA", Path(__file__).parents[3] / "shared" / "data"))
real = pytest.mark.skipif(
    not (DATA / "index.json").is_file(), reason=f"{DATA} holds no data sets; set POLYTASK_DATA"
)


def texts(*rows: str) -> Keys:
    return input_keys((row,) for row in rows)


def read(name: str, *columns: str) -> Keys:
    source = sources.build({"kind": "jsonl", "path": name}, ())
    assert isinstance(source, FileSource)
    return input_keys(tuple(row[c] for c in columns) for _, row in source.read(DATA / name))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The  cat\tsat\n", "the cat sat"),
        ("ＡＢＣ　１２３", "abc 123"),
        ("STRASSE", "straße"),
        (["The", "cat"], "the cat"),
        ("ﬁne", "fine"),
    ],
)
def test_the_same_text_in_another_dress(one: object, other: object) -> None:
    assert input_keys([(one,)]) == input_keys([(other,)])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", "b"), ("b", "a")),
        (("a", "b"), ("a b",)),
        (("a\x1fb",), ("a", "b")),
        (("a.",), ("a",)),
        ((["ab"],), (["a", "b"],)),
        (([1, 2],), ([12],)),
        ((b"a",), (b"b",)),
        ((np.zeros(5000),), (np.eye(5000)[2500],)),
        ((None,), ("",)),
    ],
)
def test_other_inputs_have_other_keys(one: tuple[object, ...], other: tuple[object, ...]) -> None:
    assert input_keys([one]) != input_keys([other])


def test_keys_are_the_same_in_every_process_and_version() -> None:
    # blake2b of "the cat" with 8 bytes, as `b2sum -l 64` prints it.
    assert [f"{key:016x}" for key in texts("The  cat")] == ["d8cb1deb7a9c392a"]


def test_rows_are_found_in_their_own_and_in_other_sources() -> None:
    report = find_leaks(
        {
            ("a", "train"): texts("one", "two", "three", "two"),
            ("a", "test"): texts("two", "four", "five", "one", "two"),
            ("b", "train"): texts("four", "one", "six"),
            ("b", "validation"): texts("six", "seven"),
            ("c", "test"): texts("three"),
        }
    )
    assert report.held_out == (
        HeldOutLeaks("a", "test", rows=5, own_train=3, other_train=2, any_train=4),
        HeldOutLeaks("b", "validation", rows=2, own_train=1, other_train=0, any_train=1),
        HeldOutLeaks("c", "test", rows=1, own_train=0, other_train=1, any_train=1),
    )
    train_rows = {source: rows.tolist() for source, rows in report.train_rows.items()}
    assert train_rows == {"a": [0, 1, 2, 3], "b": [0, 1, 2]}
    held_out = {place: rows.tolist() for place, rows in report.held_out_rows.items()}
    assert held_out == {("a", "test"): [0, 1, 3, 4], ("b", "validation"): [0], ("c", "test"): [0]}


@pytest.mark.parametrize("mend", ["train", "held out"])
def test_nothing_is_left_when_either_list_is_dropped(mend: str) -> None:
    draw = np.random.default_rng(0)
    keys = {
        (source, split): draw.integers(0, 500, 200).astype(np.uint64)
        for source in "abc"
        for split in ("train", "validation", "test")
    }
    report = find_leaks(keys)
    assert all(leaks.any_train for leaks in report.held_out)
    drop = report.held_out_rows
    if mend == "train":
        drop = {(source, "train"): rows for source, rows in report.train_rows.items()}
    mended = find_leaks(keys | {place: np.delete(keys[place], drop[place]) for place in drop})
    assert not any(leaks.any_train for leaks in mended.held_out)
    assert not any(map(len, [*mended.train_rows.values(), *mended.held_out_rows.values()]))


def test_the_report_is_json_and_reads_as_a_line() -> None:
    report = find_leaks({("a", "train"): texts("x", "y"), ("a", "test"): texts("x", "z")})
    assert json.loads(json.dumps(report.record())) == {
        "held_out": [
            {
                "source": "a",
                "split": "test",
                "rows": 2,
                "own_train": 1,
                "other_train": 0,
                "any_train": 1,
            }
        ],
        "train_rows": {"a": 1},
    }
    assert report.summary() == (
        "1 of 2 test rows are in train (1 of the same source, 0 of another); "
        "1 training rows repeat a held-out row"
    )


def test_nothing_held_out_or_nothing_trained_on_is_no_leak() -> None:
    assert find_leaks({("a", "train"): texts("x")}).held_out == ()
    report = find_leaks({("a", "test"): texts("x")})
    assert report.held_out == (HeldOutLeaks("a", "test", 1, 0, 0, 0),)


@real
def test_known_leaks_of_fdu_mtl() -> None:
    folder = "text_cls/fdu_mtl"
    domains = sorted(path.name for path in (DATA / folder).iterdir() if path.is_dir())
    report = find_leaks(
        {
            (domain, split): read(f"{folder}/{domain}/{split}.jsonl.gz", "text")
            for domain in domains
            for split in ("train", "test")
        }
    )
    assert len(domains) == 16
    assert sum(leaks.any_train for leaks in report.held_out) == 559
    assert sum(leaks.own_train for leaks in report.held_out) == 539
    (camera,) = (leaks for leaks in report.held_out if leaks.source == "camera_photo")
    assert (camera.own_train, camera.rows) == (72, 400)


@real
@pytest.mark.parametrize(("split", "shared"), [("train", 498), ("dev", 129), ("test", 123)])
def test_known_pairs_of_mrpc_in_sts_b(split: str, shared: int) -> None:
    pair = ("text_a", "text_b")
    report = find_leaks(
        {
            ("mrpc", "test"): read("pairs/mrpc/test.jsonl.gz", *pair),
            ("stsb", "train"): read(f"pairs/stsb_en/{split}.jsonl.gz", *pair),
        }
    )
    assert report.held_out[0].other_train == shared


@real
def test_online_shopping_has_no_leaks() -> None:
    files = {"train": "train", "validation": "dev", "test": "test"}
    keys = {
        ("shop", split): read(f"zh_cls/online_shopping/{file}.jsonl.gz", "text")
        for split, file in files.items()
    }
    assert not any(leaks.any_train for leaks in find_leaks(keys).held_out)
