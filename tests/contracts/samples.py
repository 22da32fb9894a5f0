"""The same rows for tasks of every type, written by every source that can hold them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from pyarrow import parquet

Rows = list[dict[str, Any]]
Write = Callable[[Rows, Path], Any]
"""Writes rows to a path without ending; returns what the source is to be given for them."""

WORDS = ("red", "cat", "runs", "home", "today", "and", "sees", "Ann")


def rows(count: int, first: int = 0) -> Rows:
    """Rows with a column for every task; some have no label, and one is cut by an encoder."""
    return [_row(number) for number in range(first, first + count)]


def _row(number: int) -> dict[str, Any]:
    length = 60 if number % 7 == 3 else 3 + number % 3
    words = [WORDS[(number * 5 + place * 3) % len(WORDS)] for place in range(length)]
    text, kind = " ".join(words), ("calm", "loud")[number % 2]
    row: dict[str, Any] = {
        "id": str(number),
        "text": text,
        "kind": kind,
        "kinds": ["x", "y"][: number % 3],
        "size": number * 0.5,
        "title": f"{kind} {words[0]}",
        "tokens": words,
        "tags": ["B-P", *["O"] * (length - 1)],
        "lemma": [word.lower() for word in words],
        "upos": ["NOUN"] * length,
        "xpos": ["N"] * length,
        "feats": ["Number=Sing", *["_"] * (length - 1)],
        "head": [0, *range(1, length)],
        "deprel": ["root", *["dep"] * (length - 1)],
        "question": f"who {number} ?",
        "context": text,
        "answers": [{"text": words[1], "start": len(words[0]) + 1}] if number % 4 else [],
        "answer": words[1],
        "place": len(words[0]) + 1,
        "choices": [kind, "other", "third"][: 2 + number % 2],
        "choice": number % 2,
        "candidates": [words[0], words[1], kind],
        "relevance": [float(number % 2), 1.0, 0.0],
        "sentences": [text, f"{kind} is it."],
        "gains": [1.0, 0.0],
        "phrases": [words[0]],
        "spans": [[0, 1], [1, 2]],
        "relations": [{"head": 0, "tail": 1, "type": kind}],
    }
    if number % 5 == 4:
        absent = ("kind", "kinds", "size", "title", "tags", "answers", "choice", "relations")
        row.update(dict.fromkeys(absent))
    return row


TASKS: dict[str, dict[str, Any]] = {
    "approval": {"input": ["question", "answer"], "target": "choice"},
    "chat": {"input": "text", "target": "title", "max_tokens": 3},
    "classification": {"target": "kind"},
    "embedding": {"input": ["text", "title_or_text"], "target": "size"},
    "extraction": {"input": "sentences", "target": "gains"},
    "feats": {"target": "feats"},
    "generation": {"target": "title", "max_tokens": 5, "vocabulary": 300},
    "instruction": {"target": "title", "template": "{{ text }} ?", "max_tokens": 3},
    "keyphrases": {"input": "context", "target": "phrases"},
    "language_model": {"target": "text"},
    "lemma": {"target": "lemma"},
    "multilabel": {"target": "kinds"},
    "multiple_choice": {"input": ["text", "choices"], "target": "choice"},
    "parsing": {"target": "head"},
    "preference": {"input": ["question", "text", "answer"]},
    "ranking": {"input": ["question", "candidates"], "target": "relevance"},
    "regression": {"target": "size"},
    "relations": {"input": ["tokens", "spans"], "target": "relations"},
    "span": {"target": "answers"},
    "tagging": {"target": "tags"},
}
"""For every task type: how it reads the rows."""

TASKS["embedding"]["input"] = ["question", "context"]
EVERYTHING = tuple(TASKS)


def _text_of(format_: Callable[[Rows], str], ending: str) -> Write:
    def write(found: Rows, path: Path) -> str:
        file = path.with_suffix(ending)
        file.write_text(format_(found), encoding="utf-8", newline="")
        return str(file)

    return write


def _lines(found: Rows) -> str:
    return "".join(json.dumps(row) + "\n" for row in found)


def _cells(delimiter: str) -> Callable[[Rows], str]:
    plain = (
        "id",
        "text",
        "kind",
        "kinds",
        "size",
        "title",
        "question",
        "context",
        "answer",
        "place",
    )

    def format_(found: Rows) -> str:
        out = io.StringIO()
        writer = csv.DictWriter(out, plain, delimiter=delimiter, extrasaction="ignore")
        writer.writeheader()
        writer.writerows({**row, "kinds": "|".join(row["kinds"] or ())} for row in found)
        return out.getvalue()

    return format_


def _conll(found: Rows) -> str:
    columns = ("tags", "tokens", "feats", "lemma")
    sentences = (zip(*(row[name] for name in columns), strict=True) for row in labelled(found))
    return "\n".join("".join("\t".join(w) + "\n" for w in sentence) for sentence in sentences)


def _conllu(found: Rows) -> str:
    columns = ("tokens", "lemma", "upos", "xpos", "feats", "head", "deprel")
    return "\n".join(
        "".join(
            "\t".join(map(str, (number, *word, "_", "_"))) + "\n"
            for number, word in enumerate(zip(*(row[c] for c in columns), strict=True), start=1)
        )
        for row in found
    )


def _squad(found: Rows) -> str:
    paragraphs = [
        {
            "context": row["context"],
            "qas": [
                {
                    "id": row["id"],
                    "question": row["question"],
                    "answers": [
                        {"text": one["text"], "answer_start": one["start"]}
                        for one in row["answers"] or ()
                    ],
                }
            ],
        }
        for row in found
    ]
    return json.dumps({"data": [{"title": "t", "paragraphs": paragraphs}]})


def _parquet(found: Rows, path: Path) -> str:
    file = path.with_suffix(".parquet")
    parquet.write_table(pa.Table.from_pylist(found), file)
    return str(file)


def _parallel(found: Rows, path: Path) -> dict[str, str]:
    files = {}
    for column in ("text", "kind", "title", "tokens", "tags"):
        values = (row[column] or "" for row in found)
        lines = (value if isinstance(value, str) else " ".join(value) for value in values)
        file = path.with_suffix(f".{column}")
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        files[column] = str(file)
    return files


def labelled(found: Rows) -> Rows:
    """The rows that have all labels."""
    return [row for row in found if row["tags"] is not None]


WRITERS: Mapping[str, Write] = {
    "jsonl": _text_of(_lines, ".jsonl"),
    "json": _text_of(json.dumps, ".json"),
    "csv": _text_of(_cells(";"), ".csv"),
    "tsv": _text_of(_cells("\t"), ".tsv"),
    "conll": _text_of(_conll, ".conll"),
    "conllu": _text_of(_conllu, ".conllu"),
    "squad": _text_of(_squad, ".json"),
    "text": _text_of(lambda found: "".join(f"{row['text']}\n" for row in found), ".txt"),
    "parquet": _parquet,
    "parallel": _parallel,
    "rows": lambda found, path: found,
}
"""For every source whose options are its splits: how rows are written for it."""

OPTIONS: Mapping[str, dict[str, Any]] = {
    "csv": {"delimiter": ";"},
    "tsv": {"quotes": True},
    "conll": {"columns": ["tags", "tokens", "feats", "lemma"]},
    "parallel": {"words": ["tokens", "tags"]},
}
"""Options of sources that are not the default ones, where there are any: prediction needs them."""

_CELL_TASKS = ("classification", "generation", "instruction", "language_model", "regression")
READ: Mapping[str, Sequence[str]] = {
    "csv": (*_CELL_TASKS, "multilabel", "embedding", "span"),
    "tsv": (*_CELL_TASKS, "multilabel", "embedding", "span"),
    "conll": ("tagging", "feats", "lemma"),
    "conllu": ("tagging", "feats", "lemma", "parsing"),
    "squad": ("span",),
    "text": ("language_model",),
    "parallel": ("classification", "generation", "language_model", "tagging"),
    "synthetic": ("classification", "regression", "tagging"),
}
"""The task types whose labels a source can hold; those not named can hold all."""

CHANGED: Mapping[str, Mapping[str, dict[str, Any]]] = {
    "csv": {"multilabel": {"delimiter": "|"}, "span": {"target": "answer", "start": "place"}},
    "tsv": {"multilabel": {"delimiter": "|"}, "span": {"target": "answer", "start": "place"}},
    "conllu": {"tagging": {"target": "upos"}},
    "synthetic": {
        "classification": {"target": "topic"},
        "regression": {"target": "stars"},
        "tagging": {"target": "aspects"},
    },
}
"""Where a source has other columns for a task."""


def saved(splits: Mapping[str, Rows], folder: Path) -> str:
    """Write rows as the datasets library saves them; return the folder."""
    tables = {name: datasets.Dataset(pa.Table.from_pylist(own)) for name, own in splits.items()}
    datasets.DatasetDict(tables).save_to_disk(folder)
    return str(folder)
