"""What the documents say can be done, is there, and is the same in both languages."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from polytask.cli import app
from polytask.recipe import load
from polytask.recipe.built_in import built_in_recipes
from tests.docs.walk import Block, blocks
from tests.thinning import only

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
WALKED = [
    "README.md",
    "ARCHITECTURE.md",
    "docs/augmentation.md",
    "docs/balancing.md",
    "docs/sharing.md",
    "docs/growing.md",
    "docs/inputs.md",
    "docs/plugins.md",
    "docs/tutorial.md",
]
QUICKLY = [
    *WALKED[:2],
    *(f"docs/{name}.md" for name in ("growing", "inputs", "sharing")),
]
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
BASE = {
    "data": {"reviews": {"kind": "synthetic"}},
    "encoder": "bag",
    "tasks": {"sentiment": {"kind": "classification"}},
}
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)


def commands(page: Path) -> Iterator[list[str]]:
    """Every ``polytask`` command of a page, in its text and in its blocks."""
    shown = [block.text for block in blocks(text_of(page)) if block.language == "bash"]
    written = re.findall(r"`(polytask [^`]+)`", prose(page))
    for line in "\n".join([*shown, *written]).splitlines():
        for command in re.split(r"[|&;]", line):
            words = shlex.split(command, comments=True)
            if words[:1] == ["polytask"]:
                yield words[1:]


def anchors(page: Path) -> set[str]:
    """The fragments that links may point at: headings as GitHub writes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.slow
@pytest.mark.parametrize("page", only(QUICKLY, WALKED))
def test_what_a_page_says_can_be_done(page: str, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "POLYTASK_CACHE": str(tmp_path / "cache"),
    }
    folder = tmp_path / "an empty folder"
    folder.mkdir()
    command = [sys.executable, "-m", "tests.docs.walk", str(ROOT / page)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_both_languages_have_the_same_code() -> None:
    def code(page: Path) -> list[tuple[str, dict[str, str], str]]:
        found = blocks(text_of(page))
        return [(block.language, block.options, block.text) for block in found]

    assert code(ROOT / "docs/zh/tutorial.md") == code(ROOT / "docs/tutorial.md")


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?://", target):
            continue
        path, _, fragment = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if fragment:
            assert fragment in anchors(linked), target


@each_page
def test_every_command_exists_with_its_options(page: Path) -> None:
    for name, *words in commands(page):
        if name.startswith("-"):
            assert name in ("--help", "--version", "--debug")
            continue
        known = {option for parameter in COMMANDS[name].params for option in parameter.opts}
        named = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert named <= known | {"--help"}, (name, words)


@each_page
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^(\w+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    named = re.findall(r"(?:^|`)(?:\w+=\S+ )?make (\w+)", text_of(page), re.MULTILINE)
    assert set(named) <= targets


def fragments() -> list[Block]:
    page = text_of(ROOT / "docs/recipes.md")
    return [block for block in blocks(page) if block.language == "yaml"]


@pytest.mark.parametrize("block", fragments(), ids=lambda block: f"line {block.line}")
def test_every_section_shown_is_valid(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    shown = yaml.safe_load(block.text)
    tasks = {name: {"kind": "classification", "from": name} for name in shown.get("data", ())}
    base = {**BASE, "tasks": tasks} if tasks else BASE
    missing = {key: value for key, value in base.items() if key not in shown}
    path.write_text(block.text, encoding="utf-8")
    load(path, [f"{key}={yaml.safe_dump(value)}" for key, value in missing.items()])


def test_the_reference_is_up_to_date(tmp_path: Path) -> None:
    made = tmp_path / "reference.md"
    subprocess.run([sys.executable, str(ROOT / "docs/generate.py"), str(made)], check=True)
    assert text_of(made) == text_of(ROOT / "docs/reference.md"), "run: python docs/generate.py"


def linked_from(page: Path) -> set[Path]:
    """The files and folders that a page links to."""
    targets = re.findall(r"\]\(([^)\s#]+)\)", text_of(page))
    return {(page.parent / target).resolve() for target in targets}


def test_every_recipe_and_package_is_described() -> None:
    recipes = {*ROOT.glob("recipes/*.yaml"), *built_in_recipes().values()}
    assert recipes <= linked_from(ROOT / "docs/recipes.md")
    packages = {path.parent for path in (ROOT / "src/polytask").glob("*/__init__.py")}
    assert packages <= linked_from(ROOT / "ARCHITECTURE.md")


def test_every_guide_is_linked_from_the_readme() -> None:
    assert {*ROOT.glob("docs/*.md")} <= linked_from(ROOT / "README.md")


@each_page
def test_no_machine_is_named(page: Path) -> None:
    assert not re.findall(r"(?<![\w.])/(?:home|work|tmp|root|Users)/\S*", text_of(page))
