"""The wheel does its main job alone: in an empty environment, in another folder, without the repository.

Takes minutes and installs from the package index: set ``POLYTASK_WHEEL=1`` to run it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import polytask
from polytask.recipe.built_in import built_in_recipes

ROOT = Path(__file__).parents[2]
PACKAGE = Path(polytask.__file__).parent
LITTLE = ["data.reviews.size=200", "data.reviews.validation=40", "data.reviews.test=40"]
SHORT = ["training.steps=3", "training.threads=1", "evaluation.bootstrap=20"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        "POLYTASK_WHEEL" not in os.environ,
        reason="installs from the package index; set POLYTASK_WHEEL=1",
    ),
]
Run = Callable[..., str]


def called(command: Sequence[str | Path], folder: Path) -> str:
    """The standard output of a command that must succeed, without our Python path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    called([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT], folder)
    [built] = folder.glob("polytask-*.whl")
    return built


@pytest.fixture(scope="module")
def run(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs ``polytask`` of the wheel, installed into an empty environment, in an empty folder."""
    home, folder = tmp_path_factory.mktemp("environment"), tmp_path_factory.mktemp("elsewhere")
    venv.create(home, with_pip=True)
    pip: list[str | Path] = [home / "bin" / "pip", "install", "-q", "-c", ROOT / "constraints.txt"]
    for wanted in ("torch", wheel):  # torch first, pinned: nothing pulls in another build then
        called([*pip, wanted], folder)
    return lambda *arguments: called([home / "bin" / "polytask", *arguments], folder)


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("polytask/")}
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert held == {path.relative_to(PACKAGE.parent).as_posix() for path in files}


def test_the_wheel_compares_trains_and_checks_a_recipe_by_name(run: Run) -> None:
    assert "no mistakes" in run("check", "quickstart")
    shown = run("list", "recipes")
    assert all(name in shown for name in built_in_recipes())
    changes = ["--set", *LITTLE, *SHORT]
    assert "Run folder: runs/quickstart" in run("train", "quickstart", *changes)
    assert "runs/quickstart-compare" in run("compare", "quickstart", *changes)
