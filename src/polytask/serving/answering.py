"""From the rows of a request to their answers: checks, queue, deadline, and clients that go away."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from fastapi import Request as HttpRequest
from fastapi.concurrency import run_in_threadpool

from polytask.core.errors import DataError, RecipeError
from polytask.serving.batching import ClosedError, DeadlineError, QueueFullError
from polytask.serving.host import Host
from polytask.serving.limits import RefusedError
from polytask.serving.options import ServeOptions
from polytask.serving.service import Answer, Request, Service

_GONE = 499
"""The status of a request whose client has gone, in metrics: nobody receives it."""


class Answering:
    """What all routes that predict have in common."""

    def __init__(self, host: Host, options: ServeOptions) -> None:
        self._host, self._options = host, options

    async def answer(
        self,
        http: HttpRequest,
        service: Service,
        rows: Sequence[Mapping[str, Any]],
        tasks: Sequence[str] | None,
        *,
        vectors: bool = False,
    ) -> tuple[Request, Sequence[Answer], dict[str, str]]:
        """Queue a request and wait for its answers, its deadline, or its client to go away."""
        self.check_rows(len(rows))
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

    def service(self, name: str | None) -> Service:
        """Return a run by its name; the first one for None.

        :raises RefusedError: If there is none of that name.
        """
        services = self._host.services
        if name is None:
            return next(iter(services.values()))
        if name not in services:
            text = f"run: there is no run {name!r}. Choose from: {', '.join(services)}."
            raise RefusedError(422, "run", text)
        return services[name]

    def require_task(self, service: Service, task: str) -> None:
        """Refuse a name that is no task of a run; an empty one is none."""
        if task and task not in service.run.tasks:
            text = f"tasks: there is no task {task!r}. Choose from: {', '.join(service.run.tasks)}."
            raise RefusedError(422, "task", text)

    def check_options(self, service: Service, options: Mapping[str, Any]) -> None:
        """Refuse options for tasks that a run does not have."""
        for task in options:
            self.require_task(service, task)

    def check_rows(self, rows: int) -> None:
        """Refuse too many rows, and none."""
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
