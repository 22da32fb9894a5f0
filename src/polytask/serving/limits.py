"""What a request may be before it is read: who sent it, how large, how deep, how slow.

Plain ASGI, so that a body is counted while it arrives and an oversized one is never kept.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, TypeAlias

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

PROBES = frozenset({"/livez", "/readyz"})
"""Paths that need no key: whoever restarts the server has none."""


@dataclass(frozen=True)
class RequestLimits:
    """Bounds of a request.

    :param body_bytes: Most bytes of a body.
    :param depth: Deepest nesting of JSON.
    :param body_seconds: Longest pause between two pieces of a body.
    """

    body_bytes: int = 16 * 2**20
    depth: int = 32
    body_seconds: float = 10.0


class RefusedError(Exception):
    """A request that is answered without being processed.

    :param status: The HTTP status.
    :param code: The reason, one word for programs.
    :param message: What was found, what was expected, what to do.
    """

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.headers = status, code, headers or {}


def error_body(code: str, message: str) -> bytes:
    """Return the body of every error answer. ASCII, as messages may quote lone surrogates."""
    return json.dumps({"error": {"code": code, "message": message}}).encode("ascii")


class Gate:
    """Checks requests before the application sees them.

    :param key: The bearer key that clients send; None lets everybody in.
    """

    def __init__(self, app: Application, limits: RequestLimits, key: str | None = None) -> None:
        self._app, self._limits, self._key = app, limits, key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on with its whole body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            headers = {name.decode("latin-1"): value for name, value in scope["headers"]}
            self._check_key(scope["path"], headers)
            body = await self._body(headers, receive)
        except RefusedError as refused:
            await _answer(send, refused)
            return
        if body is None:
            return
        await self._app(scope, _replay(body, receive), send)

    def _check_key(self, path: str, headers: Mapping[str, bytes]) -> None:
        if self._key is None or path in PROBES:
            return
        given = headers.get("authorization", b"")
        # The comparison takes as long wherever the keys differ.
        if not hmac.compare_digest(given, f"Bearer {self._key}".encode()):
            message = "The key is missing or wrong. Send 'Authorization: Bearer KEY'."
            raise RefusedError(401, "unauthorized", message, {"WWW-Authenticate": "Bearer"})

    async def _body(self, headers: Mapping[str, bytes], receive: Receive) -> bytes | None:
        """Return the body; None if the client has gone."""
        encoding = headers.get("content-encoding", b"identity")
        if encoding != b"identity":
            message = f"Found a body with Content-Encoding {encoding.decode('latin-1')!r}. Send it uncompressed."
            raise RefusedError(415, "encoding", message)
        most = self._limits.body_bytes
        declared = headers.get("content-length", b"0")
        too_large = RefusedError(
            413, "body_size", f"The body is larger than {most:,} bytes. Send fewer rows."
        )
        if declared.isdigit() and int(declared) > most:
            raise too_large
        pieces, size, more = [], 0, True
        while more:
            try:
                piece = await asyncio.wait_for(receive(), self._limits.body_seconds)
            except TimeoutError:
                seconds = self._limits.body_seconds
                raise RefusedError(
                    408, "slow_body", f"No piece of the body arrived for {seconds:g} s."
                ) from None
            if piece["type"] == "http.disconnect":
                return None
            pieces.append(piece.get("body", b""))
            size += len(pieces[-1])
            more = piece.get("more_body", False)
            if size > most:
                raise too_large
        body = b"".join(pieces)
        if b"json" in headers.get("content-type", b"") and depth(body) > self._limits.depth:
            message = f"JSON is nested deeper than {self._limits.depth} levels."
            raise RefusedError(422, "json_depth", message)
        return body


_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


def depth(body: bytes) -> int:
    """Return how deep brackets are nested in JSON, without parsing it: strings are skipped."""
    steps = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
    brackets = (steps[byte] for byte in _STRINGS.sub(b"", body) if byte in steps)
    return max(accumulate(brackets), default=0)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return the body once, then what the client does, such as going away."""
    sent = False

    async def replayed() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


async def _answer(send: Send, refused: RefusedError) -> None:
    body = error_body(refused.code, str(refused))
    headers = {"Content-Type": "application/json", "Connection": "close", **refused.headers}
    headers["Content-Length"] = str(len(body))
    encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
