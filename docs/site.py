"""Builds the documentation site from the Markdown files of the repository: a hook of MkDocs.

Pages outside of ``docs`` become pages of the site, recipes become files of it. Links follow. A link
to anything else, such as a source folder, becomes plain text: the site has no such page.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "benchmarks/RESULTS.md": "results.md",
}
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s#]*)(#[^)\s]*)?\)")
_FENCE = re.compile(r"^```(\w+) .*$", re.MULTILINE)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages and recipes that are outside of ``docs``."""
    for path, page in PAGES.items():
        text = (ROOT / path).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_plain_fences(_linked(text, path, page))))
    for recipe in _recipes():
        files.append(
            File.generated(config, f"recipes/{recipe.name}", abs_src_path=str(ROOT / recipe))
        )
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return a page of ``docs`` as the site shows it."""
    own = page.file.src_uri
    if own in PAGES.values():
        return markdown
    return _plain_fences(_linked(markdown, f"docs/{own}", own))


def _recipes() -> list[Path]:
    found = [*ROOT.glob("recipes/*.yaml"), *ROOT.glob("src/polytask/recipes/*.yaml")]
    return [path.relative_to(ROOT) for path in found]


def _plain_fences(text: str) -> str:
    """Remove the words after a language, which say how a test runs the block."""
    return _FENCE.sub(r"```\1", text)


def _linked(text: str, path: str, page: str) -> str:
    """Return a text whose links lead to pages of the site.

    :param path: The file of the text, relative to the repository.
    :param page: The page that it becomes.
    """
    recipes = {str(recipe): f"recipes/{recipe.name}" for recipe in _recipes()}

    def replace(link: re.Match[str]) -> str:
        mark, label, target, anchor = link.groups()
        if not target or "://" in target:
            return link[0]
        found = os.path.normpath(PurePosixPath(path).parent / target)
        known = {**PAGES, **recipes}.get(found)
        if found.startswith("docs/") and known is None:
            known = found.removeprefix("docs/")
        if known is None:
            return label
        return (
            f"{mark}[{label}]({os.path.relpath(known, PurePosixPath(page).parent)}{anchor or ''})"
        )

    return _LINK.sub(replace, text)
