"""A layer in front of the mock provider that writes down the usage it reports.

It reads what the mock sends, as a provider's own metering would: the log is the mock's, not the
client's.
"""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import dataclass
from typing import Any


@dataclass
class Logged:
    """One request to the mock."""

    test_id: str
    path: str
    status: int = 0
    input_tokens: int | None = None
    output_tokens: int = 0
    reported: bool = False
    deltas: int = 0
    finished: bool = False


class Recorder:
    """An ASGI application around another one."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.state = app.state
        self.log: list[Logged] = []
        self.lock = threading.Lock()
        # How many requests are in service, and were at most.
        self.now = self.peak = 0
        # Seconds that each request is in service at least.
        self.service_time = 0.0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        entry = Logged(headers.get("x-test-id", ""), scope["path"])
        body = b""
        with self.lock:
            self.log.append(entry)
        if self.service_time:
            # Clients that have left are out of service before this one is in it.
            for _ in range(3):
                await asyncio.sleep(0)
        served = False
        with self.lock:
            self.now += 1
            self.peak = max(self.peak, self.now)

        def done() -> None:
            nonlocal served
            with self.lock:
                self.now -= 0 if served else 1
            served = True

        async def sending(message: Any) -> None:
            nonlocal body
            if message["type"] == "http.response.start":
                entry.status = message["status"]
            elif message["type"] == "http.response.body":
                body += message.get("body", b"")
                lines = body.split(b"\n")
                body = lines.pop()
                for line in lines:
                    _read(entry, line)
                if not message.get("more_body"):
                    _read(entry, body)
                    entry.finished = True
                    done()
            await send(message)

        try:
            if self.service_time:
                receive = await _served(receive, self.service_time)
            await self.app(scope, receive, sending)
        except _Gone:
            pass
        finally:
            done()

    def of(self, test_id: str) -> list[Logged]:
        return [entry for entry in self.log if entry.test_id == test_id]

    def clear(self) -> None:
        self.log.clear()
        self.peak = self.now
        self.service_time = 0.0


class _Gone(Exception):
    """The client has left."""


async def _served(receive: Any, seconds: float) -> Any:
    """Reads a request and works on it for a while, unless the client leaves. Gives it again."""
    messages = [await receive()]
    while messages[-1].get("more_body"):
        messages.append(await receive())
    try:
        await asyncio.wait_for(receive(), seconds)
    except asyncio.TimeoutError:
        pass
    else:
        raise _Gone

    async def again() -> Any:
        return messages.pop(0) if messages else await receive()

    return again


def _read(entry: Logged, line: bytes) -> None:
    text = line.removeprefix(b"data: ").strip()
    if not text.startswith(b"{"):
        return
    try:
        data = json.loads(text)
    except ValueError:
        return
    if data.get("type") in ("content_block_delta", "response.output_text.delta"):
        entry.deltas += 1
    for choice in data.get("choices") or []:
        if (choice.get("delta") or {}).get("content"):
            entry.deltas += 1
    for holder in (data, data.get("message") or {}, data.get("response") or {}):
        usage = holder.get("usage") if isinstance(holder, dict) else None
        if not isinstance(usage, dict):
            continue
        given = usage.get("prompt_tokens", usage.get("input_tokens"))
        entry.input_tokens = given if given is not None else entry.input_tokens
        entry.output_tokens = usage.get("completion_tokens", usage.get("output_tokens", 0)) or 0
        # message_start has the input alone.
        entry.reported = data.get("type") != "message_start"
