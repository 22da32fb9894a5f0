"""The HTTP application: routes, errors and probes over one service per run."""

from __future__ import annotations

import base64
import json
import struct
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from fastapi import FastAPI, Request as HttpRequest, Response
from fastapi.responses import PlainTextResponse

from polytask.assembly.run.prediction import RecordOptions
from polytask.core.run_folder import RunFolder
from polytask.reports.watch import Feed
from polytask.serving.answering import Answering
from polytask.serving.errors import SafeJSON, add_error_handlers
from polytask.serving.host import Host
from polytask.serving.limits import Gate, RefusedError, RequestLimits
from polytask.serving.options import ServeOptions
from polytask.serving.playground import add_playground
from polytask.serving.rows import rows_from_form, rows_from_json
from polytask.serving.schemas import (
    ERROR_ANSWERS,
    ClassifyAnswer,
    ClassifyRequest,
    EmbeddingsAnswer,
    EmbeddingsRequest,
    PredictAnswer,
    PredictRequest,
    StatusAnswer,
    TasksAnswer,
)
from polytask.serving.service import Service
from polytask.serving.watching import add_watch_pages


def new_app(host: Host, options: ServeOptions) -> Any:
    """Return the ASGI application of a server."""
    app = FastAPI(
        title="polytask",
        docs_url="/docs",
        redoc_url=None,
        default_response_class=SafeJSON,
        responses=ERROR_ANSWERS,
    )
    _add_routes(app, _Routes(host, options))
    add_playground(app)
    feeds = {name: Feed(RunFolder(path)) for name, path in host.folders.items()}
    add_watch_pages(app, feeds)
    add_error_handlers(app)
    app.middleware("http")(partial(_count, host))
    return Gate(app, RequestLimits(options.body_bytes), options.key)


def _add_routes(app: FastAPI, routes: _Routes) -> None:
    probe: dict[str, Any] = {
        "response_model": StatusAnswer,
        "responses": {503: {"model": StatusAnswer}},
    }
    app.get("/livez", summary="Is the server alive?", **probe)(routes.livez)
    app.get("/readyz", summary="Does the server take requests?", **probe)(routes.readyz)
    app.get("/metrics", summary="Prometheus metrics", response_class=PlainTextResponse)(
        routes.metrics
    )
    app.get("/v1/tasks", summary="Runs, tasks, labels and test scores", response_model=TasksAnswer)(
        routes.tasks
    )
    app.post(
        "/v1/predict",
        summary="Predict tasks for rows",
        response_model=PredictAnswer,
        openapi_extra={"requestBody": _body_schema()},
    )(routes.predict)
    app.post(
        "/v1/embeddings",
        summary="Features, as OpenAI clients ask for them",
        response_model=EmbeddingsAnswer,
    )(routes.embeddings)
    app.post(
        "/predict",
        summary="Classify texts, as TEI clients ask for it",
        response_model=ClassifyAnswer,
    )(routes.classify)


def _body_schema() -> dict[str, Any]:
    schema = PredictRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    definitions = schema.pop("$defs", {})
    for name, definition in definitions.items():
        text = json.dumps(schema).replace(
            json.dumps({"$ref": f"#/components/schemas/{name}"}), json.dumps(definition)
        )
        schema = json.loads(text)
    return {
        "required": True,
        "content": {
            "application/json": {"schema": schema},
            "multipart/form-data": {"schema": {"type": "object"}},
        },
    }


