"""The command line parses, calls the API, prints, and ends mistakes in messages."""

from __future__ import annotations

import errno
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from polytask import api
from polytask.assembly.run.checking import Findings
from polytask.cli import app
from polytask.core.errors import DataError, RunError
from polytask.core.files import write_json
from polytask.core.run_folder import RunFolder
from polytask.recipe import Recipe
from polytask.recipe.built_in import built_in_recipes, describe
from polytask.recipe.registries import REGISTRIES

RECIPE = """\
data: {reviews: {kind: jsonl, path: reviews.jsonl}}
encoder: bag
tasks: {sentiment: {kind: classification}}
"""
COMMANDS = ["train", "evaluate", "predict", "compare", "check", "list", "schema"]
HEAVY = {"torch", "transformers", "datasets", "pydantic", "numpy", "sklearn", "yaml"}


def run(*arguments: str | Path, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "shop.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    (tmp_path / "reviews.jsonl").touch()  # looked up when the recipe is read, but not opened
    return path


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[Recipe, Any, bool]]:
    """What ``train`` is called with, instead of training."""
    calls = []
    finished = RunFolder(tmp_path / "finished")
    write_json(finished.scores, {"test": {"tasks": {}, "pooled": {}, "average": 0.25}})

    def train(recipe: Recipe, run: Path | None, *, resume: bool) -> RunFolder:
        calls.append((recipe, run, resume))
        return finished

    monkeypatch.setattr(api, "train", train)
    return calls


def raising(error: BaseException) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"polytask {command}" in result.stdout
    assert "Examples:" in result.stdout


def test_help_is_immediate_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from polytask.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert not HEAVY & set(json.loads(done.stderr.replace("'", '"')))
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5
    assert all(command in done.stdout for command in COMMANDS)


def test_the_package_runs_as_a_module_and_knows_its_version() -> None:
    command = [sys.executable, "-m", "polytask", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == run("--version").stdout == f"polytask {version('polytask')}\n"


def test_train_passes_on_what_was_asked(
    recipe: Path, trained: list[tuple[Recipe, Any, bool]], tmp_path: Path
) -> None:
    result = run(
        "train", recipe, "--run", tmp_path / "r", "--resume", "--set", "training.epochs=9",
        "--set", "sharing=independent",
    )  # fmt: skip
    assert result.exit_code == 0
    assert "average 0.2500" in result.stdout
    assert result.stdout.endswith(f"Run folder: {tmp_path / 'finished'}\n")
    [(loaded, folder, resume)] = trained
    assert (loaded.name, loaded.training.epochs, loaded.sharing.kind) == ("shop", 9, "independent")
    assert (folder, resume) == (tmp_path / "r", True)


def test_one_set_may_hold_several_changes(
    recipe: Path, trained: list[tuple[Recipe, Any, bool]]
) -> None:
    changes = ["training.epochs=9", "sharing=independent", "name=other"]
    assert run("train", "--set", *changes, "--resume", recipe).exit_code == 0
    [(loaded, _, resume)] = trained
    assert (loaded.training.epochs, loaded.sharing.kind, loaded.name) == (9, "independent", "other")
    assert resume


def test_a_wrong_recipe_is_explained_on_standard_error(recipe: Path) -> None:
    recipe.write_text(f"{RECIPE}trainin: {{}}\nsharing: hardd\n", encoding="utf-8")
    result = run("train", recipe, "--set", "training.epochs=x")
    assert (result.exit_code, result.stdout) == (2, "")
    first, second, third = result.stderr.splitlines()
    assert first == f"{recipe}:4: trainin: unknown key. Did you mean 'training'?"
    assert second.startswith(f"{recipe}:5: sharing: no sharing called 'hardd'.")
    assert third.startswith("--set training.epochs=x: training.epochs: found 'x'")


def test_a_missing_recipe_is_explained_with_its_neighbours(recipe: Path) -> None:
    result = run("train", recipe.with_name("shp.yaml"))
    assert result.exit_code == 2
    assert result.stderr.endswith("shp.yaml: no such file. Did you mean 'shop.yaml'?\n")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (RunError("runs/a: is not empty."), 2, "runs/a: is not empty.\n"),
        (DataError("a.jsonl:17: broken."), 2, "a.jsonl:17: broken.\n"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
        (BrokenPipeError(errno.EPIPE, "the reader has left"), 1, ""),
        (ZeroDivisionError("odd"), 1, "ZeroDivisionError: odd\nTo see the traceback: "),
    ],
)
def test_errors_end_in_a_message_and_an_exit_code(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, message: str
) -> None:
    monkeypatch.setattr(api, "train", raising(error))
    result = run("train", recipe)
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.startswith(message)
    assert "Traceback" not in result.stderr


