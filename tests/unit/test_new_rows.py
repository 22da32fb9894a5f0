"""Files to predict are read as the training files were, whatever they are called."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from polytask.assembly.data.new_rows import NewRows, new_views, read_new_file
from polytask.assembly.data.readings import readings
from polytask.assembly.run.prediction import check_overrides
from polytask.core.errors import DataError, RecipeError
from polytask.core.run_folder import RunFolder
from polytask.recipe import Recipe, load

SEMICOLONS = "kind: csv, delimiter: ';', quotes: false, train: train.csv"
FILE = 'label;text\ngood;"nice" phone\n'


def recipe_of(folder: Path, *sources: str) -> Recipe:
    """Return a recipe with a task for each source."""
    data = "".join(f"  d{at}: {{{source}}}\n" for at, source in enumerate(sources))
    tasks = "".join(
        f"  t{at}: {{kind: classification, from: d{at}, target: label}}\n"
        for at in range(len(sources))
    )
    path = folder / "recipe.yaml"
    path.write_text(f"data:\n{data}encoder: bag\ntasks:\n{tasks}", encoding="utf-8")
    return load(path)


def read(recipe: Recipe, path: Path) -> list[NewRows]:
    """Read a file for all tasks of a recipe."""
    known = readings(recipe, RunFolder(path.parent))
    return read_new_file(path, new_views(recipe, {}, recipe.tasks), known, {})


def texts(recipe: Recipe, path: Path) -> list[str]:
    [found] = read(recipe, path)
    return [*found.table.column("text")]


@pytest.mark.parametrize("name", ["new.csv", "NEW.CSV", "new", "new.data", "new.CSV.GZ", "new.gz"])
def test_any_name_is_read_with_the_options_of_the_source(name: str, tmp_path: Path) -> None:
    packed = name.lower().endswith(".gz")
    (tmp_path / name).write_bytes(gzip.compress(FILE.encode()) if packed else FILE.encode())
    assert texts(recipe_of(tmp_path, SEMICOLONS), tmp_path / name) == ['"nice" phone']


def test_a_folder_is_read_with_the_options_of_the_source(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    for name in ("b.csv", "a.csv"):
        (folder / name).write_text(f"label;text\ngood;{name}\n")
    assert texts(recipe_of(tmp_path, SEMICOLONS), folder) == ["a.csv", "b.csv"]


def test_an_unknown_ending_is_refused_where_the_files_of_a_task_are_read_differently(
    tmp_path: Path,
) -> None:
    (tmp_path / "new.data").write_text(FILE)
    recipe = recipe_of(tmp_path, SEMICOLONS, "kind: jsonl, train: train.jsonl")
    section = recipe.tasks["t0"].model_copy(update={"sources": ("d0", "d1")})
    recipe = recipe.model_copy(update={"tasks": {"t0": section}})
    with pytest.raises(DataError, match=r"new.data: cannot tell its format"):
        read(recipe, tmp_path / "new.data")


@pytest.mark.parametrize(("other", "notes"), [("false", 0), ("true", 1)])
def test_a_choice_between_ways_of_reading_is_announced(
    other: str, notes: int, tmp_path: Path
) -> None:
    (tmp_path / "new.csv").write_text(FILE)
    second = f"kind: csv, delimiter: ';', quotes: {other}, train: other.csv"
    recipe = recipe_of(tmp_path, SEMICOLONS, second)
    section = recipe.tasks["t0"].model_copy(update={"sources": ("d0", "d1")})
    recipe = recipe.model_copy(update={"tasks": {"t0": section}})
    [found] = read(recipe, tmp_path / "new.csv")
    assert [*found.table.column("text")] == ['"nice" phone']
    assert len(found.notes) == notes


def test_a_task_that_cannot_read_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text(FILE)
    recipe = recipe_of(tmp_path, SEMICOLONS, "kind: csv, train: other.csv")
    found, *_ = read(recipe, tmp_path / "new.csv")
    assert [view.tasks for view in found.views] == [("t0",)]
    [reason] = found.notes
    assert reason.startswith(f"not predicted: t1. {tmp_path / 'new.csv'}:1: expected ','")


@pytest.mark.parametrize(
    "change", ["train=x.csv", "path=x.csv", "where.label=good", "split.seed=1", "test=x.csv"]
)
def test_a_change_that_would_do_nothing_is_refused(change: str) -> None:
    changes = [f"data.d0.{change}", "seed=1"]
    with pytest.raises(RecipeError) as caught:
        check_overrides(changes)
    assert len(caught.value.mistakes) == 2


def test_tasks_that_find_different_rows_in_a_file_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text("one\ntwo\n\nthree\n")
    recipe = recipe_of(
        tmp_path,
        "kind: text, train: a.txt",
        "kind: text, row: paragraph, train: b.txt",
    )
    expected = (
        r"found 3 rows for t0; 2 rows for t1, .* \(row: line or paragraph\)\. Read it alike for all "
        r"tasks, as with --set data\.NAME\.row=line\."
    )
    with pytest.raises(DataError, match=expected):
        read(recipe, tmp_path / "new.txt")
