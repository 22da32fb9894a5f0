"""What holds for all tests."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.thinning import left_out

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side, each with a core of its own
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # tests that need the network are skipped, not stuck
settings.register_profile("patient", deadline=None)  # another test may have the processor
settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full", action="store_true", help="run all cases, not a covering part of them"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("full"):
        return
    away = left_out(items)
    config.hook.pytest_deselected(items=[item for item in items if item in away])
    items[:] = [item for item in items if item not in away]


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Neither find what earlier tests have left in the cache, nor leave anything there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POLYTASK_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
