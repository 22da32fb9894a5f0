"""Without a network, nobody waits for the Hub; a network that is slow is waited for."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import pytest
from huggingface_hub import constants

from polytask.core.errors import DataError, RecipeError
from polytask.core.hub import hub_is_offline
from polytask.data.sources import sources
from polytask.encoders.huggingface import HuggingFaceEncoder


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A host that takes connections; nothing listens there once it is closed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture(autouse=True)
def hub(listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """That host as the Hub, without a proxy before it."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{listening.getsockname()[1]}")
    monkeypatch.setattr("urllib.request.getproxies", dict)


def raising(error: Exception) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_a_host_that_answers_is_used() -> None:
    assert not hub_is_offline()


def test_a_host_that_refuses_or_is_unknown_is_not(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening.close()
    assert hub_is_offline()
    monkeypatch.setattr(constants, "ENDPOINT", "https://no-such-host.invalid")
    assert hub_is_offline()


def test_a_slow_network_and_a_proxy_are_left_to_the_library(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening.close()
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"http": "http://proxy:3128"})
    assert not hub_is_offline()
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr(socket, "create_connection", raising(TimeoutError()))
    assert not hub_is_offline()


def test_nothing_is_tried_when_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(socket, "create_connection", raising(AssertionError("a connection")))
    assert hub_is_offline()


def test_names_are_refused_at_once(
    listening: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening.close()
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "library")
    monkeypatch.setattr(time, "sleep", raising(AssertionError("somebody waits")))
    with pytest.raises(RecipeError, match=r"no folder 'no/such' .* Hub cannot be reached"):
        HuggingFaceEncoder((tmp_path,), path="no/such").fit([])
    with pytest.raises(DataError, match=r"no/such: no data set .* Couldn't reach"):
        sources.build({"kind": "huggingface", "path": "no/such"}, (tmp_path,)).load()
    assert not datasets.config.HF_HUB_OFFLINE
