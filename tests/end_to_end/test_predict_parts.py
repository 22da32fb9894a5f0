"""``polytask predict --parts``: nothing lost or twice after SIGKILL; other jobs are refused."""

from __future__ import annotations

import csv
import gzip
import json
import signal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import polytask as package
from polytask.core.files import read_json
from tests.end_to_end.files import polytask, reviews, write_experiment, write_rows
from tests.end_to_end.processes import Moment, fork


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    return package.train(write_experiment(folder), folder / "shop").path


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A folder with a file of each format, an empty one, and a row without a text."""
    folder = tmp_path / "in"
    folder.mkdir()
    rows: list[dict[str, Any]] = [{"text": row["text"]} for row in reviews(50, 300)]
    write_rows(folder / "a.jsonl", [*rows[:24], {"text": None}])
    pq.write_table(pa.Table.from_pylist(rows[24:34]), folder / "b.parquet")
    with (folder / "c.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text"], *([row["text"]] for row in rows[34:40])])
    with gzip.open(folder / "d.jsonl.gz", "wt", encoding="utf-8") as packed:
        packed.writelines(json.dumps(row) + "\n" for row in rows[40:])
    (folder / "e.jsonl").write_text("")
    return folder


def command(run: Path, inputs: Path, out: Path, *more: str) -> list[str]:
    return ["predict", str(run), str(inputs), "--parts", "--out", str(out), *more]


def records(out: Path) -> list[dict[str, Any]]:
    parts = sorted(out.glob("part-*"))
    return [json.loads(line) for part in parts for line in part.read_text("utf-8").splitlines()]


def contents(out: Path) -> dict[str, bytes]:
    return {part.name: part.read_bytes() for part in sorted(out.glob("part-*"))}


def test_parts_hold_what_is_predicted_of_each_file(run: Path, inputs: Path, tmp_path: Path) -> None:
    result = polytask(*command(run, inputs, tmp_path / "out"))
    assert result.exit_code == 0, result.output
    assert "51 rows in 5 parts, 5 files" in result.stdout
    loaded = package.load(run)
    files = sorted(inputs.iterdir())[:-1]
    expected = [record for file in files for record in loaded.predict(file)]
    found = records(tmp_path / "out")
    assert found == expected
    assert "text" in found[24]["mood"]["error"]
    manifest = read_json(tmp_path / "out" / "manifest.json")
    assert [own["rows"] for own in manifest["inputs"]] == [25, 10, 6, 10, 0]
    assert len(manifest["parameters"]["model/model.safetensors"]) == 64


def test_a_killed_prediction_continues(run: Path, inputs: Path, tmp_path: Path) -> None:
    """SIGKILL just before a part is renamed: the part is complete but has no name yet."""
    part = 6  # of the second file
    whole = command(run, inputs, tmp_path / "whole", "--part-rows", "7")
    assert polytask(*whole).exit_code == 0
    again = command(run, inputs, tmp_path / "out", "--part-rows", "7")
    process = fork(again, tmp_path / "log", Moment("os.rename", ".part-", part))
    assert process.wait(60) == -signal.SIGKILL
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("part-*")}
    assert len(kept) == part - 1
    assert polytask(*again).exit_code == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    assert not [*(tmp_path / "out").glob(".part-*")]
    assert "5 of 5 files are finished" in polytask(*again).stderr


def test_a_line_that_is_no_json_is_a_record_with_an_error(run: Path, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "in.jsonl", reviews(6))
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*lines[:3], b'{"text": "cut', b"\xff", *lines[3:]]))
    more = ("--part-rows", "2", "--no-probabilities")
    assert polytask(*command(run, path, tmp_path / "out", *more)).exit_code == 0
    found = [one["mood"] for one in records(tmp_path / "out")]
    assert [one["label"] is None for one in found] == [*[False] * 3, True, True, *[False] * 3]
    assert f"{path}:4: not valid JSON" in found[3]["error"]
    assert f"{path}:5: " in found[4]["error"]


def test_a_deleted_part_is_written_again(run: Path, inputs: Path, tmp_path: Path) -> None:
    again = command(run, inputs, tmp_path / "out", "--part-rows", "7")
    assert polytask(*again).exit_code == 0
    before = contents(tmp_path / "out")
    (tmp_path / "out" / "part-00000-00001.jsonl").unlink()
    assert polytask(*again).exit_code == 0
    assert contents(tmp_path / "out") == before


def test_parquet_parts_have_one_schema(run: Path, inputs: Path, tmp_path: Path) -> None:
    more = ("--part-rows", "7", "--format", "parquet")
    assert polytask(*command(run, inputs, tmp_path / "parquet", *more)).exit_code == 0
    assert polytask(*command(run, inputs, tmp_path / "lines", *more[:2])).exit_code == 0
    table = pa.concat_tables(map(pq.read_table, sorted((tmp_path / "parquet").glob("part-*"))))
    expected = records(tmp_path / "lines")
    assert table["mood.label"].to_pylist() == [one["mood"]["label"] for one in expected]
    whole = [json.loads(text) for text in table["stars.record"].to_pylist()]
    assert whole == [one["stars"] for one in expected]


def test_other_inputs_options_or_folders_are_refused(
    run: Path, inputs: Path, tmp_path: Path
) -> None:
    first = command(run, inputs, tmp_path / "out")
    assert polytask(*first).exit_code == 0
    other = polytask(*first, "--top-k", "1")
    assert (other.exit_code, "other options" in other.stderr) == (2, True)
    (inputs / "a.jsonl").touch()
    assert polytask(*first).exit_code == 0, "the content is the same"
    write_rows(inputs / "a.jsonl", reviews(3))
    other = polytask(*first)
    assert (other.exit_code, "other inputs" in other.stderr) == (2, True)
    assert "Add --out" in polytask("predict", run, inputs, "--parts").stderr
    assert "Add --parts" in polytask("predict", run, inputs, inputs).stderr
    assert "no --parts" in polytask("predict", run, inputs, "--engine", "ray").stderr
    assert "Add --engine ray" in polytask("predict", run, inputs, "--address", "auto").stderr
    missing = polytask(*command(run, tmp_path / "no*", tmp_path / "new"))
    assert (missing.exit_code, "found no file" in missing.stderr) == (2, True)