class _Routes:
    def __init__(self, host: Host, options: ServeOptions) -> None:
        self._host, self._answering = host, Answering(host, options)

    async def livez(self) -> Response:
        """Fail if the thread that computes is stuck or dead."""
        problem = self._host.stuck()
        return SafeJSON({"status": problem or "alive"}, 503 if problem else 200)

    async def readyz(self) -> Response:
        """Fail until the warm-up is done, and once the server is shutting down."""
        state = self._host.state
        return SafeJSON({"status": state}, 200 if state == "ready" else 503)

    async def metrics(self) -> Response:
        """Return the metrics of the server as Prometheus reads them."""
        return Response(self._host.metrics.page(), media_type="text/plain; version=0.0.4")

    async def tasks(self) -> Response:
        """Describe the runs: inputs, labels and test scores of each task."""
        return SafeJSON({"runs": [*map(self._host.describe, self._host.services.values())]})

    async def predict(self, http: HttpRequest) -> Response:
        """Predict tasks for rows: one record per row."""
        kind = http.headers.get("content-type", "")
        if kind.startswith("multipart/form-data"):
            async with http.form(max_files=16) as form:
                asked, files = await rows_from_form(form)
        else:
            asked, files = PredictRequest.model_validate_json(await http.body()), {}
        service = self._answering.service(asked.run)
        rows = rows_from_json(asked, service.run, files)
        tasks = None if asked.tasks == "all" else asked.tasks
        self._answering.check_options(service, asked.options)
        request, answers, headers = await self._answering.answer(http, service, rows, tasks)
        options = {task: own.options() for task, own in asked.options.items()}
        records = request.records(answers, service.run, options)
        return SafeJSON({"run": service.name, "records": records}, headers=headers)

    async def embeddings(self, asked: EmbeddingsRequest, http: HttpRequest) -> Response:
        """Return the mean features that a task reads, one vector per text."""
        name, _, task = (asked.model or "").partition("/")
        service = self._answering.service(name or None)
        self._answering.require_task(service, task)
        chosen = task or next(iter(service.run.tasks))
        texts = [asked.input] if isinstance(asked.input, str) else asked.input
        self._answering.check_rows(len(texts))
        rows = rows_from_json(PredictRequest(texts=texts, tasks=[chosen]), service.run, {})
        vectors = RecordOptions(vectors=True)
        request, answers, headers = await self._answering.answer(
            http, service, rows, [chosen], vectors=True
        )
        records = [
            record[chosen] for record in request.records(answers, service.run, {chosen: vectors})
        ]
        data = [
            {"object": "embedding", "index": at, "embedding": _vector(one, asked.encoding_format)}
            for at, one in enumerate(map(_require_answer, records))
        ]
        tokens = sum(request.job.tokens)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        model = f"{service.name}/{chosen}"
        found = {"object": "list", "data": data, "model": model, "usage": usage}
        return SafeJSON(found, headers=headers)

    async def classify(self, asked: ClassifyRequest, http: HttpRequest, task: str = "") -> Response:
        """Return labels and scores of the first classification task, or of ``?task=``."""
        service = self._answering.service(None)
        self._answering.require_task(service, task)
        chosen = task or _first_classifier(service)
        one = isinstance(asked.inputs, str)
        texts = [asked.inputs] if isinstance(asked.inputs, str) else asked.inputs
        self._answering.check_rows(len(texts))
        given = [_columns(service, chosen, text) for text in texts]
        rows = rows_from_json(PredictRequest(rows=given, tasks=[chosen]), service.run, {})
        request, answers, headers = await self._answering.answer(http, service, rows, [chosen])
        records = request.records(answers, service.run, {})
        found = []
        for record in records:
            chances = _require_answer(record[chosen]).get("probabilities", {})
            scores = [{"label": label, "score": score} for label, score in chances.items()]
            found.append(sorted(scores, key=lambda each: -each["score"]))
        return SafeJSON(found[0] if one else found, headers=headers)


def _columns(service: Service, task: str, given: str | list[str]) -> dict[str, Any]:
    """Return a text, or a text for each input column of a task, as a row."""
    columns = service.run.recipe.tasks[task].columns
    texts = [given] if isinstance(given, str) else given
    if len(texts) != len(columns):
        text = f"inputs: found {len(texts)} texts, expected one for each of {', '.join(columns)}."
        raise RefusedError(422, "columns", text)
    return dict(zip(columns, texts, strict=True))


def _require_answer(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record, for interfaces that know no errors of single rows."""
    if error := record.get("error"):
        raise RefusedError(422, "row", error)
    return record


def _vector(record: Mapping[str, Any], encoding: str) -> Any:
    vector = record["vector"]
    if encoding == "base64":
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
    return vector


def _first_classifier(service: Service) -> str:
    for name, section in service.run.recipe.tasks.items():
        if section.part.kind == "classification" and name in service.run.tasks:
            return name
    text = "The run has no classification task. Use /v1/predict."
    raise RefusedError(422, "task", text)


async def _count(
    host: Host, http: HttpRequest, answer: Callable[[HttpRequest], Awaitable[Response]]
) -> Response:
    """Count a request, and write a line of the access log."""
    started = time.monotonic()
    response = await answer(http)
    path = http.scope["route"].path if http.scope.get("route") else "other"
    host.metrics.requests.labels(path, str(response.status_code)).inc()
    if reason := getattr(http.state, "reason", None):
        host.metrics.errors.labels(reason).inc()
    host.log_access(http, path, response.status_code, time.monotonic() - started)
    return response
