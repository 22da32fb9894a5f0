"""Perplexities of counting, neural and attending language models on the two small files of WikiText-2.

All learn from the validation file of WikiText-2 and are tested on its test file, the training file
being too large to be at hand. Lines are cut into pieces of at most 64 words, each of which is read
without those before it. A twentieth of the pieces of the validation file says after which pass a
network is best. All see the same subwords, learned from the other pieces. Given is the perplexity
of a subword, and of a word: the same costs, shared among words and ends of pieces. ``Kneser-Ney``
is interpolated and modified (Chen and Goodman, 1999), the feed-forward network that of Bengio et
al. (2003), the transformer the encoder of that name with ``causal``. Seconds are of the processor.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.n_grams import KneserNey
from polytask.assembly.model.assemble import load_model
from polytask.assembly.run.evaluation import evaluate
from polytask.assembly.run.loaded_run import LoadedRun
from polytask.assembly.run.training import train
from polytask.core.files import read_json, write_text
from polytask.core.run_folder import RunFolder
from polytask.recipe import Recipe, load

PIECE = 64
"""Words of a piece, at most."""
HELD_OUT = 20
"""One piece of so many selects."""
LONGEST = 5
"""The n of the longest n-grams."""
FILES = Path("lm") / "wikitext2_valid_test"
NETWORKS: dict[str, dict[str, Any]] = {
    "feed-forward network": {
        "kind": "neural_n_gram",
        "context": LONGEST - 1,
        "dimension": 128,
        "width": 256,
    },
    "transformer": {
        "kind": "transformer",
        "causal": True,
        "layers": 2,
        "width": 128,
        "heads": 4,
        "feed_forward": 512,
    },
}


@dataclass(frozen=True)
class Row:
    """What is known of a model.

    :param size: How many parameters, or n-grams, it has.
    :param nats: Mean cost of a subword of the test pieces.
    :param seconds: Of the processor.
    """

    name: str
    size: int
    nats: float
    seconds: float


def pieces(file: Path) -> Iterator[str]:
    """The lines of a file that are not empty, long ones cut."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            words = line.split()
            for start in range(0, len(words), PIECE):
                yield " ".join(words[start : start + PIECE])


def splits(data: Path, folder: Path) -> dict[str, list[str]]:
    """Training, validation and test pieces, which are also written as JSON Lines."""
    known = [*pieces(data / FILES / "valid.txt.gz")]
    found = {
        "train": [piece for place, piece in enumerate(known) if place % HELD_OUT],
        "validation": known[::HELD_OUT],
        "test": [*pieces(data / FILES / "test.txt.gz")],
    }
    for split, texts in found.items():
        rows = (json.dumps({"text": text}) + "\n" for text in texts)
        write_text(folder / f"{split}.jsonl", "".join(rows))
    return found


def recipe_of(encoder: dict[str, Any], folder: Path, epochs: float, vocabulary: int) -> Recipe:
    """A recipe of one causal language model."""
    sources = {split: f"{split}.jsonl" for split in ("train", "validation", "test")}
    size = {"vocabulary": vocabulary, "max_length": 512}
    content = {
        "name": "wikitext",
        "data_root": str(folder),
        "data": {"wikitext": {"kind": "jsonl", **sources}},
        "encoder": {**encoder, **size},
        "tasks": {"lm": {"kind": "language_model", "input": "text"}},
        "training": {
            "epochs": epochs,
            "batch_tokens": 1024,
            "learning_rate": 2e-3,
            "warmup": 0.05,
            "evaluate_every": 1,
            "precision": "fp32",
            "threads": 1,
        },
        "evaluation": {"bootstrap": 0},
    }
    file = folder / f"{encoder['kind']}.yaml"
    write_text(file, json.dumps(content))
    return load(file)


def trained(name: str, recipe: Recipe, folder: Path) -> tuple[RunFolder, Row]:
    """Train a network; its run, and its row of the table."""
    begun = time.process_time()
    run = train(recipe, folder / name, console=Console(stderr=True))
    spent = time.process_time() - begun
    perplexity = evaluate(LoadedRun.load(run), "test").scores["tasks"]["lm"]["perplexity"]["value"]
    facts = read_json(run.facts)
    return run, Row(name, facts["trained_parameters"], math.log(perplexity), spent)


def counted(ids: dict[str, list[list[int]]], vocabulary: int) -> Iterator[Row]:
    """Rows of Kneser-Ney models, from counts of single subwords to the longest n-grams."""
    for order in range(1, LONGEST + 1):
        begun = time.process_time()
        model = KneserNey(ids["train"], vocabulary, order)
        nats = -float(model.log_probabilities(ids["test"]).mean())
        yield Row(f"Kneser-Ney, {order}-grams", model.size, nats, time.process_time() - begun)


def report(rows: list[Row], tokens: int, words: int) -> None:
    """A row per model, in the order they were made."""
    print(f"{tokens} subwords, {words} words and ends of pieces are predicted.\n")
    print("| | numbers learned | perplexity of a subword | of a word | seconds |")
    print("|---|---:|---:|---:|---:|")
    for row in rows:
        values = [math.exp(row.nats), math.exp(row.nats * tokens / words)]
        cells = [f"{row.size:,}", *(f"{value:.1f}" for value in values), f"{row.seconds:.0f}"]
        print(f"| {row.name} | {' | '.join(cells)} |")


def main() -> None:
    """Train and count, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("POLYTASK_DATA", ".")))
    parser.add_argument("--epochs", type=float, default=8.0)
    parser.add_argument("--vocabulary", type=int, default=2000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        texts = splits(args.data, folder)
        networks = []
        for name, encoder in NETWORKS.items():
            recipe = recipe_of(encoder, folder, args.epochs, args.vocabulary)
            run, row = trained(name, recipe, folder)
            networks.append(row)
        reader = load_model(recipe, run)[1]
        ids = {
            split: [row["ids"] for row in reader.prepare([(text,) for text in own])]
            for split, own in texts.items()
        }
        words = sum(len(text.split()) + 1 for text in texts["test"])
        tokens = sum(len(own) - 1 for own in ids["test"])
        report([*counted(ids, args.vocabulary), *networks], tokens, words)


if __name__ == "__main__":
    main()
