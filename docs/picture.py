"""Take the picture of the README: the top of a report page, in a headless browser.

python docs/picture.py runs/quickstart-compare docs/report.png
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

WIDTH, HEIGHT = 1120, 900
"""Pixels of the picture."""


def take(page: Path, picture: Path) -> None:
    """Save the top of a page as PNG."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        tab.goto(page.resolve().as_uri())
        tab.screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    folder, picture = map(Path, sys.argv[1:])
    take(folder / "report.html", picture)
