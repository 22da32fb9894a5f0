"""Data sets of the datasets library, from local folders; nothing here may use the network."""

import json
import socket
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

from polytask.core.errors import DataError
from polytask.data.sources import sources
from polytask.data.tables import Table

FEATURES = Features(
    {
        "text": Value("string"),
        "label": ClassLabel(names=["no", "yes"]),
        "tags": List(ClassLabel(names=["O", "B"])),
        "spans": List({"kind": ClassLabel(names=["x", "y"]), "at": Value("int32")}),
    }
)
ROWS = {
    "text": ["a", "b", "c"],
    "label": [1, 0, -1],
    "tags": [[0, 1], [], [1]],
    "spans": [[{"kind": 1, "at": 3}], [], []],
}


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setenv("POLYTASK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "library")
    monkeypatch.setattr(socket.socket, "connect", refuse)


def dataset() -> Dataset:
    return Dataset.from_dict(ROWS, features=FEATURES)


def saved(folder: Path, *names: str) -> None:
    data = DatasetDict({name: dataset() for name in names}) if names else dataset()
    data.save_to_disk(str(folder / "set"))


def load(folder: Path, **options: Any) -> dict[str, Table]:
    return sources.build({"kind": "huggingface", "path": "set", **options}, (folder,)).load()


def test_class_numbers_become_label_names_at_any_depth(tmp_path: Path) -> None:
    saved(tmp_path)
    table = load(tmp_path)["all"]
    assert list(table.column("label")) == ["yes", "no", None]
    assert list(table.column("tags")) == [["O", "B"], [], ["B"]]
    assert table.rows[0]["spans"] == [{"kind": "y", "at": 3}]
    assert table.where(2) == "set/all[2]"


@pytest.mark.parametrize("name", ["validation", "valid", "val", "dev"])
def test_splits_of_usual_names_are_found(name: str, tmp_path: Path) -> None:
    saved(tmp_path, "train", name, "extra")
    tables = load(tmp_path)
    assert tables.keys() == {"train", "validation"}
    assert tables["validation"].where(0) == f"set/{name}[0]"


def test_splits_of_other_names_are_chosen(tmp_path: Path) -> None:
    saved(tmp_path, "first", "second")
    with pytest.raises(DataError, match="found first, second"):
        load(tmp_path)
    assert load(tmp_path, splits={"train": "second"})["train"].where(0) == "set/second[0]"
    with pytest.raises(DataError, match=r"no split 'third'\. Available: first, second"):
        load(tmp_path, splits={"train": "third"})


def test_renamed_labels_are_not_taken_from_the_cache(tmp_path: Path) -> None:
    saved(tmp_path)
    assert list(load(tmp_path)["all"].column("label")) == ["yes", "no", None]
    info = tmp_path / "set" / "dataset_info.json"
    info.write_text(info.read_text().replace('"yes"', '"ja"'))
    assert list(load(tmp_path)["all"].column("label")) == ["ja", "no", None]


def test_a_folder_of_data_files(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for split in ("train", "test"):
        (tmp_path / "set" / f"{split}.jsonl").write_text(json.dumps({"text": split}) + "\n")
    tables = load(tmp_path)
    assert {split: list(table.column("text")) for split, table in tables.items()} == {
        "train": ["train"],
        "test": ["test"],
    }


def test_progress_bars_are_off_and_stay_as_they_were(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.csv").write_text("text\na\n")
    assert not datasets.are_progress_bars_disabled()
    load(tmp_path)
    assert not datasets.are_progress_bars_disabled()
    assert capfd.readouterr().err == ""


def test_what_is_neither_here_nor_on_the_hub_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no/such/set: no data set of that name"):
        load(tmp_path, path="no/such/set")


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.csv").write_text("text\na\n")
    (tmp_path / "set" / "test.csv").write_text("text\n")
    with pytest.raises(DataError, match=r"set: .* \"test\" corresponds to no data"):
        load(tmp_path)