SWALLOWED = """
import signal
from polytask import api
from polytask.cli.app import main

def half_imported(*_, **__):
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise AttributeError("module has no attribute") from None

api.train = half_imported
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for background jobs
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_that_a_library_turns_into_another_error_is_an_interrupt(recipe: Path) -> None:
    """As NumPy does while it is imported."""
    command = [sys.executable, "-c", SWALLOWED, "train", str(recipe)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (130, "Interrupted.\n")


@pytest.mark.parametrize("by_variable", [True, False])
def test_tracebacks_of_unexpected_errors_are_shown_on_request(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, by_variable: bool
) -> None:
    monkeypatch.setattr(api, "train", raising(ZeroDivisionError("odd")))
    if by_variable:
        monkeypatch.setenv("POLYTASK_DEBUG", "1")
    result = run(*([] if by_variable else ["--debug"]), "train", recipe)
    assert isinstance(result.exception, ZeroDivisionError)


@pytest.mark.parametrize("arguments", [["trian"], ["train"], ["train", "a", "--epochs", "3"]])
def test_wrong_usage_ends_in_2(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_predict_writes_a_line_per_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def predict(
        run: Path, rows: Path, *, task_best: bool, left_out: Callable[[str], object], **_: object
    ) -> Iterator[dict[str, Any]]:
        left_out("no stars")
        for line in rows.read_text(encoding="utf-8").splitlines():
            yield {"best" if task_best else "mood": {"label": json.loads(line)["text"]}}

    monkeypatch.setattr(api, "predict", predict)
    rows = '{"text": "好"}\n{"text": "bad"}\n'
    expected = '{"mood": {"label": "好"}}\n{"mood": {"label": "bad"}}\n'
    source, target = tmp_path / "rows.jsonl", tmp_path / "out" / "predicted.jsonl"
    source.write_text(rows, encoding="utf-8")
    result = run("predict", "runs/shop", source)
    assert (result.stdout, result.stderr) == (expected, "note: no stars\n")
    assert run("predict", "runs/shop", "-", stdin=rows).stdout == expected
    best = run("predict", "runs/shop", "-", "--task-best", stdin=rows).stdout
    assert best == expected.replace("mood", "best")
    assert run("predict", "runs/shop", source, "--output", target).stdout == ""
    assert target.read_text(encoding="utf-8") == expected


def test_a_failed_prediction_leaves_no_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def predict(run: Path, rows: Path, **_: object) -> Iterator[dict[str, Any]]:
        yield {}
        raise DataError("rows.jsonl:2: broken.")

    monkeypatch.setattr(api, "predict", predict)
    assert run("predict", "r", "rows.jsonl", "--output", tmp_path / "out.jsonl").exit_code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables that show what they are given."""
    shown = SimpleNamespace(render_scores=json.dumps, render_comparison=json.dumps)
    for name in ("tables", "comparison_text"):
        monkeypatch.setitem(sys.modules, f"polytask.reports.{name}", shown)


@pytest.mark.usefixtures("tables")
def test_evaluate_prints_the_scores_of_a_split(monkeypatch: pytest.MonkeyPatch) -> None:
    def evaluate(run: Path, split: str | None, *, task_best: bool, **_: Any) -> dict[str, Any]:
        return {str(run): [split, task_best]}

    monkeypatch.setattr(api, "evaluate", evaluate)
    assert run("evaluate", "runs/shop").stdout == '{"runs/shop": [null, false]}\n'
    result = run("evaluate", "runs/shop", "--split", "train", "--task-best")
    assert result.stdout == '{"runs/shop": ["train", true]}\n'


@pytest.mark.usefixtures("tables")
def test_compare_takes_strategies_and_seeds_besides_those_of_the_recipe(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compare(recipe: Recipe, run: Path | None) -> dict[str, Any]:
        return {str(run): [*recipe.compare.strategies, recipe.compare.seeds]}

    monkeypatch.setattr(api, "compare", compare)
    shown = run("compare", recipe).stdout.splitlines()
    folder = Path("runs", "shop-compare")
    assert shown == [f'{{"{folder}": ["linear", "single", "joint", 5]}}', f"Run folder: {folder}"]
    result = run("compare", recipe, "--run", "c", "--strategies", "linear,joint", "--seeds", "2")
    assert result.stdout.splitlines()[0] == '{"c": ["linear", "joint", 2]}'
    result = run("compare", recipe, "--seeds", "0")
    assert result.stderr.startswith("--set compare.seeds=0: compare.seeds: found 0, expected")


def test_check_reports_all_mistakes_and_warnings_of_the_data(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Findings(["a.jsonl: no such file", "b.jsonl:3: broken"], ["c.jsonl:4: odd"])
    monkeypatch.setattr(api, "check", lambda _: found)
    result = run("check", recipe)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        "warning: c.jsonl:4: odd",
        "a.jsonl: no such file",
        "b.jsonl:3: broken",
    ]


def test_check_lets_a_recipe_pass_that_has_only_warnings(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "check", lambda _: Findings([], ["c.jsonl:4: odd"]))
    result = run("check", recipe)
    assert (result.exit_code, result.stderr) == (0, "warning: c.jsonl:4: odd\n")
    assert "no mistakes" in result.stdout


@pytest.mark.parametrize("name", sorted(REGISTRIES))
def test_list_shows_every_part_with_its_line_options_and_paper(name: str) -> None:
    shown = " ".join(run("list", name).stdout.split())
    for kind in REGISTRIES[name].kinds():
        line, paper = REGISTRIES[name].describe(kind)
        assert " ".join(line.split()) in shown
        assert paper in shown
        assert all(
            option in shown
            for option in REGISTRIES[name].schema(kind).model_fields
            if option != "kind"
        )


def test_list_without_a_name_shows_all_registries() -> None:
    lines = [line.strip() for line in run("list").stdout.splitlines()]
    assert set(REGISTRIES) <= set(lines)


def test_list_shows_the_built_in_recipes() -> None:
    shown = " ".join(run("list", "recipes").stdout.split())
    for name, file in built_in_recipes().items():
        assert f"{name} {describe(file)}" in shown


def test_list_of_an_unknown_registry_names_the_nearest() -> None:
    result = run("list", "balancer")
    assert result.exit_code == 2
    assert result.stderr == "no registry called 'balancer'. Did you mean 'balancers'?\n"


def test_schema_prints_json() -> None:
    assert json.loads(run("schema").stdout)["properties"]["encoder"]
