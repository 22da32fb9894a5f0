"""Whether anything is left on the CPU that belongs on the device of the model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.thinning import only

ROOT = Path(__file__).parents[2]


RECIPES = "conll04 embeddings goemotions instruct keyphrases lm pairs_mlm qa scitldr ud_ewt"
"""Of all task types together."""
CASES = {"devices/kinds.py": "", "end_to_end/test_recipes.py": " or ".join(RECIPES.split())}


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("tests", only(["devices/kinds.py"], CASES))
def test_on_another_device(tests: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """In a process of its own, as PyTorch does not forget a device."""
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "tests.devices.plugin", "-k", CASES[tests]),
        *(["--full"] if request.config.getoption("full") else []),
        *("--basetemp", str(tmp_path / "tests"), str(ROOT / "tests" / tests)),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
