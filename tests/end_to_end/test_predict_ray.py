"""``polytask predict --parts --engine ray``: a worker killed with SIGKILL loses no row."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import polytask
from polytask.assembly.run.parts_prediction import PartsJob, predict_parts
from polytask.assembly.run.ray_parts import RayEngine
from tests.end_to_end.files import reviews, write_experiment, write_rows

pytestmark = [pytest.mark.slow, pytest.mark.full, pytest.mark.filterwarnings("ignore")]  # of Ray
FILES, ROWS = 6, 300


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[1])


def _is_ours(pid: int) -> bool:
    while pid > 1 and pid != os.getpid():
        pid = _parent(pid)
    return pid == os.getpid()


def _workers() -> Iterator[int]:
    """The processes of Ray workers that descend from this one."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::_Worker") and _is_ours(int(path.parent.name)):
                yield int(path.parent.name)
        except OSError:  # it has ended
            continue


def test_a_killed_worker_loses_nothing(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="needs the extra ray")
    run = polytask.train(write_experiment(tmp_path), tmp_path / "shop").path
    (tmp_path / "in").mkdir()
    for number in range(FILES):
        write_rows(tmp_path / f"in/{number}.jsonl", reviews(ROWS, 1000 * number))
    inputs = (str(tmp_path / "in"),)
    job = PartsJob(str(run), inputs, str(tmp_path / "out"), part_rows=5)
    killed: list[int] = []

    def kill() -> None:
        end = time.monotonic() + 120
        while not killed and time.monotonic() < end:
            if len([*Path(job.folder).glob("part-*")]) > 20:
                killed.extend([*_workers()][:1])
                for pid in killed:
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    thread = threading.Thread(target=kill)
    thread.start()
    counted: list[int] = []
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    found = predict_parts(job, counted.append, lambda _: None, RayEngine())
    thread.join()
    assert len(killed) == 1
    assert [own["rows"] for own in found["inputs"]] == [ROWS] * FILES
    parts = sorted((tmp_path / "out").glob("part-*"))
    records = [json.loads(line) for part in parts for line in part.read_text("utf-8").splitlines()]
    loaded = polytask.load(run)
    files = sorted((tmp_path / "in").iterdir())
    expected = [record for file in files for record in loaded.predict(file)]
    assert [one["mood"]["label"] for one in records] == [one["mood"]["label"] for one in expected]
    assert len(records) == FILES * ROWS
