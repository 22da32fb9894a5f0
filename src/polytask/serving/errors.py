"""Answers to requests that fail: a status, a code for programs, and a sentence for people."""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI, Request as HttpRequest, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from polytask.serving.limits import RefusedError, error_body


class SafeJSON(JSONResponse):
    """JSON in ASCII: answers may quote lone surrogates, which UTF-8 cannot hold."""

    def render(self, content: Any) -> bytes:
        """Return the bytes of the body; NaN is a mistake of the caller."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def add_error_handlers(app: FastAPI) -> None:
    """Let an application answer every error in the same form."""
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _failed)


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
