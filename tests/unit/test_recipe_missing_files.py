"""Missing data files are reported together with all other mistakes of a recipe."""

from __future__ import annotations

from pathlib import Path

import pytest

from polytask import api
from polytask.core.errors import RecipeError
from polytask.recipe import load

RECIPE = """\
data:
  reviews:
    kind: jsonl
    train:
      - shop/a.jsonl
      - shop/b.jsonl
    valdation: shop/c.jsonl
    test: shop
  lines: {kind: parallel, path: {en: text.en, de: text.de}}
  table: {kind: csv, path: "part-*.csv", encoding: 8}
  none: {kind: tsv}
  hub: {kind: huggingface, path: somebody/something}
encoder: {kind: bag, dimensions: 8}
tasks:
  mood: {kind: clasification, from: reviews}
compare: {strategies: [joint, singel]}
"""


def mistakes_of(path: Path) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        api.load_recipe(path)
    return [mistake.replace(f"{path.parent}/", "") for mistake in caught.value.mistakes]


def test_files_and_other_mistakes_are_one_list_in_the_order_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLYTASK_DATA", str(tmp_path))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "shop").mkdir()
    for name in ("shop/a.jsonl", "shop/b.json", "text.en"):
        (tmp_path / name).touch()
    expected = [
        "recipe.yaml:6: data.reviews.train.1: shop/b.jsonl: no such file. Did you mean shop/b.json",
        "recipe.yaml:7: data.reviews.valdation: unknown key. Did you mean 'validation'?",
        "recipe.yaml:9: data.lines.path.de: text.de: no such file. Did you mean text.en?",
        "recipe.yaml:10: data.table.path: part-*.csv: no file matches this pattern.",
        "recipe.yaml:10: data.table.encoding: ",
        "recipe.yaml:11: data.none: no rows are given",
        "recipe.yaml:13: encoder.dimensions: unknown key.",
        "recipe.yaml:15: tasks.mood.kind: no task type called 'clasification'.",
        "recipe.yaml:16: compare.strategies.1: no strategy called 'singel'.",
    ]
    found = mistakes_of(tmp_path / "recipe.yaml")
    assert len(found) == len(expected)
    for mistake, start in zip(found, expected, strict=True):
        assert mistake.startswith(start)


VALID = "data: {d: {kind: jsonl, path: d.jsonl}}\nencoder: bag\ntasks: {t: classification}\n"


def test_files_are_looked_up_but_not_read(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(VALID)
    [mistake] = mistakes_of(tmp_path / "recipe.yaml")
    assert mistake.startswith("recipe.yaml:1: data.d.path: d.jsonl: no such file.")
    (tmp_path / "d.jsonl").write_bytes(b"\xff not JSON")
    assert api.load_recipe(tmp_path / "recipe.yaml").data.keys() == {"d"}


def test_the_recipe_of_a_run_is_read_without_its_data(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(VALID)
    assert load(tmp_path / "recipe.yaml").data.keys() == {"d"}


@pytest.mark.parametrize("section", ["3", "[]", "jsonl", "{kind: jsnl}", "{path: 3}"])
def test_sections_of_another_form_are_left_to_validation(tmp_path: Path, section: str) -> None:
    (tmp_path / "recipe.yaml").write_text(VALID.replace("{kind: jsonl, path: d.jsonl}", section))
    assert len(mistakes_of(tmp_path / "recipe.yaml")) == 1


def test_an_override_is_named_as_the_place(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(VALID)
    with pytest.raises(RecipeError, match=r"--set data\.d\.path=e\.csv: data\.d\.path: e\.csv: no"):
        api.load_recipe(tmp_path / "recipe.yaml", ["data.d.path=e.csv"])
