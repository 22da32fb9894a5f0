"""The public surface of the package, which imports nothing until it is used."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import polytask
from polytask import api
from polytask.analysis import compare
from polytask.assembly.run import checking, evaluation, loaded_run, training
from polytask.assembly.run.checking import Findings
from polytask.core.errors import InterruptedTrainingError, RunError
from polytask.core.files import write_json
from polytask.core.run_folder import FORMAT, RunFolder
from polytask.recipe import load
from polytask.reports import page

RECIPE = """\
data: {reviews: {kind: jsonl, path: reviews.jsonl}}
encoder: bag
tasks: {sentiment: classification}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "shop.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    (tmp_path / "reviews.jsonl").touch()  # looked up when the recipe is read, but not opened
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_json(tmp_path / "run" / "run.json", {"format": FORMAT})
    (tmp_path / "run" / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    (tmp_path / "run" / "reviews.jsonl").touch()
    return tmp_path / "run"


class Recorder:
    """Stands for a function, remembers what it was called with."""

    def __init__(self, result: Any = None) -> None:
        self.result = result
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __call__(self, *given: Any, **named: Any) -> Any:
        self.calls.append((given, named))
        return self.result


def test_importing_the_package_imports_no_model_code() -> None:
    code = (
        "import sys, polytask, polytask.api; from polytask import PolytaskError, train\n"
        "assert not {'torch', 'transformers', 'datasets', 'numpy', 'rich'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there_and_explained() -> None:
    for name in polytask.__all__:
        assert inspect.getdoc(getattr(polytask, name))
    assert dir(polytask) == sorted(polytask.__all__)


def test_other_names_are_not() -> None:
    name = "trian"
    with pytest.raises(AttributeError, match="'polytask' has no attribute 'trian'"):
        getattr(polytask, name)


def test_a_recipe_may_be_given_by_path_or_as_it_is(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = Recorder(RunFolder(Path("somewhere")))
    monkeypatch.setattr(training, "train", train)
    scored = Recorder({})
    monkeypatch.setattr(evaluation, "evaluate", scored)
    monkeypatch.setattr(evaluation, "has_held_out", lambda run: True)
    monkeypatch.setattr(loaded_run.LoadedRun, "load", Recorder())
    written = Recorder()
    monkeypatch.setattr(page, "write_page", written)
    assert api.train(recipe, resume=True).path == Path("somewhere")
    api.train(load(recipe), "here")
    assert [given for given, _ in train.calls] == [
        (load(recipe), Path("runs/shop")),
        (load(recipe), Path("here")),
    ]
    assert [named["resume"] for _, named in train.calls] == [True, False]
    assert len(scored.calls) == 2
    assert written.calls == 2 * [((Path("somewhere"),), {})]


@pytest.mark.parametrize(
    ("verb", "advice"),
    [
        (api.train, "Run the same command with --resume to continue."),
        (api.compare, "Run the same command to continue."),
    ],
)
def test_what_a_signal_has_stopped_can_be_gone_on_with(
    verb: Callable[[Path], Any], advice: str, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise InterruptedTrainingError("stopped by SIGINT after step 3.")

    monkeypatch.setattr(training, "train", stopped)
    monkeypatch.setattr(compare, "compare", stopped)
    with pytest.raises(InterruptedTrainingError) as caught:
        verb(recipe)
    assert str(caught.value) == f"stopped by SIGINT after step 3. {advice}"


def test_runs_are_opened_before_they_are_used(run: Path) -> None:
    for call in (api.load, api.evaluate, lambda folder: api.predict(folder, [])):
        with pytest.raises(RunError, match="no such run folder"):
            call(run / "missing")
        with pytest.raises(RunError, match="holds no model"):
            call(run)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (None, "found run format None, expected {}: it was written by an older .* Train again."),
        (
            FORMAT - 1,
            "found run format .*, expected {}: it was written by an older .* Train again.",
        ),
        (FORMAT + 1, "found run format .*, expected {}: .* a newer polytask. Upgrade polytask, or"),
    ],
)
def test_a_run_of_another_format_is_refused_in_one_line(
    run: Path, found: int | None, text: str
) -> None:
    write_json(run / "run.json", {"format": found})
    for call in (api.load, api.evaluate, lambda folder: api.predict(folder, [])):
        with pytest.raises(RunError, match=text.format(FORMAT)) as caught:
            call(run)
        assert "\n" not in str(caught.value)


def test_check_reads_the_recipe_first(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = Recorder(Findings(["a mistake"], []))
    monkeypatch.setattr(checking, "check", check)
    assert api.check(recipe).mistakes == ["a mistake"]
    assert check.calls == [((load(recipe),), {})]
