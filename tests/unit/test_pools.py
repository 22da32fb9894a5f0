"""Rows are prepared once, kept on disk, and put together with whatever labels they have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from polytask.core.batch import Fields, Inputs, Row
from polytask.core.collated import Collated
from polytask.core.errors import DataError
from polytask.core.padding import pad
from polytask.data.pools import (
    Collation,
    Pool,
    Preparation,
    at_row,
    collate,
    make_pool,
)
from polytask.data.rows import each_row
from polytask.data.sources import sources
from polytask.data.tables import Table


def make_table(rows: Sequence[Row]) -> Table:
    return sources.build({"kind": "rows", "rows": list(rows)}, ()).load()["all"]


def prepare(rows: Sequence[Fields]) -> list[Inputs]:
    """Words as their lengths; a text without words is refused."""
    if not all(text.split() for (text,) in rows):
        raise DataError("no words")
    return [{"ids": [len(word) for word in text.split()]} for (text,) in rows]


def column(name: str) -> Any:
    return lambda index, row, inputs: row[name]


PREPARATION = Preparation(
    fields=lambda index, row: (row["text"],),
    prepare=prepare,
    length=lambda inputs: len(inputs["ids"]),
    targets={"mood": column("mood"), "stars": column("stars")},
)
COLLATION = Collation(
    lambda rows: Collated(ids=pad([row["ids"] for row in rows], 0)),
    {"mood": torch.tensor, "stars": torch.tensor, "other": torch.tensor},
)
ROWS: list[dict[str, Any]] = [
    {"text": "a bb ccc", "mood": 1, "stars": None},
    {"text": "dddd", "mood": None, "stars": 2.5},
    {"text": "e ff", "mood": None, "stars": None},
    {"text": "g hh i jj", "mood": 0, "stars": 0.0},
]


def make(folder: Path, rows: Sequence[Row] = ROWS, *, labelled: bool = True) -> Pool:
    return make_pool("shop[text]", make_table(rows), PREPARATION, folder, labelled=labelled)


def test_rows_without_a_label_are_left_out_of_training(tmp_path: Path) -> None:
    pool = make(tmp_path)
    assert len(pool) == 3
    assert pool.lengths_N.tolist() == [3, 1, 4]
    assert pool.tasks == ("mood", "stars")


def test_all_rows_are_kept_for_evaluation(tmp_path: Path) -> None:
    pool = make(tmp_path, labelled=False)
    assert pool.lengths_N.tolist() == [3, 1, 2, 4]


def test_a_zero_is_a_label(tmp_path: Path) -> None:
    pool = make(tmp_path, [{"text": "a", "mood": 0, "stars": None}])
    assert len(pool) == 1


def test_a_pool_may_be_empty(tmp_path: Path) -> None:
    pool = make(tmp_path, [ROWS[2]])
    assert len(pool) == 0
    assert pool.lengths_N.dtype == np.int64


def test_rows_are_fetched_in_the_order_asked_for(tmp_path: Path) -> None:
    pool = make(tmp_path)
    fetched = pool.fetch(np.array([2, 0, 0]))
    assert [row["ids"] for row in fetched] == [[1, 2, 1, 2], [1, 2, 3], [1, 2, 3]]


def test_several_pools_share_a_folder(tmp_path: Path) -> None:
    first, second = make(tmp_path), make(tmp_path, ROWS[:1])
    assert len(first) == 3
    assert len(second) == 1


def test_a_batch_names_the_rows_that_carry_a_label(tmp_path: Path) -> None:
    batch = collate(make(tmp_path, labelled=False).fetch(np.array([3, 2, 1, 0])), COLLATION)
    assert batch.size == 4
    assert batch.inputs["ids"].tolist() == [[1, 2, 1, 2], [1, 2, 0, 0], [4, 0, 0, 0], [1, 2, 3, 0]]
    assert batch.targets["mood"].rows_b.tolist() == [0, 3]
    assert batch.targets["mood"].values.tolist() == [0, 1]
    assert batch.targets["stars"].rows_b.tolist() == [0, 2]
    assert_close(batch.targets["stars"].values, torch.tensor([0.0, 2.5]))


def test_a_task_without_a_label_in_the_batch_is_absent(tmp_path: Path) -> None:
    batch = collate(make(tmp_path).fetch(np.array([1])), COLLATION)
    assert set(batch.targets) == {"stars"}


def test_rows_of_different_pools_make_one_batch(tmp_path: Path) -> None:
    other = Preparation(PREPARATION.fields, prepare, PREPARATION.length, {"other": column("other")})
    rows = [{"text": "zzz zz", "other": 7}]
    mixed = make_pool("more[text]", make_table(rows), other, tmp_path).fetch(np.array([0]))
    batch = collate([*make(tmp_path).fetch(np.array([0])), *mixed], COLLATION)
    assert batch.targets["mood"].rows_b.tolist() == [0]
    assert batch.targets["other"].rows_b.tolist() == [1]
    assert batch.targets["other"].values.tolist() == [7]


def test_tokens_are_counted_with_and_without_padding(tmp_path: Path) -> None:
    batch = collate(make(tmp_path).fetch(np.array([0, 1, 2])), COLLATION)
    assert batch.tokens == 3 + 1 + 4
    assert batch.padded == 3 * 4


def test_targets_are_given_position_columns_and_inputs(tmp_path: Path) -> None:
    seen = []

    def target(index: int, row: Row, inputs: Inputs) -> int:
        seen.append((index, row["mood"], inputs["ids"]))
        return index

    preparation = Preparation(PREPARATION.fields, prepare, PREPARATION.length, {"mood": target})
    pool = make_pool("shop[text]", make_table(ROWS[:2]), preparation, tmp_path)
    assert seen == [(0, 1, [1, 2, 3]), (1, None, [4])]
    assert [row["target:mood"] for row in pool.fetch(np.array([0, 1]))] == [0, 1]


@pytest.mark.parametrize("bad", [0, 999, 1000, 2100])
def test_a_row_that_is_refused_is_named_wherever_it_is(bad: int, tmp_path: Path) -> None:
    rows = [{"text": "word", "mood": 1, "stars": None} for _ in range(2101)]
    rows[bad] = {**rows[bad], "text": " "}
    with pytest.raises(DataError, match=rf"^rows\[{bad}\]: no words$"):
        make(tmp_path, rows)


def test_rows_are_read_in_order_over_chunks() -> None:
    rows = [{"number": number} for number in range(2345)]
    assert [row["number"] for row in each_row(make_table(rows))] == [*range(2345)]


def test_rows_are_mappings_of_all_columns() -> None:
    table = make_table([{"a": 1, "b": ["x"]}, {"a": None, "b": []}])
    assert [*each_row(table)] == table.rows.to_list()
    first = next(each_row(table))
    assert {"a", "b"} < set(first)
    assert "c" not in first
    assert first.get("c") is None


def test_only_data_errors_are_given_a_place() -> None:
    table = make_table([{"a": 1}, {"a": 2}])
    with pytest.raises(DataError, match=r"^rows\[1\]: too long$"), at_row(table, 1):
        raise DataError("too long")
    with pytest.raises(KeyError, match=r"^'a'$"), at_row(table, 1):
        raise KeyError("a")
