"""``polytask.load`` on an export for onnxruntime: the answers of the run, which may be gone."""

from __future__ import annotations

import itertools
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import polytask
from polytask.core.errors import MissingExtraError, RecipeError, RunError
from tests.end_to_end.exported import ALL, assert_alike, rows, train
from tests.end_to_end.files import polytask as command, write_rows

pytestmark = pytest.mark.slow


class Exported(NamedTuple):
    folder: Path
    rows: list[dict[str, Any]]
    records: list[Any]
    facts: dict[str, Any]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """An export alone: its run is gone, and so are the data."""
    pytest.importorskip("onnxruntime")
    folder, given = tmp_path_factory.mktemp("export"), rows(20, 500)
    run = polytask.load(train(folder / "shop", "transformer", "mmoe"))
    records, facts = [*run.predict(given)], run.describe()
    out = polytask.export(run.folder.path, folder / "out", "onnx")
    shutil.rmtree(folder / "shop")
    return Exported(out, given, records, facts)


def test_it_answers_as_the_run(exported: Exported) -> None:
    loaded = polytask.load(exported.folder)
    assert_alike([*loaded.predict(exported.rows)], exported.records)
    [one] = loaded.predict(exported.rows[:1], ["words", "mood"], top_k=1)
    assert {*one} == {"mood", "words"}
    assert len(one["mood"]["probabilities"]) == 1
    assert {*loaded.tasks} == ALL
    assert [*loaded.tasks["mood"].labels] == ["bad", "good"]
    found = loaded.describe()
    assert found["parameters"] == exported.facts["parameters"]
    assert found["tasks"]["moods"] == {
        **exported.facts["tasks"]["moods"],
        "model": "model.onnx",
    }


def test_rows_are_read_lazily_and_from_files(exported: Exported, tmp_path: Path) -> None:
    texts: Iterator[dict[str, str]] = ({"text": f"parcel {n}"} for n in itertools.count())
    records = polytask.load(exported.folder).predict(texts)
    assert {*next(records)} == ALL - {"words"}
    file = write_rows(tmp_path / "new.jsonl", exported.rows)
    done = command("predict", exported.folder, file, "--output", tmp_path / "found.jsonl")
    assert done.exit_code == 0, done.stderr
    assert len((tmp_path / "found.jsonl").read_text("utf-8").splitlines()) == len(exported.rows)


def test_what_an_export_cannot_do_is_an_error(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RecipeError, match=r"found 'cuda', but the export computes on cpu"):
        polytask.load(exported.folder, device="cuda")
    with pytest.raises(RecipeError, match="vectors: an export holds scores alone"):
        next(polytask.load(exported.folder).embed(exported.rows))
    done = command("evaluate", exported.folder)
    assert done.exit_code == 2
    assert "Evaluate the run that it was made from" in done.stderr
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'polytask\[onnx\]'"):
        polytask.load(exported.folder)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("model.onnx", None, "No such file"),
        ("model/tasks.json", b"{}", "damaged: 2 bytes, but"),
        ("recipe.yaml", b"", "damaged: 0 bytes, but"),
        ("export.json", b"{", "damaged: .* Export again"),
        ("export.json", b'{"format": "huggingface"}', "an export for transformers"),
        ("export.json", b'{"format": "onnx", "precision": "fp32"}', "run format None"),
    ],
)
def test_damaged_and_other_folders_are_refused(
    name: str, content: bytes | None, reason: str, exported: Exported, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(exported.folder, folder)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(RunError, match=reason):
        polytask.load(folder)


def test_the_model_card_may_be_edited(exported: Exported, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(exported.folder, folder)
    (folder / "README.md").write_text("Ours.", encoding="utf-8")
    [record] = polytask.load(folder).predict([exported.rows[0]])
    assert_alike(record, exported.records[0])
