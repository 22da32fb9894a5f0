"""The HTTP application: routes, errors and probes over one service per run."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import struct
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from fastapi import FastAPI, Request as HttpRequest, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from polytask.assembly.run.prediction import RecordOptions
from polytask.core.errors import DataError, RecipeError
from polytask.serving.batching import ClosedError, DeadlineError, QueueFullError
from polytask.serving.host import Host
from polytask.serving.limits import Gate, RefusedError, RequestLimits, error_body
from polytask.serving.options import ServeOptions
from polytask.serving.playground import add_playground
from polytask.serving.rows import rows_from_form, rows_from_json
from polytask.serving.schemas import ClassifyRequest, EmbeddingsRequest, PredictRequest
from polytask.serving.service import Answer, Request, Service

_GONE = 499
"""The status of a request whose client has gone, in metrics: nobody receives it."""


class SafeJSON(Response):
    """JSON in ASCII: answers may quote lone surrogates, which UTF-8 cannot hold."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the bytes of the body; NaN is a mistake of the caller."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def new_app(host: Host, options: ServeOptions) -> Any:
    """Return the ASGI application of a server."""
    app = FastAPI(
        title="polytask", docs_url="/docs", redoc_url=None, default_response_class=SafeJSON
    )
    routes = _Routes(host, options)
    app.get("/livez", summary="Is the server alive?")(routes.livez)
    app.get("/readyz", summary="Does the server take requests?")(routes.readyz)
    app.get("/metrics", summary="Prometheus metrics")(routes.metrics)
    app.get("/v1/tasks", summary="Runs, tasks, labels and test scores")(routes.tasks)
    body = {"requestBody": _body_schema()}
    app.post("/v1/predict", summary="Predict tasks for rows", openapi_extra=body)(routes.predict)
    app.post("/v1/embeddings", summary="Features, as OpenAI clients ask for them")(
        routes.embeddings
    )
    app.post("/predict", summary="Classify texts, as TEI clients ask for it")(routes.classify)
    add_playground(app)
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _failed)
    app.middleware("http")(partial(_count, host))
    return Gate(app, RequestLimits(options.body_bytes), options.key)


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
        self._host, self._options = host, options

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
        service = self._service(asked.run)
        rows = rows_from_json(asked, service.run, files)
        tasks = None if asked.tasks == "all" else asked.tasks
        request, answers, headers = await self._answer(http, service, rows, tasks)
        self._check_options(service, asked.options)
        options = {task: own.options() for task, own in asked.options.items()}
        records = request.records(answers, service.run, options)
        return SafeJSON({"run": service.name, "records": records}, headers=headers)

    async def embeddings(self, asked: EmbeddingsRequest, http: HttpRequest) -> Response:
        """Return the mean features that a task reads, one vector per text."""
        name, _, task = (asked.model or "").partition("/")
        service = self._service(name or None)
        self._require_task(service, task)
        chosen = task or next(iter(service.run.tasks))
        texts = [asked.input] if isinstance(asked.input, str) else asked.input
        self._check_rows(len(texts))
        rows = rows_from_json(PredictRequest(texts=texts, tasks=[chosen]), service.run, {})
        vectors = RecordOptions(vectors=True)
        request, answers, headers = await self._answer(http, service, rows, [chosen], vectors=True)
        records = [
            record[chosen] for record in request.records(answers, service.run, {chosen: vectors})
        ]
        data = [
            {"object": "embedding", "index": at, "embedding": _vector(one, asked.encoding_format)}
            for at, one in enumerate(map(_answered, records))
        ]
        tokens = sum(request.job.tokens)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        model = f"{service.name}/{chosen}"
        found = {"object": "list", "data": data, "model": model, "usage": usage}
        return SafeJSON(found, headers=headers)

    async def classify(self, asked: ClassifyRequest, http: HttpRequest, task: str = "") -> Response:
        """Return labels and scores of the first classification task, or of ``?task=``."""
        service = self._service(None)
        self._require_task(service, task)
        chosen = task or _first_classifier(service)
        one = isinstance(asked.inputs, str)
        texts = [asked.inputs] if isinstance(asked.inputs, str) else asked.inputs
        fields = [text if isinstance(text, str) else text[0] for text in texts]
        self._check_rows(len(fields))
        rows = rows_from_json(PredictRequest(texts=fields, tasks=[chosen]), service.run, {})
        request, answers, headers = await self._answer(http, service, rows, [chosen])
        records = request.records(answers, service.run, {})
        found = []
        for record in records:
            chances = _answered(record[chosen]).get("probabilities", {})
            scores = [{"label": label, "score": score} for label, score in chances.items()]
            found.append(sorted(scores, key=lambda each: -each["score"]))
        return SafeJSON(found[0] if one else found, headers=headers)

    async def _answer(
        self,
        http: HttpRequest,
        service: Service,
        rows: Sequence[Mapping[str, Any]],
        tasks: Sequence[str] | None,
        *,
        vectors: bool = False,
    ) -> tuple[Request, Sequence[Answer], dict[str, str]]:
        """Queue a request and wait for its answers, its deadline, or its client to go away."""
        self._check_rows(len(rows))
        if self._host.state != "ready":
            raise RefusedError(
                503, self._host.state, f"The server is {self._host.state}. Try again."
            )
        deadline = time.monotonic() + self._timeout(http)
        try:
            request = await run_in_threadpool(
                service.prepare, rows, tasks, deadline, vectors=vectors
            )
        except DataError as error:
            raise RefusedError(422, "columns", str(error)) from None
        except RecipeError as error:
            raise RefusedError(422, "task", str(error)) from None
        future = self._submit(service, request)
        answers = await _wait(http, future, deadline)
        job = request.job
        queued = (job.started or time.monotonic()) - job.arrived
        computed = time.monotonic() - job.arrived - queued
        for stage, seconds in (("prepare", request.seconds), ("queue", queued)):
            self._host.metrics.seconds.labels(stage).observe(seconds)
        timing = {"prepare": request.seconds, "queue": queued, "compute": computed}
        shown = ", ".join(f"{stage};dur={1000 * value:.1f}" for stage, value in timing.items())
        return request, answers, {"Server-Timing": shown}

    def _submit(self, service: Service, request: Request) -> Future[list[Answer]]:
        try:
            return service.batcher.submit(request.job)
        except QueueFullError as full:
            seconds = max(1, math.ceil(full.retry_after))
            text = f"The queue is full. Try again in {seconds} s."
            raise RefusedError(429, "queue_full", text, {"Retry-After": str(seconds)}) from None
        except ClosedError:
            raise RefusedError(503, "stopping", "The server is shutting down.") from None

    def _timeout(self, http: HttpRequest) -> float:
        """Return the seconds that a client waits, no more than the server allows."""
        given = http.headers.get("x-request-timeout")
        try:
            seconds = self._options.seconds if given is None else float(given)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds < math.inf:
            text = f"X-Request-Timeout: found {given!r}, expected seconds above 0."
            raise RefusedError(422, "timeout", text)
        return min(seconds, self._options.seconds)

    def _service(self, name: str | None) -> Service:
        services = self._host.services
        if name is None:
            return next(iter(services.values()))
        if name not in services:
            text = f"run: there is no run {name!r}. Choose from: {', '.join(services)}."
            raise RefusedError(422, "run", text)
        return services[name]

    def _require_task(self, service: Service, task: str) -> None:
        if task and task not in service.run.tasks:
            text = f"tasks: there is no task {task!r}. Choose from: {', '.join(service.run.tasks)}."
            raise RefusedError(422, "task", text)

    def _check_options(self, service: Service, options: Mapping[str, Any]) -> None:
        for task in options:
            self._require_task(service, task)

    def _check_rows(self, rows: int) -> None:
        if rows > self._options.rows:
            text = f"Found {rows:,} rows, expected {self._options.rows:,} at most. Send several requests."
            raise RefusedError(413, "rows", text)
        if not rows:
            raise RefusedError(422, "rows", "Found no rows, expected one or more.")


