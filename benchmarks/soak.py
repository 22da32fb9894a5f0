"""A server under twice its load, stopped in the middle; and its memory over many requests.

all-MiniLM-L6-v2 with seven classification tasks. Requests of single tweets, each for some of the
tasks, arrive at random (Poisson) at twice the rate that the server answered when clients waited for
it. SIGTERM is sent after half of them. Every answer is compared with offline prediction. An accepted request is one that the server did not refuse; it
is lost if its connection ends without an answer. Each request has its own connection: one that is
kept open may be closed just when a client writes into it. Memory is the resident memory of the server.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from benchmarks.loaded_run import Row, trained, tweets
from benchmarks.serving import TASKS, over_http, served
from polytask.assembly.run.loaded_run import LoadedRun

_NO_REUSE = httpx.Limits(max_connections=2_000, max_keepalive_connections=0)


def task_sets(run: LoadedRun, count: int) -> list[list[str]]:
    """Return tasks for each of so many requests."""
    draw = random.Random(0)
    return [draw.sample([*run.tasks], draw.randint(1, len(run.tasks))) for _ in range(count)]


def is_right(answer: Any, expected: dict[str, Any], tasks: Sequence[str]) -> bool:
    """Return whether an answer has these tasks, with the labels of the offline prediction."""
    [record] = answer["records"]
    return record.keys() == {*tasks} and all(
        record[task]["label"] == expected[task]["label"] for task in tasks
    )


async def outcome(
    client: httpx.AsyncClient, address: str, row: Row, expected: dict[str, Any], tasks: list[str]
) -> str:
    """Return what became of a request."""
    try:
        answer = await client.post(f"{address}v1/predict", json={"rows": [row], "tasks": tasks})
    except httpx.ConnectError:
        return "not accepted: no server"
    except httpx.TransportError as error:
        return f"LOST: {type(error).__name__}"
    if answer.status_code == 200:
        return "right" if is_right(answer.json(), expected, tasks) else "WRONG"
    return f"refused: {answer.status_code}"


async def overload(
    address: str, process: int, rows: Sequence[Row], run: LoadedRun, count: int, rate: float
) -> Counter[str]:
    """Send requests at a rate, and SIGTERM in the middle; return how many ended how."""
    offline = [*run.predict(rows)]
    draw = random.Random(1)
    async with httpx.AsyncClient(timeout=120, limits=_NO_REUSE) as client:
        sent = []
        for number, tasks in enumerate(task_sets(run, count)):
            if number == count // 2:
                os.kill(process, signal.SIGTERM)
            place = number % len(rows)
            asked = outcome(client, address, rows[place], offline[place], tasks)
            sent.append(asyncio.create_task(asked))
            await asyncio.sleep(draw.expovariate(rate))
        return Counter(await asyncio.gather(*sent))


def resident(process: int) -> float:
    """Return the resident memory of a process in MB."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def memory(run: LoadedRun, rows: Sequence[Row], counts: Sequence[int]) -> None:
    """Print the memory of a server after so many requests of one row."""
    with served(run.folder.path) as (address, process):
        call, done = over_http(address, 32, 1), 0
        for count in counts:
            for start in range(done, count, len(rows)):
                call(rows[: min(len(rows), count - start)])
            done = count
            time.sleep(3)  # then the server gives freed memory back after the next request
            call(rows[:1])
            time.sleep(1)
            print(f"{count:,} requests: {resident(process):,.0f} MB resident", flush=True)


def main() -> None:
    """Print outcomes of the overload, or with ``--memory`` the memory over requests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--memory", action="store_true")
    arguments = parser.parse_args()
    rows = [{"text": row["text"]} for row in tweets(1_000)]
    with tempfile.TemporaryDirectory() as folder:
        run = trained(Path(folder), rows, TASKS, "fp32")
        if arguments.memory:
            memory(run, rows, [500, 1_000, 2_000, 5_000, 10_000, 20_000])
            return
        with served(run.folder.path) as (address, process):
            call = over_http(address, 64, 1)
            call(rows[:100])
            began = time.perf_counter()
            call(rows)
            capacity = len(rows) / (time.perf_counter() - began)
            print(f"capacity: {capacity:.0f} requests per second", flush=True)
            found = asyncio.run(
                overload(address, process, rows, run, arguments.requests, 2 * capacity)
            )
        for name, number in sorted(found.items()):
            print(f"{name}: {number:,}")


if __name__ == "__main__":
    main()
