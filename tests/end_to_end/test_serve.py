"""``polytask serve``: real processes and real connections; equal answers, clear refusals, nothing lost."""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

import polytask
from polytask.assembly.run.examples import NAME, read_examples
from polytask.core.errors import RunError
from polytask.core.files import read_json, write_json
from polytask.core.run_folder import RunFolder
from polytask.serving.batching import Limits
from polytask.serving.host import Host
from polytask.serving.service import Service
from tests.end_to_end.files import reviews, write_experiment, write_rows
from tests.end_to_end.processes import Forked, fork

pytestmark = pytest.mark.slow
RECIPE = """\
data:
  shop: {kind: jsonl, train: train.jsonl, validation: validation.jsonl, test: test.jsonl}
encoder: {kind: transformer, vocabulary: 300, layers: 1, width: 16, heads: 2, feed_forward: 32}
tasks:
  mood: {kind: classification, target: mood}
  stars: {kind: regression, target: stars}
  words: {kind: tagging, input: tokens, target: tags, scheme: none}
training: {epochs: 1, batch_rows: 8, precision: fp32, threads: 1, device: cpu}
evaluation: {bootstrap: 0}
"""
PHOTOS = """\
data: {shades: {kind: jsonl, train: train.jsonl, validation: train.jsonl, types: {photo: image}}}
encoder: shifted_images
tasks: {kind: {kind: classification, input: photo, target: kind}}
training: {epochs: 1, batch_rows: 4, precision: fp32, threads: 1, device: cpu}
evaluation: {bootstrap: 0}
"""
SECONDS = 60


def rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    found = reviews(count, first)
    words = [row["text"].split() for row in found]
    return [
        {**row, "tokens": own, "tags": [word[0].upper() for word in own]}
        for row, own in zip(found, words, strict=True)
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    files = {"train": rows(48), "validation": rows(16, 100), "test": rows(16, 200)}
    path = write_experiment(folder, RECIPE, files)
    trained = polytask.train(path, folder / "shop")
    polytask.evaluate(trained.path)
    return trained.path


@dataclass
class Server:
    """A server in a process."""

    process: Forked
    address: str
    log: Path

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.address, timeout=SECONDS, **options)

    def events(self) -> list[dict[str, Any]]:
        lines = self.log.read_text("utf-8").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


def start(log: Path, *arguments: str) -> Server:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = fork(["serve", *arguments, "--port", str(port)], log)
    server = Server(process, f"http://127.0.0.1:{port}", log)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text("utf-8")
        try:
            if httpx.get(f"{server.address}/readyz", timeout=5).status_code == 200:
                return server
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(log.read_text("utf-8"))


