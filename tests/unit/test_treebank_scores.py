"""Our scores of a treebank are those of the official scorer, where that is installed."""

from __future__ import annotations

import gzip
import os
import random
from pathlib import Path
from typing import Any

import pytest

from polytask.data.sources import sources
from polytask.data.sources.conllu import fill_columns
from polytask.tasks import metrics

DATA = Path(os.environ.get("POLYTASK_DATA", Path(__file__).parents[3] / "shared" / "data"))
FILE = "tagging/ud_en_ewt/dev.conllu.gz"
PAIRS = {"upos": "UPOS", "xpos": "XPOS", "feats": "UFeats", "lemma": "Lemmas"}
KINDS = {"upos": "accuracy", "xpos": "accuracy", "feats": "ufeats", "lemma": "lemmas"}


def shuffled_within(values: list[Any], generator: random.Random) -> list[Any]:
    """Some of the entries swapped with their neighbours."""
    changed = list(values)
    for at in range(len(changed) - 1):
        if generator.random() < 0.2:
            changed[at], changed[at + 1] = changed[at + 1], changed[at]
    return changed


def flattened(heads: list[int], generator: random.Random) -> list[int]:
    """A tree in which some words hang from the root word instead."""
    root = heads.index(0) + 1
    return [root if head and generator.random() < 0.3 else head for head in heads]


def test_scores_are_those_of_the_shared_task(tmp_path: Path) -> None:
    udeval = pytest.importorskip("udtools.udeval")
    if not (DATA / FILE).is_file():
        pytest.skip(f"needs {FILE} (set POLYTASK_DATA)")
    blocks = gzip.decompress((DATA / FILE).read_bytes()).decode().split("\n\n")[:150]
    gold, system = tmp_path / "gold.conllu", tmp_path / "system.conllu"
    gold.write_text("\n\n".join(blocks) + "\n\n", encoding="utf-8")
    rows = list(sources.build({"kind": "conllu", "path": str(gold)}, ()).load()["all"].rows)
    generator = random.Random(0)
    found = [
        {
            **{name: shuffled_within(row[name], generator) for name in [*PAIRS, "deprel"]},
            "head": flattened(row["head"], generator),
        }
        for row in rows
    ]
    filled = [fill_columns(row["conllu"], one) for row, one in zip(rows, found, strict=True)]
    system.write_text("\n".join(filled) + "\n", encoding="utf-8")
    with gold.open(encoding="utf-8") as one, system.open(encoding="utf-8") as other:
        read = [udeval.load_conllu(file, file.name, {}) for file in (one, other)]
    scores = udeval.evaluate(*read)
    for name, official in PAIRS.items():
        own = metrics.build(KINDS[name], ())([r[name] for r in rows], [f[name] for f in found])
        assert own == pytest.approx(scores[official].f1)
    gold_arcs, found_arcs = (
        [[*zip(row["head"], row["deprel"], strict=True)] for row in part] for part in (rows, found)
    )
    for name in ("uas", "las"):
        own = metrics.build(name, ())(gold_arcs, found_arcs)
        assert own == pytest.approx(scores[name.upper()].f1)
