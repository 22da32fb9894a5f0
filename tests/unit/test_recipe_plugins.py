"""Parts that live outside the package."""

from __future__ import annotations

import hashlib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch

from polytask.core.errors import RecipeError
from polytask.core.features import Features, TextLayout
from polytask.core.files import write_json
from polytask.core.run_folder import RunFolder
from polytask.data.text import text_steps
from polytask.recipe import load, plugins
from polytask.recipe.plugins import find_missing_plugins, get_loaded_plugins, load_plugins
from polytask.tasks import tasks
from polytask.tasks.losses import total

PLUGIN = '''
from polytask.data.text import TextStep, text_steps

@text_steps.register("{kind}")
class Shout(TextStep):
    """Makes every letter a capital."""

    def __init__(self, *, marks: int = 1) -> None:
        self.marks = marks

    def __call__(self, text):
        return text.upper() + "!" * self.marks
'''
RECIPE = """
data: {{reviews: jsonl}}
encoder: bag
tasks: {{sentiment: classification}}
text: [{{kind: {kind}, marks: 3}}]
"""


@pytest.fixture(autouse=True)
def forget_new_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_steps, "_parts", dict(text_steps._parts))
    monkeypatch.setattr(plugins, "_loaded", {})


def test_a_file_adds_parts_once(tmp_path: Path) -> None:
    file, recipe = tmp_path / "shouting.py", tmp_path / "recipe.yaml"
    file.write_text(PLUGIN.format(kind="shout"), encoding="utf-8")
    recipe.write_text(RECIPE.format(kind="shout"), encoding="utf-8")
    with pytest.raises(RecipeError, match="no text step called 'shout'"):
        load(recipe)
    load_plugins([file])
    load_plugins([file])
    [step] = load(recipe).text
    assert text_steps.build(step)("hi") == "HI!!!"
    assert text_steps.describe("shout") == ("Makes every letter a capital.", "")


def test_a_file_is_recorded_with_its_content_and_missed_by_what_was_made_with_it(
    tmp_path: Path,
) -> None:
    file, run = tmp_path / "shouting.py", RunFolder(tmp_path / "run")
    file.write_text(PLUGIN.format(kind="shout"), encoding="utf-8")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    recorded = [{"path": str(file), "sha256": digest}]
    assert find_missing_plugins(run) == []  # there is no run
    write_json(run.facts, {"plugins": recorded})
    assert get_loaded_plugins() == []
    assert find_missing_plugins(run) == [str(file)]
    load_plugins([file])
    assert get_loaded_plugins() == recorded
    assert find_missing_plugins(run) == []


def test_a_run_whose_plugin_is_forgotten_names_it(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    write_json(run.facts, {"plugins": [{"path": "/shouting.py", "sha256": ""}]})
    run.recipe.write_text(RECIPE.format(kind="shout"), encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load(run.recipe)
    unknown, plugins_of_run = caught.value.mistakes
    assert "no text step called 'shout'" in unknown
    expected = f"{run.path}: was trained with plugins. Give them again: --plugin /shouting.py"
    assert plugins_of_run == expected


FOCAL = """
from torch.nn import functional

from polytask.tasks import tasks
from polytask.tasks.{module} import {parent}


@tasks.register("own_{module}")
class Own({parent}):
    \"\"\"A task type with a loss of its own.

    :param factor: Of the loss.
    \"\"\"

    def __init__(self, name, /, *, factor: float = 2.0, **options) -> None:
        super().__init__(name, **options)
        self.factor = factor

    def loss(self, scores, values):
        return self.factor * super().loss(scores, values)
"""


@pytest.mark.parametrize(
    ("module", "parent", "references"),
    [
        ("classification", "Classification", ["no", "yes"]),
        ("multilabel", "Multilabel", [["a"], ["a", "b"]]),
        ("regression", "Regression", [1.0, 3.0]),
        ("tagging", "Tagging", [["O", "B-x"], ["O", "O"]]),
    ],
)
def test_task_types_are_extended_with_a_loss(
    tmp_path: Path,
    module: str,
    parent: str,
    references: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "_parts", dict(tasks._parts))
    file = tmp_path / f"own_{module}.py"
    file.write_text(FOCAL.format(module=module, parent=parent), encoding="utf-8")
    load_plugins([file])
    plain = tasks.build({"kind": module, "target": "y"}, "t")
    own = tasks.build({"kind": f"own_{module}", "target": "y", "factor": 3.0}, "t")
    assert own.label_type == plain.label_type
    assert {*tasks.schema(f"own_{module}").model_fields} == {
        *tasks.schema(module).model_fields,
        "factor",
    }
    for task in (plain, own):
        task.fit(references)
    targets = [own.encode(reference, {"words": [0, 1]}) for reference in references]
    values = own.collate(targets)
    head = own.head(4).eval()
    tokens_BLD = torch.randn(2, 2, 4)
    index_BW = torch.tensor([[0, 1]] * 2)
    with torch.no_grad():
        scores = head(
            Features(tokens_BLD, torch.ones(2, 2, dtype=torch.bool), TextLayout(index_BW))
        )
    assert total(own.loss(scores, values)) == 3 * total(plain.loss(scores, values))
    rows = [(["w", "w"],)] * 2
    assert own.decode(scores, rows).labels == plain.decode(scores, rows).labels
    assert own.head_shape["kind"] != plain.head_shape["kind"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import polytask\n1 / 0\n", "broken.py:2: ZeroDivisionError: division by zero"),
        ("def f(:\n", "broken.py:1: SyntaxError: "),
        (PLUGIN.format(kind="normalise"), "broken.py:4: ValueError: text step: 'normalise' is already"),
    ],
)  # fmt: skip
def test_a_plugin_that_fails_is_named_with_its_line(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "broken.py"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load_plugins([file])
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["missing.py", "notes.txt"])
def test_a_plugin_must_be_a_python_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").write_text("hello", encoding="utf-8")
    with pytest.raises(RecipeError, match="no such Python file"):
        load_plugins([tmp_path / name])


def test_installed_packages_add_parts_by_their_entry_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "installed_shouting.py").write_text(PLUGIN.format(kind="roar"), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("shouting", "installed_shouting", plugins.GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry])
    load_plugins()
    assert "roar" in text_steps.kinds()


def test_an_installed_package_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("gone", "no_such_module_at_all", plugins.GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry])
    with pytest.raises(RecipeError, match=r"plugin no_such_module_at_all: .*ModuleNotFoundError"):
        load_plugins()
