"""How a server answers."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class ServeOptions:
    """Address, limits and batching of a server.

    :param address: ``0.0.0.0`` listens on all networks.
    :param port: 0 for any that is free.
    :param key: The bearer key that clients must send; None lets everybody in.
    :param seconds: Longest time until an answer; a client may ask for less by ``X-Request-Timeout``.
    :param rows: Most rows of a request.
    :param body_bytes: Largest body of a request.
    :param queue_tokens: Most tokens that wait; requests beyond are refused.
    :param queue_requests: Most requests that wait.
    :param group_tokens: Tokens that are computed together. More need less padding, and keep later
        requests waiting longer.
    :param window: Seconds that a row waits for others to join it.
    :param device: ``cpu``, ``cuda``, ``cuda:1`` or ``auto``; by default as the recipe of the run says.
    :param precision: ``fp32``, ``bf16``, ``fp16`` or ``auto``; by default as the recipe says.
    """

    address: str = "127.0.0.1"
    port: int = 8080
    key: str | None = field(default=None, repr=False)
    seconds: float = 30.0
    rows: int = 1_000
    body_bytes: int = 16 * 2**20
    queue_tokens: int = 262_144
    queue_requests: int = 256
    group_tokens: int = 8_192
    window: float = 0.002
    device: str | None = None
    precision: str | None = None