@pytest.fixture(scope="module")
def server(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = start(
        tmp_path_factory.mktemp("log") / "log",
        str(run),
        "--max-rows",
        "200",
        "--max-body-mb",
        "0.1",
    )
    yield started
    os.kill(started.process.pid, signal.SIGTERM)
    assert started.process.wait(SECONDS) == 0


def close(found: Any, expected: Any) -> None:
    """Compare records: labels equal, numbers up to the rounding of another batch."""
    assert found.keys() == expected.keys()
    for task, one in expected.items():
        assert found[task].keys() == one.keys()
        for key, value in one.items():
            if isinstance(value, float):
                assert found[task][key] == pytest.approx(value, abs=1e-4)
            elif key == "label":
                assert found[task][key] == value


def test_answers_equal_offline_predictions(run: Path, server: Server) -> None:
    asked = [{"text": row["text"], "tokens": row["tokens"]} for row in rows(20, 300)]
    expected = [*polytask.load(run).predict(asked)]
    with server.client() as client:
        found = client.post("/v1/predict", json={"rows": asked}).raise_for_status()
        assert found.json()["run"] == "shop"
        for one, other in zip(found.json()["records"], expected, strict=True):
            close(one, other)
        assert "queue;dur=" in found.headers["server-timing"]
        some = client.post("/v1/predict", json={"rows": asked[:1], "tasks": ["stars"]}).json()
        assert some["records"][0].keys() == {"stars"}
        few = {"rows": asked[:1], "tasks": ["mood"], "options": {"mood": {"top_k": 1}}}
        [record] = client.post("/v1/predict", json=few).json()["records"]
        assert len(record["mood"]["probabilities"]) == 1
        texts = {"texts": ["a fine parcel"], "tasks": ["mood", "stars"]}
        assert client.post("/v1/predict", json=texts).json()["records"][0]["mood"]["label"]


def test_runs_describe_themselves(server: Server) -> None:
    with server.client() as client:
        [found] = client.get("/v1/tasks").json()["runs"]
        assert found["tasks"]["mood"]["labels"] == ["bad", "good"]
        assert found["tasks"]["words"]["inputs"] == {"tokens": "words"}
        assert 0 <= found["tasks"]["mood"]["test"]["accuracy"] <= 1
        assert client.get("/docs").status_code == 200
        assert "/v1/predict" in client.get("/openapi.json").json()["paths"]


def test_other_clients_are_understood(run: Path, server: Server) -> None:
    with server.client() as client:
        asked = {"input": ["a fine parcel", "broken"], "model": "shop/mood"}
        found = client.post("/v1/embeddings", json=asked).json()
        expected = [
            *polytask.load(run).embed([{"text": text} for text in asked["input"]], ["mood"])
        ]
        for one, other in zip(found["data"], expected, strict=True):
            assert one["embedding"] == pytest.approx(other["mood"]["vector"], abs=1e-4)
        coded = client.post("/v1/embeddings", json={**asked, "encoding_format": "base64"}).json()
        assert isinstance(coded["data"][0]["embedding"], str)
        [labels] = client.post("/predict", json={"inputs": [["a fine parcel"]]}).json()
        assert {one["label"] for one in labels} == {"bad", "good"}
        assert labels[0]["score"] >= labels[1]["score"]
        assert client.post("/predict", json={"inputs": "fine"}).json()[0].keys() == {
            "label",
            "score",
        }


@pytest.mark.parametrize(
    ("body", "status", "part"),
    [
        ('{"texts": ["a"], "tasks": ["mod"]}', 422, "no task called 'mod'. Did you mean 'mood'?"),
        ('{"rows": [{"x": 1}]}', 422, "found columns x"),
        ('{"rows": [{"text": "a"}], "tasks": ["words"]}', 422, "tokens"),
        ('{"rows": []}', 422, "one row or more"),
        ('{"rows": [1]}', 422, "rows.0"),
        ('{"texts": ["a"], "rows": [{"text": "a"}]}', 422, "either rows or texts"),
        ('{"texts": ["a"], "taks": "all"}', 422, "taks"),
        ('{"texts": ["a"], "run": "other"}', 422, "there is no run 'other'"),
        ('{"rows": [{"text": "a"}], "tasks": ["mood"], "options": {"mod": {}}}', 422, "'mod'"),
        (
            '{"rows": [{"text": "a"}], "tasks": ["mood"], "options": {"mood": {"top_k": 0}}}',
            422,
            "top_k",
        ),
        ('{"texts": ["a"', 422, "Invalid JSON"),
        ("", 422, "Invalid JSON"),
        ("[" * 100 + "]" * 100, 422, "nested deeper than"),
        (json.dumps({"rows": [{"text": "a"}] * 201}), 413, "201 rows"),
        (json.dumps({"texts": ["a" * 200_000]}), 413, "larger than"),
    ],
)
def test_bad_requests_are_answered_clearly(
    body: str, status: int, part: str, server: Server
) -> None:
    with server.client() as client:
        headers = {"Content-Type": "application/json"}
        found = client.post("/v1/predict", content=body, headers=headers)
        assert (found.status_code, part in found.json()["error"]["message"]) == (status, True), (
            found.text
        )
        assert "Traceback" not in found.text
        assert client.get("/readyz").status_code == 200


def test_odd_texts_are_texts(server: Server) -> None:
    odd = ["\x00", "\u202eabc", "<script>alert(1)</script>", "a" * 50_000, "👩‍👩‍👧", "e\u0301"]
    with server.client() as client:
        found = client.post(
            "/v1/predict", json={"texts": odd, "tasks": ["mood"]}
        ).raise_for_status()
        assert all(record["mood"]["label"] for record in found.json()["records"])


def test_one_bad_row_has_an_error_and_the_others_answers(server: Server) -> None:
    asked = [{"text": "fine"}, {"text": None}, {"text": "broken"}]
    with server.client() as client:
        body = {"rows": asked, "tasks": ["mood"]}
        records = client.post("/v1/predict", json=body).json()["records"]
        assert [record["mood"]["label"] is None for record in records] == [False, True, False]
        assert "text" in records[1]["mood"]["error"]


def test_what_is_compressed_slow_or_late_is_refused(server: Server) -> None:
    with server.client() as client:
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        assert client.post("/v1/predict", content=b"x", headers=headers).status_code == 415
        headers = {"X-Request-Timeout": "soon"}
        body = {"texts": ["a"], "tasks": ["mood"]}
        assert client.post("/v1/predict", json=body, headers=headers).status_code == 422
        late = client.post("/v1/predict", json=body, headers={"X-Request-Timeout": "0.000001"})
        assert late.status_code == 504
    host, port = server.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=SECONDS) as truncated:
        truncated.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{")
    with server.client() as client:
        assert client.get("/livez").status_code == 200


def test_the_log_and_the_metrics_hold_no_text(server: Server) -> None:
    secret = "zebrafish"
    with server.client() as client:
        client.post("/v1/predict", json={"texts": [secret], "tasks": ["mood"]}).raise_for_status()
        metrics = client.get("/metrics").text
    assert 'polytask_stage_seconds_count{stage="encode"}' in metrics
    assert "polytask_queue_tokens 0.0" in metrics
    assert secret not in metrics + server.log.read_text("utf-8")
    assert any(event.get("path") == "/v1/predict" for event in server.events())


def test_a_key_is_needed_on_all_but_the_probes(run: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sesame\n", encoding="utf-8")
    server = start(tmp_path / "log", str(run), "--key-file", str(tmp_path / "key"))
    with server.client() as client:
        assert [client.get(path).status_code for path in ("/livez", "/readyz")] == [200, 200]
        for path in ("/", "/v1/tasks", "/metrics", "/openapi.json"):
            assert client.get(path).status_code == 401
            wrong = client.get(path, headers={"Authorization": "Bearer sesam"})
            assert wrong.status_code == 401
        assert (
            client.get("/v1/tasks", headers={"Authorization": "Bearer sesame"}).status_code == 200
        )
    os.kill(server.process.pid, signal.SIGINT)
    assert server.process.wait(SECONDS) == 0


def test_a_stop_in_the_middle_loses_nothing_accepted(run: Path, tmp_path: Path) -> None:
    """Requests from several clients, some beyond the queue, and SIGTERM while they are answered."""
    server = start(tmp_path / "log", str(run), "--queue-tokens", "400", "--batch-tokens", "64")
    known = {row["text"]: row for row in rows(40, 500)}
    expected = dict(
        zip(known, polytask.load(run).predict([{"text": text} for text in known]), strict=True)
    )
    outcomes: list[tuple[int, list[str], Any]] = []

    def ask(number: int) -> None:
        rng = random.Random(number)
        texts = rng.sample(sorted(known), rng.randint(1, 6))
        tasks = rng.choice([["mood"], ["stars"], ["mood", "stars"]])
        try:
            with server.client() as client:
                found = client.post("/v1/predict", json={"texts": texts, "tasks": tasks})
            body = found.json()["records"] if found.status_code == 200 else found.json()
            outcomes.append((found.status_code, texts, body))
        except httpx.TransportError:
            outcomes.append((0, texts, None))  # never accepted: the port is closed

    with ThreadPoolExecutor(8) as clients:
        for number in range(200):
            clients.submit(ask, number)
        while len(outcomes) < 60:
            time.sleep(0.01)
        os.kill(server.process.pid, signal.SIGTERM)
    assert server.process.wait(SECONDS) == 0
    assert len(outcomes) == 200
    assert {status for status, _, _ in outcomes} <= {200, 429, 503, 0}
    for status, texts, records in outcomes:
        if status == 200:
            for text, record in zip(texts, records, strict=True):
                close(record, {task: expected[text][task] for task in record})


def test_a_newer_run_is_loaded_and_a_wrong_one_is_not(run: Path, tmp_path: Path) -> None:
    import shutil

    served = tmp_path / "current"
    shutil.copytree(run, tmp_path / "one")
    served.symlink_to(tmp_path / "one")
    server = start(tmp_path / "log", str(served))
    shutil.copytree(run, tmp_path / "two")
    wrong = read_json(tmp_path / "two" / "model" / NAME)
    mood = wrong["sources"][0]["records"][0]["mood"]
    mood["probabilities"] = {label: 1 - chance for label, chance in mood["probabilities"].items()}
    for name, event, broken in (("two", "reload_failed", True), ("two", "reloaded", False)):
        served.unlink()
        served.symlink_to(tmp_path / name)
        good = read_json(tmp_path / "one" / "model" / NAME)
        write_json(tmp_path / name / "model" / NAME, wrong if broken else good)
        os.kill(server.process.pid, signal.SIGHUP)
        end = time.monotonic() + SECONDS
        while not any(one["event"] == event for one in server.events()):
            assert time.monotonic() < end, server.log.read_text("utf-8")
            time.sleep(0.05)
        with server.client() as client:
            body = {"texts": ["fine"], "tasks": ["mood"]}
            assert client.post("/v1/predict", json=body).status_code == 200
    os.kill(server.process.pid, signal.SIGTERM)
    assert server.process.wait(SECONDS) == 0


def test_a_taken_port_and_a_damaged_run_are_refused(
    run: Path, server: Server, tmp_path: Path
) -> None:
    import shutil

    port = server.address.rsplit(":", 1)[1]
    taken = fork(["serve", str(run), "--port", port], tmp_path / "log")
    assert taken.wait(SECONDS) != 0
    assert "Choose another port" in (tmp_path / "log").read_text("utf-8")
    shutil.copytree(run, tmp_path / "damaged")
    file = RunFolder(tmp_path / "damaged").parameters
    content = bytearray(file.read_bytes())
    content[-10] ^= 1
    file.write_bytes(content)
    damaged = fork(["serve", str(tmp_path / "damaged"), "--port", "0"], tmp_path / "log2")
    assert damaged.wait(SECONDS) != 0
    printed = (tmp_path / "log2").read_text("utf-8")
    assert "Traceback" not in printed
    assert str(tmp_path / "damaged") in printed


def test_images_arrive_as_base64_or_as_files_of_a_form(tmp_path: Path) -> None:
    images = pytest.importorskip("PIL.Image")
    names = []
    for number in range(8):
        shade = 40 * number
        names.append(f"{number}.png")
        images.new("L", (28, 28), shade).save(tmp_path / names[-1])
    photos = [{"photo": name, "kind": "ab"[at // 4]} for at, name in enumerate(names)]
    write_rows(tmp_path / "train.jsonl", photos)
    (tmp_path / "shades.yaml").write_text(PHOTOS, encoding="utf-8")
    plugin = str(Path(__file__).with_name("reading_plugin.py"))
    command = ["train", str(tmp_path / "shades.yaml"), "--run", str(tmp_path / "shades")]
    assert fork([*command, "--plugin", plugin], tmp_path / "train.log").wait(SECONDS) == 0
    server = start(tmp_path / "log", str(tmp_path / "shades"), "--plugin", plugin)
    content = (tmp_path / names[5]).read_bytes()
    with server.client() as client:
        coded = base64.b64encode(content).decode()
        by_json = client.post("/v1/predict", json={"rows": [{"photo": coded}]}).raise_for_status()
        url = {"rows": [{"photo": f"data:image/png;base64,{coded}"}]}
        by_url = client.post("/v1/predict", json=url).raise_for_status()
        by_form = client.post("/v1/predict", files={"photo": ("5.png", content)}).raise_for_status()
        assert by_json.json() == by_url.json() == by_form.json()
        wrong = client.post("/v1/predict", json={"rows": [{"photo": "no base64!"}]})
        assert (wrong.status_code, "Base64" in wrong.text) == (422, True)
        broken = client.post(
            "/v1/predict", json={"rows": [{"photo": coded[:40]}, {"photo": coded}]}
        )
        records = broken.json()["records"]
        assert records[0]["kind"]["error"]
        assert records[1]["kind"]["label"] in ("a", "b")
    os.kill(server.process.pid, signal.SIGTERM)
    assert server.process.wait(SECONDS) == 0


@pytest.fixture
def host(run: Path) -> Iterator[Host]:
    made = Host({"shop": run}, lambda path: polytask.load(path), Limits(window=0.2))
    made.start()
    yield made
    made.stop()


def test_each_distinct_row_is_encoded_once_and_heads_run_for_rows_that_asked(host: Host) -> None:
    service = host.services["shop"]
    heads: dict[str, int] = {}
    for name, head in service.run.predictor.model.heads.items():
        head.register_forward_hook(
            lambda _, given, __, name=name: heads.update(
                {name: heads.get(name, 0) + len(given[0].mask_BL)}
            )
        )
    before = host.metrics.encoded
    asked: list[tuple[list[str], list[str]]] = [
        (["one", "two"], ["mood"]),
        (["two", "three"], ["stars"]),
        (["three"], ["mood", "stars"]),
    ]
    requests = [service.prepare([{"text": t} for t in texts], tasks) for texts, tasks in asked]
    futures = [service.batcher.submit(request.job) for request in requests]
    for (_, tasks), request, future in zip(asked, requests, futures, strict=True):
        records = request.records(future.result(SECONDS), service.run, {})
        assert all(record.keys() == set(tasks) for record in records)
    assert host.metrics.encoded - before == 3
    assert heads == {"mood": 3, "stars": 2}


def test_one_broken_head_does_not_spoil_the_others(run: Path, host: Host) -> None:
    service: Service = host.services["shop"]
    with torch.no_grad():
        for parameter in service.run.predictor.model.heads["stars"].parameters():
            parameter.fill_(float("nan"))
    [record] = service.predict([{"text": "fine"}])
    assert record["mood"]["label"] in ("good", "bad")
    assert record["stars"]["label"] is None
    assert "not finite" in record["stars"]["error"]


def test_a_run_is_checked_against_its_examples(run: Path, tmp_path: Path) -> None:
    import shutil

    [(asked, records)] = read_examples(RunFolder(run))
    assert asked
    assert records
    shutil.copytree(run, tmp_path / "shop")
    stored = read_json(tmp_path / "shop" / "model" / NAME)
    stored["sources"][0]["records"][0]["mood"] = {"probabilities": {"bad": 7.0}}
    write_json(tmp_path / "shop" / "model" / NAME, stored)
    host = Host({"shop": tmp_path / "shop"}, lambda path: polytask.load(path))
    with pytest.raises(RunError, match="does not answer as it did"):
        host.start()
