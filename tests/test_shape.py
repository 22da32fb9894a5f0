"""The size budgets of ARCHITECTURE.md, so that growth is a decision and not an accident."""

import ast
import re
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "polytask"
FILES = sorted(SOURCE.rglob("*.py"))
MAX_FILE_LINES = 300
MAX_BODY_LINES = 40
MAX_LOOP_LINES = 120
MAX_DEPENDENCIES = 18
"""Twelve that are chosen, and six that these install anyway and that src imports by name:
huggingface-hub, markupsafe, pydantic-core, scipy, tokenizers and typing-extensions."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> Iterator[tuple[Function, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Function):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            first = body[0].lineno if body else node.lineno
            yield node, (node.end_lineno or 0) - first + 1


def documented(path: Path) -> Iterator[tuple[str, set[str], set[str]]]:
    """Functions and classes by name, what their docstrings call parameters, and what they take."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Function | ast.ClassDef):
            stated = {*re.findall(r":param \**(\w+):", ast.get_docstring(node) or "")}
            if stated:
                yield node.name, stated, {*taken(node)}


def taken(node: Function | ast.ClassDef) -> Iterator[str]:
    """Parameters of a function; fields and parameters of the methods that make an instance."""
    if isinstance(node, Function):
        yield from (found.arg for found in ast.walk(node.args) if isinstance(found, ast.arg))
        return
    for part in node.body:
        if isinstance(part, Function) and part.name in {"__init__", "__call__"}:
            yield from taken(part)
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            yield part.target.id


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_documented_parameters_exist(path: Path) -> None:
    for name, stated, parameters in documented(path):
        assert not parameters or stated <= parameters, f"{name}: {stated - parameters}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_file_fits_budget(path: Path) -> None:
    assert path.read_text(encoding="utf-8").count("\n") <= MAX_FILE_LINES
    for node, lines in functions(path):
        assert lines <= MAX_BODY_LINES, f"{node.name} is {lines} lines"


def test_most_functions_are_short() -> None:
    assert statistics.median(lines for path in FILES for _, lines in functions(path)) <= 8


def test_the_loop_is_read_in_one_sitting() -> None:
    assert (SOURCE / "training" / "loop.py").read_text("utf-8").count("\n") <= MAX_LOOP_LINES


def test_required_dependencies_are_few() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert len(project["dependencies"]) <= MAX_DEPENDENCIES


def test_importing_the_package_does_not_import_torch() -> None:
    heavy = "[m for m in ('torch', 'transformers', 'datasets', 'sklearn') if m in sys.modules]"
    code = f"import sys, polytask, polytask.cli; print({heavy})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
