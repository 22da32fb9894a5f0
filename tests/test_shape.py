"""The size budgets of ARCHITECTURE.md, so that growth is a decision and not an accident."""

import ast
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
MAX_DEPENDENCIES = 12

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> Iterator[tuple[Function, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Function):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            first = body[0].lineno if body else node.lineno
            yield node, (node.end_lineno or 0) - first + 1


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
