"""Files about the project agree with each other."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
TARGETS = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text("utf-8"))


def test_the_citation_has_the_version_and_licence_of_the_package() -> None:
    citation = read("CITATION.cff")
    assert citation["title"] == PROJECT["name"]
    for key in ("version", "license", "keywords"):
        assert citation[key] == PROJECT[key]


def test_ci_runs_what_the_readme_and_the_script_run_on_the_oldest_python() -> None:
    job = read(".github/workflows/ci.yml")["jobs"]["test"]
    commands = [step["run"] for step in job["steps"] if "run" in step]
    script = (ROOT / ".ci" / "run").read_text("utf-8").splitlines()
    assert commands == [line for line in script if line.startswith("make ")]
    oldest, *newer = job["strategy"]["matrix"]["python"]
    assert PROJECT["requires-python"] == f">={oldest}"
    assert newer


def test_hooks_run_tools_of_the_project() -> None:
    [repository] = read(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        program, argument, *_ = shlex.split(hook["entry"])
        assert program.startswith(".venv/bin/") or (program == "make" and argument in TARGETS)
