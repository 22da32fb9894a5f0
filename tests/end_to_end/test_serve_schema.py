"""Requests of any kind against the OpenAPI document of a server: documented answers, and no fault of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from schemathesis import openapi
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

import polytask
from polytask.assembly.run.loaded_run import LoadedRun
from polytask.core.run_folder import RunFolder
from polytask.serving.app import new_app
from polytask.serving.host import Host
from polytask.serving.options import ServeOptions
from tests.end_to_end.files import reviews, write_experiment

pytestmark = pytest.mark.slow
RECIPE = """\
data: {shop: {kind: jsonl, train: train.jsonl, validation: train.jsonl}}
encoder: {kind: bag, dimension: 8, hidden: []}
tasks:
  mood: {kind: classification, target: mood}
  stars: {kind: regression, target: stars}
training: {epochs: 1, batch_rows: 8, precision: fp32, threads: 1, device: cpu}
"""
KEY = "secret"
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("schema")
    path = write_experiment(folder, RECIPE, {"train": reviews(24)})
    run = polytask.train(path, folder / "shop")
    host = Host({"shop": run.path}, lambda path: LoadedRun.load(RunFolder(path)))
    host.start()
    yield new_app(host, ServeOptions(key=KEY, rows=8))
    host.stop()


def requests_of(application: Any) -> dict[str, Any]:
    """Return a strategy of requests for each operation of the OpenAPI document."""
    headers = {"Authorization": f"Bearer {KEY}"}
    document: Any = openapi.from_asgi("/openapi.json", application, headers=headers)
    operations = [found.ok() for found in document.get_all_operations()]
    return {operation.label: operation.as_strategy() for operation in operations}


OPERATIONS = (
    "GET /livez",
    "GET /readyz",
    "GET /metrics",
    "GET /v1/tasks",
    "POST /v1/predict",
    "POST /v1/embeddings",
    "POST /predict",
)
few = settings(max_examples=15, deadline=None, suppress_health_check=[*HealthCheck])


def test_all_operations_are_documented(application: Any) -> None:
    assert {*requests_of(application)} == {*OPERATIONS}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_answer_is_documented(application: Any, operation: str) -> None:
    @few
    @given(case=requests_of(application)[operation])
    def answer(case: Any) -> None:
        case.call_and_validate(checks=CHECKS, headers={"Authorization": f"Bearer {KEY}"})

    answer()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_without_the_key_nothing_but_probes_is_answered(application: Any, operation: str) -> None:
    @few
    @given(case=requests_of(application)[operation])
    def answer(case: Any) -> None:
        found = case.call(headers={"Authorization": "Bearer other"})
        assert found.status_code == (200 if case.path in ("/livez", "/readyz") else 401)

    answer()