async def _wait(http: HttpRequest, future: Future[list[Answer]], deadline: float) -> list[Answer]:
    """Wait for answers; cancel them when the deadline passes or the client goes away."""
    waiting: asyncio.Future[Any] = asyncio.wrap_future(future)
    gone: asyncio.Future[Any] = asyncio.ensure_future(_disconnected(http))
    try:
        left = max(0.0, deadline - time.monotonic())
        await asyncio.wait([waiting, gone], timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            answers: list[Answer] = await waiting
            return answers
        if gone.done():
            raise RefusedError(_GONE, "client_gone", "The client has gone.")
        raise DeadlineError
    except DeadlineError:
        text = "The answer took too long. Ask for fewer rows, or try again later."
        raise RefusedError(504, "deadline", text) from None
    finally:
        gone.cancel()
        future.cancel()


async def _disconnected(http: HttpRequest) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass


def _answered(record: dict[str, Any]) -> dict[str, Any]:
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


async def _refused(http: HttpRequest, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    http.state.reason = error.code
    body = error_body(error.code, str(error))
    headers = {"Content-Type": "application/json", **error.headers}
    return Response(body, error.status, headers)


async def _invalid(http: HttpRequest, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError | ValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    return await _refused(http, RefusedError(422, "body", f"{place or 'body'}: {first['msg']}."))


async def _http_error(http: HttpRequest, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return await _refused(http, RefusedError(error.status_code, "http", f"{error.detail}."))


async def _failed(http: HttpRequest, error: Exception) -> Response:
    """Answer a fault of the server without what it was about: texts are in tracebacks."""
    text = f"{type(error).__name__} in the server. The log has the details."
    return await _refused(http, RefusedError(500, "internal", text))


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
