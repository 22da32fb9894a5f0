"""The live page: what it says while a training writes, is killed, and goes on."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from polytask.core.errors import RunError
from polytask.core.files import write_json, write_text
from polytask.core.run_folder import RunFolder
from polytask.reports.watch import Feed
from polytask.serving.process import bind
from polytask.serving.watching import watch_app, watch_run
from tests.report_folders import HOSTILE_NAME, step_record, write_run

TASKS = ["mood", "topic"]
STEPS = 40


def append(folder: Path, step: int, tasks: list[str] = TASKS) -> None:
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(step_record(tasks, step, STEPS)) + "\n")


def state(feed: Feed) -> dict[str, Any]:
    found = feed.state()
    assert found is not None
    return found


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve the page of a folder in a thread."""
    listening = bind("127.0.0.1", 0)
    config = uvicorn.Config(watch_app(folder), log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def test_it_waits_for_a_folder_a_file_and_a_line(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    feed = Feed(RunFolder(folder))
    assert state(feed)["state"] == "waiting"
    folder.mkdir()
    (folder / "metrics.jsonl").touch()
    assert state(feed)["state"] == "waiting"
    append(folder, 1)
    assert state(feed)["state"] == "running"


def test_only_what_is_new_is_told(tmp_path: Path) -> None:
    feed = Feed(RunFolder(tmp_path))
    append(tmp_path, 1)
    seen = state(feed)["version"]
    assert feed.state(seen) is None
    append(tmp_path, 2)
    found = feed.state(seen)
    assert found is not None
    assert "<dd>2</dd>" in found["cards"]
    assert "<dd>200</dd>" in found["cards"]  # tokens


def test_a_line_that_is_half_written_waits_for_its_end(tmp_path: Path) -> None:
    feed = Feed(RunFolder(tmp_path))
    append(tmp_path, 1)
    line = json.dumps(step_record(TASKS, 2, STEPS)) + "\n"
    with (tmp_path / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(line[:30])
        file.flush()
        assert "<dd>1</dd>" in state(feed)["cards"]
        file.write(line[30:])
    assert "<dd>2</dd>" in state(feed)["cards"]


def test_a_resumed_training_starts_the_curves_anew(tmp_path: Path) -> None:
    feed = Feed(RunFolder(tmp_path))
    for step in range(1, 6):
        append(tmp_path, step)
    assert "<dd>500</dd>" in state(feed)["cards"]
    kept = (tmp_path / "metrics.jsonl").read_text("utf-8").splitlines(keepends=True)[:2]
    write_text(tmp_path / "metrics.jsonl", "".join(kept))
    assert "<dd>200</dd>" in state(feed)["cards"]


def test_a_finished_training_says_so(tmp_path: Path) -> None:
    write_run(tmp_path)
    found = state(Feed(RunFolder(tmp_path)))
    assert found["state"] == "finished"
    for section in ("losses", "learning", "weights", "pace"):
        assert f'id="{section}"' in found["main"]


def test_gradients_that_are_looked_at_are_shown(tmp_path: Path) -> None:
    append(tmp_path, 1)
    look = {"step": 1, "tasks": TASKS, "layers": {"all": {"cosine": [[1, -0.5], [-0.5, 1]]}}}
    write_text(tmp_path / "interference.jsonl", json.dumps(look) + "\n" + '{"half')
    assert "mood – topic: −0.50" in state(Feed(RunFolder(tmp_path)))["main"]


def test_the_parts_of_a_loss_have_curves_of_their_own(tmp_path: Path) -> None:
    append(tmp_path, 2)
    path = tmp_path / "metrics.jsonl"
    records = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    parts = {"parts": {TASKS[0]: {"heads": 0.7, "relations": 0.3}}}
    write_text(path, "".join(json.dumps({**record, **parts}) + "\n" for record in records))
    found = state(Feed(RunFolder(tmp_path)))["main"]
    assert all(f"{TASKS[0]} · {part}" in found for part in ("heads", "relations"))
    assert f"{TASKS[1]} · " not in found.split('id="losses"')[1].split("</section>")[0]


def test_names_are_escaped(tmp_path: Path) -> None:
    append(tmp_path, 1, [HOSTILE_NAME, "topic"])
    found = state(Feed(RunFolder(tmp_path)))
    assert "<img" not in found["main"]
    assert "&lt;img" in found["main"]


def test_the_server_answers_the_page_and_its_state(tmp_path: Path) -> None:
    append(tmp_path, 1)
    with serving(tmp_path) as address, httpx.Client(base_url=address) as client:
        page = client.get("/", follow_redirects=True)
        assert page.headers["content-type"].startswith("text/html")
        assert page.headers["x-content-type-options"] == "nosniff"
        assert "<h1>" in page.text
        assert str(page.url) == f"{address}/watch/{tmp_path.name}/"
        version = client.get(f"{page.url}state").json()["version"]
        assert client.get(f"{page.url}state?seen={version}").status_code == 204


def test_nothing_else_is_given_out(tmp_path: Path) -> None:
    with serving(tmp_path) as address, httpx.Client(base_url=address) as client:
        for path in (
            "/run.json",
            "/watch/other/",
            "/watch/other/state",
            "/docs",
            "/../recipe.yaml",
        ):
            assert client.get(path).status_code == 404
        assert client.get("/", headers={"Host": "evil.example"}).status_code == 400


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RunError, match=f":{port}: .*--port"):
            watch_run(tmp_path, port)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "comparison.json", {})
    with pytest.raises(RunError, match="a comparison, not a run"):
        watch_run(tmp_path, 0)
    with pytest.raises(RunError, match="is a file"):
        watch_run(tmp_path / "comparison.json", 0)
