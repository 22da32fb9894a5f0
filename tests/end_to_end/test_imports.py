"""Commands import no library that their recipe does not need: these take seconds to import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.files import polytask, write_experiment
from tests.thinning import only

SLOW = (
    "optuna",
    "scipy.optimize",
    "scipy.stats",
    "sklearn",
    "sympy",
    "torch._dynamo",
    "transformers",
)
SCRIPT = """
import sys
from polytask.cli import app
app(sys.argv[1:], standalone_mode=False)
print("imported:", *sorted(sys.modules))
"""


def imported(*arguments: str | Path) -> set[str]:
    """The modules that are there after a command."""
    command = [sys.executable, "-c", SCRIPT, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *_, last = done.stdout.strip().rsplit("imported:", 1)
    return set(last.split())


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_experiment(tmp_path_factory.mktemp("imports"))
    assert polytask("train", path, "--run", path.parent / "run").exit_code == 0
    return path


@pytest.mark.parametrize("command", only(["predict"], ["check", "predict"]))
def test_slow_libraries_are_imported_only_where_they_are_used(command: str, recipe: Path) -> None:
    arguments = {
        "check": ("check", recipe),
        "predict": ("predict", recipe.parent / "run", recipe.parent / "test.jsonl"),
    }
    found = imported(*arguments[command])
    assert "torch" in found
    assert found.isdisjoint(SLOW)
