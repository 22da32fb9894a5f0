"""The parts of a batch that processes take are the batch."""

from __future__ import annotations

from itertools import chain, islice

import pytest
import torch

from polytask.core.batch import Batch
from polytask.data.pools import Pool
from tests.unit.test_loader import make, make_pools


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> list[Pool]:
    return make_pools(tmp_path_factory.mktemp("pools"))


def parts(pools: list[Pool], ranks: int, placement: str) -> list[tuple[Batch, ...]]:
    """Of some batches, the part of each rank."""
    loaders = [make(pools) for _ in range(ranks)]
    for rank, loader in enumerate(loaders):
        loader.set_rank(rank, ranks, placement)
    return [*islice(zip(*loaders, strict=True), 30)]


def rows(batch: Batch) -> list[list[int]]:
    """The tokens of each row, without padding."""
    if not batch.size:
        return []
    ids_BL: list[list[int]] = batch.inputs["ids"].tolist()
    return [[token for token in row if token >= 0] for row in ids_BL]


@pytest.mark.parametrize("ranks", [1, 2, 4, 9])
@pytest.mark.parametrize("placement", ["rows", "tasks"])
def test_together_they_are_the_batch(ranks: int, placement: str, pools: list[Pool]) -> None:
    for whole, own in zip(islice(make(pools), 30), parts(pools, ranks, placement), strict=True):
        assert sorted(chain.from_iterable(map(rows, own))) == sorted(rows(whole))
        assert sum(part.size for part in own) == whole.size
        assert sum(part.tokens for part in own) == whole.tokens
        for task, targets in whole.targets.items():
            found = [part.targets[task].values for part in own if task in part.targets]
            assert torch.cat(found).sort().values.tolist() == targets.values.sort().values.tolist()


def test_rows_are_divided_evenly(pools: list[Pool]) -> None:
    for own in parts(pools, 2, "rows"):
        assert 0 <= own[0].size - own[1].size <= 1


def test_with_tasks_every_source_is_in_one_place(pools: list[Pool]) -> None:
    first, second = zip(*parts(pools, 2, "tasks"), strict=True)
    assert {task for part in first for task in part.targets} == {"mood", "stars"}
    assert {task for part in second for task in part.targets} == {"topic"}
