"""What holds for all tests."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side, each with a core of its own
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # tests that need the network are skipped, not stuck
settings.register_profile("patient", deadline=None)  # another test may have the processor
settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each half of the tests begin with modules of slow ones.

    Two workers start with a half each, and whichever is done first takes the last tests of the
    other. So none works on a slow test long after the other has nothing left to do.
    """
    slow = dict.fromkeys(item.path for item in items if item.get_closest_marker("slow"))
    place = {path: number % 2 for number, path in enumerate(slow)}
    fast = [item for item in items if item.path not in place]
    halves = [[item for item in items if place.get(item.path) == half] for half in (0, 1)]
    cut = max(0, len(items) // 2 - len(halves[0]))
    items[:] = [*halves[0], *fast[:cut], *halves[1], *fast[cut:]]


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Neither find what earlier tests have left in the cache, nor leave anything there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POLYTASK_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
