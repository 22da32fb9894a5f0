"""What is imported is declared: packages, the extras of optional ones, pins, and mypy's exceptions."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
EXTRAS: dict[str, list[str]] = PYPROJECT["project"]["optional-dependencies"]
OURS = {"polytask", "tests", "benchmarks", "drawings"}
"""Packages of the repository, and one that a test writes."""
INSTALLED = packages_distributions()


@cache
def trees(folder: str) -> list[ast.Module]:
    """The syntax trees of all modules in a folder."""
    return [ast.parse(path.read_text("utf-8")) for path in (ROOT / folder).rglob("*.py")]


def imported(tree: ast.Module) -> Iterator[str]:
    """Modules that import statements name, or that ``pytest.importorskip`` is called with."""
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom(module=str(name), level=0):
                yield name
            case ast.Call(ast.Attribute(attr="importorskip"), [ast.Constant(str(name)), *_]):
                yield name


def distributions(folder: str) -> set[str]:
    """The distributions that the modules of a folder import."""
    modules = {name.split(".")[0] for tree in trees(folder) for name in imported(tree)}
    return set(map(distribution, modules - OURS - sys.stdlib_module_names))


def distribution(module: str) -> str:
    """The distribution of a module; one that is not installed is taken to have its name."""
    top = module.split(".")[0]
    return canonicalize_name(INSTALLED.get(top, [top])[0])


def optional() -> Iterator[tuple[str, str]]:
    """The module and the extra of each call of ``core.optional.require``."""
    for tree in trees("src"):
        values = {
            ast.unparse(node.targets[0]): node.value
            for node in tree.body
            if isinstance(node, ast.Assign)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require":
                extra = next(word.value for word in node.keywords if word.arg == "extra")
                named = values.get(ast.unparse(extra), extra)
                yield ast.literal_eval(node.args[0]), ast.literal_eval(named)


def declared(requirements: list[str]) -> dict[NormalizedName, Requirement]:
    """Requirements by name, those of our own extras unfolded."""
    found: dict[NormalizedName, Requirement] = {}
    for text in requirements:
        requirement = Requirement(text)
        if requirement.name == "polytask":
            for extra in requirement.extras:
                found |= declared(EXTRAS[extra])
        else:
            found[canonicalize_name(requirement.name)] = requirement
    return found


REQUIRED = declared(PYPROJECT["project"]["dependencies"])
TESTED = {**REQUIRED, **declared(EXTRAS["test"])}


def test_required_are_exactly_the_packages_that_the_source_imports() -> None:
    served = distributions("src/polytask/serving") - set(REQUIRED)
    assert served <= set(declared(EXTRAS["serve"]))
    assert distributions("src") - served == set(REQUIRED)
    others = (path for path in (ROOT / "src/polytask").iterdir() if path.name != "serving")
    assert not any(distributions(f"src/polytask/{path.name}") & served for path in others)


@pytest.mark.parametrize("folder", ["tests", "benchmarks"])
def test_what_tests_and_benchmarks_import_is_required_or_in_the_extra_test(folder: str) -> None:
    assert distributions(folder) <= set(TESTED)


@pytest.mark.parametrize(("module", "extra"), sorted(set(optional())))
def test_an_optional_import_is_in_the_extra_that_its_error_names(module: str, extra: str) -> None:
    assert distribution(module) in declared(EXTRAS[extra])


def test_every_tested_package_has_a_pin_within_its_range() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    pinned = {canonicalize_name(name): version for name, version in pins.items()}
    assert set(TESTED) <= set(pinned)
    outside = [r for name, r in TESTED.items() if not r.specifier.contains(pinned[name])]
    assert outside == []


def test_the_makefile_pins_the_same_versions() -> None:
    pins = re.findall(r"[\w-]+==[\d.]+", (ROOT / "Makefile").read_text("utf-8"))
    assert set(pins) <= set((ROOT / "constraints.txt").read_text("utf-8").splitlines())


def test_mypy_passes_over_packages_without_types_that_are_imported() -> None:
    [section] = PYPROJECT["tool"]["mypy"]["overrides"]
    modules = {pattern.removesuffix(".*") for pattern in section["module"]}
    used = set.union(*map(distributions, ("src", "tests", "benchmarks")))
    assert {distribution(module) for module in modules} <= used
    assert [module for module in modules if _is_typed(module)] == []


def _is_typed(module: str) -> bool:
    spec: Any = find_spec(module)
    return any(
        (Path(place) / "py.typed").is_file()
        for place in (spec and spec.submodule_search_locations) or ()
    )
