"""Every format of the public data sets: as many rows as their descriptions say, and some facts."""

import gzip
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from polytask.core.batch import Row
from polytask.data.sources import sources
from polytask.data.sources.files import FileSource

DATA = Path(os.environ.get("POLYTASK_DATA", Path(__file__).parents[3] / "shared" / "data"))
pytestmark = pytest.mark.skipif(
    not (DATA / "index.json").is_file(), reason=f"{DATA} holds no data sets; set POLYTASK_DATA"
)

FILES: dict[str, dict[str, Any]] = {
    "lm/zh_songci/dev.jsonl.gz": {"kind": "jsonl"},
    "lm/gutenberg/dev.jsonl.gz": {"kind": "jsonl"},
    "nlu/snips/train.jsonl.gz": {"kind": "jsonl"},
    "zh_cls/cold/test.jsonl.gz": {"kind": "jsonl"},
    "text_cls/tweeteval/hate/train.jsonl.gz": {"kind": "jsonl"},
    "llm/p3_mini/test.jsonl.gz": {"kind": "jsonl"},
    "speech/fsdd/labels.csv.gz": {"kind": "csv"},
    "tabular/ml_yeast/train.csv.gz": {"kind": "csv"},
    "tabular/multi_target/andro.csv.gz": {"kind": "csv"},
    "tagging/conll2000/test.conll.gz": {"kind": "conll", "columns": ["tokens", "pos", "chunk"]},
    "tagging/wnut17/train.conll.gz": {"kind": "conll"},
    "tagging/bio_ner/NCBI-disease-IOB/dev.conll.gz": {"kind": "conll"},
    "zh_tagging/resume_ner/train.conll.gz": {"kind": "conll"},
    "zh_tagging/msra_ner/dev.conll.gz": {"kind": "conll"},
    "tagging/ud_en_ewt/dev.conllu.gz": {"kind": "conllu"},
    "tagging/ud_en_atis/test.conllu.gz": {"kind": "conllu"},
    "tagging/ud_zh_gsd_v13/test.conllu.gz": {"kind": "conllu"},
    "tagging/ud_zh_gsdsimp/test.conllu.gz": {"kind": "conllu"},
}


def read(name: str) -> list[Row]:
    source = sources.build({**FILES[name], "path": name}, (DATA,))
    assert isinstance(source, FileSource)
    return [row for _, row in source.read(DATA / name)]


def described(name: str) -> int:
    """The number of rows that the index of the data sets gives for a file."""
    for entry in json.loads((DATA / "index.json").read_text("utf-8")):
        if name.startswith(entry["path"] + "/"):
            return int(entry["rows"][name.removeprefix(entry["path"] + "/")])
    raise KeyError(name)


@pytest.mark.parametrize("name", FILES)
def test_rows_are_as_many_as_described(name: str) -> None:
    rows = read(name)
    assert len(rows) == described(name)
    for row in rows:
        lists = {len(value) for column, value in row.items() if FILES[name]["kind"] == "conll"}
        assert len(lists) <= 1


def test_labels_are_distributed_as_described() -> None:
    assert Counter(row["speaker"] for row in read("speech/fsdd/labels.csv.gz")) == dict.fromkeys(
        ["george", "jackson", "lucas", "nicolas", "theo", "yweweler"], 500
    )


def test_a_hash_sign_is_a_word_of_conll2000() -> None:
    rows = read("tagging/conll2000/test.conll.gz")
    assert sum(row["tokens"].count("#") for row in rows) == sum(
        row["pos"].count("#") for row in rows
    )
    assert sum(len(row["tokens"]) for row in rows) == 47_377


def test_a_treebank_can_be_written_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYTASK_CACHE", str(tmp_path))
    name = "tagging/ud_en_ewt/dev.conllu.gz"
    source = sources.build({"kind": "conllu", "path": name}, (DATA,))
    table = source.load()["all"]
    original = gzip.decompress((DATA / name).read_bytes()).decode("utf-8")
    assert "".join(f"{sentence}\n\n" for sentence in table.column("conllu")) == original
    assert sum(len(row["tokens"]) for row in read(name)) == 25_147
