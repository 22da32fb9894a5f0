"""The page and the live view in a real browser."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from polytask.core.files import read_json, write_json
from polytask.reports.page import write_page
from tests.report_folders import (
    HOSTILE,
    HOSTILE_NAME,
    step_record,
    write_analysis,
    write_tested,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow
CHROMIUM = shutil.which("chromium")
PATIENCE = 20_000
TASKS = [HOSTILE_NAME, "topic", "mood", "tone"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium on the path")
    with sync_api.sync_playwright() as driver:
        started = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield started
        started.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compared")
    write_analysis(write_tested(folder, TASKS, ["single", "joint", "lora", "linear"]), TASKS)
    record = read_json(folder / "comparison.json")
    verdict = {**record["verdict"], "groups": [[HOSTILE]]}
    write_json(folder / "comparison.json", {**record, "verdict": verdict})
    return write_page(folder)


@contextmanager
def opened(browser: Browser, address: str, **options: Any) -> Iterator[Page]:
    """A page that must say nothing on its console and ask nobody else for anything."""
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    yield page
    context.close()
    assert said == []
    assert all(url.startswith(address) for url in asked), asked


def test_the_charts_are_there_and_hostile_text_is_text(browser: Browser, report: Path) -> None:
    with opened(browser, report.as_uri()) as page:
        assert page.locator("svg.chart").count() >= 15
        assert page.locator("#verdict").inner_text().count("<script>alert(1)</script>") == 1
        assert page.locator("figcaption", has_text=HOSTILE_NAME).count() >= 3
        assert page.locator("main img").count() == 0
        sizes = page.evaluate(
            "[...document.querySelectorAll('svg.chart')].map(c => c.getBoundingClientRect().height)"
        )
        assert min(sizes) > 40


def test_languages_and_colours_can_be_switched(browser: Browser, report: Path) -> None:
    with opened(browser, report.as_uri(), color_scheme="dark") as page:
        colour = "getComputedStyle(document.body).backgroundColor"
        dark = page.evaluate(colour)
        page.click("[data-theme-toggle]")
        assert page.evaluate(colour) != dark
        assert page.locator("#verdict h2").inner_text() == "Verdict"
        page.click('[data-language="zh"]')
        assert page.locator("#verdict h2").inner_text() == "结论"
        label = page.locator("#losses svg.chart").first.get_attribute("aria-label") or ""
        assert "训练损失" in label


def test_tables_are_sorted_and_filtered(browser: Browser, report: Path) -> None:
    with opened(browser, report.as_uri()) as page:
        table = page.locator("#comparison table").first
        names = table.locator("tbody th")
        gain = table.locator("thead th", has_text="Δm")
        gain.locator("button").click()
        assert names.all_inner_texts() == ["linear", "lora", "joint", "single"]
        assert gain.get_attribute("aria-sort") == "descending"
        gain.locator("button").click()
        assert names.all_inner_texts() == ["single", "joint", "lora", "linear"]
        page.locator("#comparison input").first.fill("lor")
        assert table.locator("tbody tr:visible th").all_inner_texts() == ["lora"]


def test_values_can_be_read_with_pointer_and_keyboard(browser: Browser, report: Path) -> None:
    with opened(browser, report.as_uri()) as page:
        chart = page.locator("#learning svg.chart").first
        chart.scroll_into_view_if_needed()
        chart.hover()
        tip = page.locator("#tip")
        tip.wait_for(state="visible")
        assert "epoch" in tip.inner_text()
        assert "joint · 1" in tip.inner_text()
        page.mouse.move(0, 0)
        tip.wait_for(state="hidden")
        bars = page.locator("#differences svg.chart").first
        bars.locator('.mark[tabindex="0"]').focus()
        first = tip.inner_text()
        assert "against single" in first
        page.keyboard.press("ArrowDown")
        assert tip.inner_text() != first


def test_nothing_is_wider_than_a_telephone(browser: Browser, report: Path) -> None:
    with opened(browser, report.as_uri(), viewport={"width": 390, "height": 800}) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_what_is_behind_them(
    scheme: str, browser: Browser, report: Path
) -> None:
    with opened(browser, report.as_uri(), color_scheme=scheme) as page:
        poor = page.evaluate(CONTRAST)
        assert poor == []


CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (layers) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const layer of layers) { canvas.fillStyle = layer; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.unshift(getComputedStyle(at).backgroundColor);
    return layers;
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    const style = getComputedStyle(element);
    if (!own || ["SCRIPT", "STYLE"].includes(element.tagName) || !element.getClientRects().length) continue;
    const text = element.closest("text");
    const cell = text?.parentElement.querySelector(".cell");
    const layers = cell ? [getComputedStyle(cell).fill] : behind(text ? text.closest("figure") : element);
    const a = light(rgb(layers)), b = light(rgb([...layers, text ? style.fill : style.color]));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push([element.outerHTML.slice(0, 120), ratio]);
  }
  return poor;
}"""


def heed_interrupts() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so does all that is started there."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def watching(folder: Path) -> Iterator[str]:
    """The command itself, on a free port; ended as Ctrl-C ends it."""
    command = [sys.executable, "-m", "polytask", "watch", str(folder), "--port", "0"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        preexec_fn=heed_interrupts,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[0]
        finally:
            process.send_signal(signal.SIGINT)
            try:
                _, error = process.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
    assert (process.returncode, error) == (0, "")


def test_the_live_page_follows_a_training(browser: Browser, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with watching(folder) as address, opened(browser, address) as page:
        page.locator('[data-state="waiting"]').wait_for()
        folder.mkdir()
        for step in range(1, 4):
            with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(step_record(TASKS, step, 9)) + "\n")
            page.locator(".cards dd", has_text=f"{100 * step / 9:.0f}%").wait_for()
        assert page.locator('[data-state="running"]').count() == 1
        for section in ("losses", "weights", "pace"):
            assert page.locator(f"#{section} svg.chart").count() >= 1
        assert page.locator("main img").count() == 0
