"""What columns hold: how it is told, stored, read, compared and refused."""

from __future__ import annotations

import csv
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import datasets
import pytest

from polytask.assembly.data.inputs import with_columns
from polytask.assembly.data.loading import load_data
from polytask.assembly.data.views import views_of
from polytask.core.columns import ColumnType, column_type, file_content
from polytask.core.errors import DataError, RecipeError
from polytask.data.leaks import input_keys
from polytask.data.sources import sources
from polytask.data.tables import Table
from polytask.recipe import Recipe, dump, load
from polytask.recipe.schema import AllColumns


def png(grey: int) -> bytes:
    """A picture of one pixel."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes([0, grey])))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")


WAV = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(28)


def table(rows: list[dict[str, Any]], **options: Any) -> Table:
    return sources.build({"kind": "rows", "rows": rows, **options}, ()).load()["all"]


def recipe(folder: Path, tasks: str, data: str = "rows.csv", encoder: str = "bag") -> Recipe:
    (folder / "recipe.yaml").write_text(
        f"data: {{rows: {{kind: {Path(data).suffix[1:]}, path: {data}, split: {{validation: 0.2, test: 0.2}}}}}}\n"
        f"encoder: {encoder}\ntasks: {{{tasks}}}\n",
        encoding="utf-8",
    )
    return load(folder / "recipe.yaml")


@pytest.mark.parametrize(
    ("feature", "expected"),
    [
        (datasets.Value("string"), "text"),
        (datasets.Value("large_string"), "text"),
        (datasets.Value("int64"), "number"),
        (datasets.Value("float32"), "number"),
        (datasets.Value("bool"), "category"),
        (datasets.ClassLabel(names=["a", "b"]), "category"),
        (datasets.Image(decode=False), "image"),
        (datasets.Audio(decode=False), "audio"),
        (datasets.List(datasets.Value("string")), "words"),
        (datasets.LargeList(datasets.Value("int32")), "ids"),
        (datasets.List(datasets.Value("float64")), "array"),
        (datasets.List(datasets.List(datasets.Value("int64"))), "array"),
        (datasets.Array2D((2, 3), "uint8"), "array"),
        ({"en": datasets.Value("string")}, "mapping"),
    ],
)
def test_features_have_types(feature: Any, expected: ColumnType) -> None:
    assert column_type(feature) == expected


def test_values_show_their_types() -> None:
    row = {"a": "x", "b": ["x"], "c": 1.5, "d": True, "e": [1, 2], "f": [0.5], "g": {"h": "x"}}
    found = table([{**row, "photo": png(0), "sound": WAV}])
    assert {name: found.type_of(name) for name in found.columns} == {
        "a": "text", "b": "words", "c": "number", "d": "category", "e": "ids", "f": "array",
        "g": "mapping", "g.h": "text", "photo": "image", "sound": "audio",
    }  # fmt: skip


def test_types_that_are_given_change_values(tmp_path: Path) -> None:
    rows = [{"age": "3.5", "zip": 80331, "photo": "a.png"}, {"age": " ", "zip": "", "photo": ""}]
    (tmp_path / "a.png").write_bytes(png(7))
    (tmp_path / "rows.jsonl").write_text(json.dumps(rows[0]) + "\n", encoding="utf-8")
    types = {"age": "number", "zip": "category", "photo": "image"}
    options = {"kind": "jsonl", "path": str(tmp_path / "rows.jsonl"), "types": types}
    found = sources.build(options, ()).load()["all"]
    assert [found.type_of(name) for name in types] == ["number", "category", "image"]
    assert next(found.column("age")) == 3.5
    assert next(found.column("zip")) == "80331"
    assert file_content(next(found.column("photo"))) == png(7)
    other = table([{"age": "3"}, {"age": " "}, {"age": None}], types={"age": "number"})
    assert [*other.column("age")] == [3.0, None, None]


def test_files_that_are_not_there_are_named_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("photo,label\nnone.png,x\n", encoding="utf-8")
    source = sources.build({"kind": "csv", "path": str(path), "types": {"photo": "image"}}, ())
    with pytest.raises(
        DataError, match=r"rows\.csv:2: column 'photo': there is no file '.*none\.png'"
    ):
        source.load()


def test_equal_files_in_two_folders_name_the_images_beside_them(tmp_path: Path) -> None:
    for folder, grey in ((tmp_path / "one", 1), (tmp_path / "two", 2)):
        folder.mkdir()
        (folder / "photo.png").write_bytes(png(grey))
        (folder / "rows.csv").write_text("photo\nphoto.png\n")
        options = {"kind": "csv", "train": "rows.csv", "types": {"photo": "image"}}
        found = sources.build(options, (folder,)).load()["train"].rows[0]["photo"]
        assert file_content(found) == png(grey)


def test_numbers_that_are_none_are_named() -> None:
    with pytest.raises(DataError, match=r"rows\[1\]: column 'age': found 'old', expected a number"):
        table([{"age": "3"}, {"age": "old"}], types={"age": "number"})


def test_unknown_bytes_are_refused() -> None:
    with pytest.raises(DataError, match=r"no known image or sound format; declare the type"):
        table([{"blob": b"whatever"}])


def test_images_of_a_saved_data_set_arrive_as_bytes(tmp_path: Path) -> None:
    features = {
        "photo": datasets.Image(decode=False),
        "kind": datasets.ClassLabel(names=["a", "b"]),
    }
    rows = {"photo": [{"bytes": png(at), "path": None} for at in range(3)], "kind": [0, 1, 0]}
    datasets.Dataset.from_dict(rows, datasets.Features(features)).save_to_disk(
        str(tmp_path / "set")
    )
    options = {"kind": "huggingface", "path": str(tmp_path / "set")}
    found = sources.build(options, ()).load()["all"]
    assert (found.type_of("photo"), found.type_of("kind")) == ("image", "category")
    assert [file_content(photo) for photo in found.column("photo")] == [png(at) for at in range(3)]
    assert [*found.column("kind")] == ["a", "b", "a"]


def test_sounds_of_a_saved_data_set_arrive_as_bytes(tmp_path: Path) -> None:
    plain = datasets.Dataset.from_dict({"sound": [{"bytes": WAV, "path": None}]})
    plain.cast_column("sound", datasets.Audio(decode=False)).save_to_disk(str(tmp_path / "set"))
    options = {"kind": "huggingface", "path": str(tmp_path / "set")}
    found = sources.build(options, ()).load()["all"]
    assert found.type_of("sound") == "audio"
    assert file_content(next(found.column("sound"))) == WAV


def test_the_same_picture_elsewhere_is_a_leak(tmp_path: Path) -> None:
    for name, grey in (("a.png", 1), ("b.png", 1), ("c.png", 2)):
        (tmp_path / name).write_bytes(png(grey))
    files = [{"bytes": None, "path": str(tmp_path / name)} for name in ("a.png", "b.png", "c.png")]
    one, same, other, inside = input_keys([(f,) for f in [*files, {"bytes": png(1), "path": None}]])
    assert one == same == inside != other


def test_missing_cells_have_keys() -> None:
    one, same, other = input_keys([(None, 1.0), (None, 1.0), ("a", 1.0)])
    assert one == same != other


CSV = "text,extra,stars,label\ngood film,so good,5,yes\nbad film,so bad,1,no\n" * 2


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("all", ("text", "extra", "stars")),
        ("{except: [stars]}", ("text", "extra")),
        ("{except: stars}", ("text", "extra")),
        ("[extra, text]", ("extra", "text")),
    ],
)
def test_inputs_are_looked_up(tmp_path: Path, written: str, expected: tuple[str, ...]) -> None:
    (tmp_path / "rows.csv").write_text(CSV.replace("\ntext,extra,stars,label", ""), "utf-8")
    made = recipe(tmp_path, f"label: {{kind: classification, input: {written}}}")
    resolved = with_columns(made)
    assert resolved.tasks["label"].columns == expected
    (tmp_path / "again.yaml").write_text(dump(resolved), "utf-8")
    assert load(tmp_path / "again.yaml").tasks["label"].columns == expected
    assert isinstance(load_yaml(dump(made), tmp_path).tasks["label"].inputs, AllColumns | tuple)


def load_yaml(text: str, folder: Path) -> Recipe:
    (folder / "dumped.yaml").write_text(text, "utf-8")
    return load(folder / "dumped.yaml")


def test_labels_of_all_tasks_are_no_input(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(CSV, "utf-8")
    tasks = "label: {kind: classification, input: all}, stars: {kind: regression, target: stars, input: all}"
    found = with_columns(recipe(tmp_path, tasks))
    assert {section.columns for section in found.tasks.values()} == {("text", "extra")}


def test_an_unknown_column_is_a_mistake_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(CSV, "utf-8")
    made = recipe(tmp_path, "label: {kind: classification, input: {except: [star]}}")
    with pytest.raises(
        RecipeError, match=r"input\.except: no column 'star'\. Did you mean 'stars'"
    ):
        with_columns(made)


def test_a_column_that_the_encoder_does_not_read_is_a_mistake(tmp_path: Path) -> None:
    rows = [{"stars": stars, "label": "yes"} for stars in range(20)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "rows.jsonl").write_text(lines, "utf-8")
    made = recipe(tmp_path, "label: {kind: classification, input: stars}", "rows.jsonl")
    with pytest.raises(
        DataError, match=r"column 'stars' holds number; the encoder reads text, words"
    ):
        load_data(made)


def test_text_steps_leave_other_columns_alone(tmp_path: Path) -> None:
    with (tmp_path / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text", "code", "label"], ["ＡＢ", "ＡＢ", "x"]])
    (tmp_path / "recipe.yaml").write_text(
        "data: {rows: {kind: csv, path: rows.csv, types: {code: category}}}\n"
        "text: [normalise]\nencoder: bag\n"
        "tasks: {label: {kind: classification, input: [text, code]}}\n",
        encoding="utf-8",
    )
    [view] = views_of(load(tmp_path / "recipe.yaml"))
    found = sources.build(
        {"kind": "csv", "path": str(tmp_path / "rows.csv"), "types": {"code": "category"}}, ()
    ).load()["all"]
    text, code = view.of(found).fields({"text": "ＡＢ", "code": "ＡＢ"})
    assert (text.upper(), code) == ("AB", "ＡＢ")
