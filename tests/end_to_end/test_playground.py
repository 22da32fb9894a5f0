"""The playground in a real browser: answers of all tasks, hostile text stays text, a clean console."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

import polytask
from tests.end_to_end.files import write_experiment
from tests.end_to_end.test_report_browser import browser, opened
from tests.end_to_end.test_serve import RECIPE, SECONDS, Server, rows, start

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["browser"]
pytestmark = pytest.mark.slow
HOSTILE = "<img src=x onerror=alert(1)> good"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("playground")
    files = {"train": rows(24), "validation": rows(8, 100), "test": rows(8, 200)}
    files["train"] = [
        {**row, "mood": row["mood"].replace("good", HOSTILE)} for row in files["train"]
    ]
    recipe = RECIPE.replace(
        "validation: validation.jsonl, test: test.jsonl", "validation: train.jsonl"
    )
    run = polytask.train(write_experiment(folder, recipe, files), folder / "shop").path
    started = start(folder / "log", str(run))
    yield started
    os.kill(started.process.pid, signal.SIGTERM)
    assert started.process.wait(SECONDS) == 0


def test_all_tasks_answer_and_text_stays_text(browser: Browser, server: Server) -> None:
    with opened(browser, f"{server.address}/", color_scheme="dark") as page:
        page.locator("[name=text]").fill(HOSTILE)
        page.locator("[name=tokens]").fill("<b>one</b> two")
        page.get_by_role("button", name="Predict").click()
        page.locator(".answer").first.wait_for()
        shown = page.locator(".answer h2").all_inner_texts()
        assert shown == ["mood", "stars", "words"]
        assert HOSTILE in page.locator(".answer").first.inner_text()
        assert "<b>one</b>" in page.locator(".words").inner_text()
        assert page.locator("#answers img").count() == 0
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        page.get_by_role("button", name="中文").click()
        assert page.locator("html").get_attribute("lang") == "zh"
        assert page.get_by_role("button", name="预测").is_visible()


def test_an_empty_request_and_a_server_that_has_gone_are_said(
    browser: Browser, server: Server
) -> None:
    with opened(browser, f"{server.address}/", viewport={"width": 360, "height": 700}) as page:
        page.get_by_role("button", name="Predict").click()
        assert page.locator("#status").inner_text() == "Enter something to predict."
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 360
