"""Built-in recipes are found by name from any folder, and need no data files."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from polytask import api
from polytask.core.errors import RecipeError
from polytask.recipe.built_in import built_in_recipes, describe

SHOP = "data: {a: {kind: jsonl, path: a.jsonl}}\nencoder: bag\ntasks: {b: classification}\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_recipes_are_package_data() -> None:
    found = [Path(str(file)) for file in (files("polytask") / "recipes").iterdir()]
    assert sorted(found) == sorted(built_in_recipes().values())
    assert "quickstart" in built_in_recipes()


@pytest.mark.parametrize("name", built_in_recipes())
def test_a_name_is_enough_and_paths_are_relative_to_the_working_folder(
    name: str, folder: Path
) -> None:
    recipe = api.load_recipe(name, ["training.epochs=1"])
    assert recipe.name == name
    assert recipe.training.epochs == 1
    assert recipe.data_root == str(folder)
    assert describe(built_in_recipes()[name]).endswith(".")


def test_a_local_file_wins(folder: Path) -> None:
    (folder / "a.jsonl").touch()
    (folder / "quickstart").write_text(SHOP)
    assert list(api.load_recipe("quickstart").tasks) == ["b"]


@pytest.mark.parametrize("path", ["quickstart.yaml", "here/quickstart"])
def test_a_path_is_no_name(path: str, folder: Path) -> None:
    with pytest.raises(RecipeError, match=rf"{path}: no such file\.$"):
        api.load_recipe(path)


def test_an_unknown_name_gets_the_nearest_and_all_known_ones(folder: Path) -> None:
    (folder / "shop.yaml").write_text(SHOP)
    known = ", ".join(["shop.yaml", *built_in_recipes()])
    for name, near in {"quikstart": "quickstart", "shop": "shop.yaml"}.items():
        with pytest.raises(RecipeError) as caught:
            api.load_recipe(name)
        assert str(caught.value) == (
            f"{name}: no such file and no built-in recipe. Did you mean {near!r}? Known: {known}."
        )
