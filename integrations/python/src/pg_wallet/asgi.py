"""ASGI: a hold around every request to an endpoint, whatever the framework."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from . import errors
from .aio import AsyncWallet
from .aio_request import AsyncRequest
from .attribution import Usage
from .errors import WalletError
from .lifetime import RequestOptions

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_STATUS: list[tuple[type[WalletError], int]] = [
    (errors.InsufficientFunds, 402),
    (errors.LimitExceeded, 429),
    (errors.NotPermitted, 403),
    (errors.WalletNotActive, 403),
    (errors.WalletNotFound, 403),
    (errors.ApprovalRequired, 403),
    (errors.HoldNotOpen, 409),
    (errors.IdempotencyConflict, 409),
    (errors.WalletUnreachable, 503),
]


def status_of(error: WalletError) -> int:
    """The HTTP status of an error: 402 for funds, 429 for limits."""
    return next((code for cls, code in _STATUS if isinstance(error, cls)), 500)


def answer_to(error: WalletError) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Status, headers and body of the answer to a request that the wallet refuses."""
    status = status_of(error)
    headers = {}
    seconds = error.retry_after() if status == 429 else None
    if seconds is not None:
        headers["Retry-After"] = str(seconds)
    # What the server says of its own state is not for clients.
    message = error.message if status < 500 else "the wallet cannot be charged"
    body = {"code": error.sqlstate, "message": message}
    if isinstance(error, errors.ApprovalRequired):
        body.update(code="approval_required", hold_id=str(error.hold_id))
    return status, headers, {"error": body}


@dataclass(frozen=True)
class Charged:
    """What is known of a request before it runs.

    wallet: the wallet, bound to the request's user, team and so on; None lets it through.
    estimate, amount: what to hold. key: the idempotency key, such as a header of the request.
    """

    wallet: AsyncWallet | None
    estimate: Usage | None = None
    amount: Any = None
    key: str | None = None
    options: RequestOptions = field(default_factory=RequestOptions)

    def request(self) -> AsyncRequest:
        assert self.wallet is not None
        context: Any = {} if self.key is None else {"idempotency_key": self.key}
        return self.wallet.request(self.estimate, self.amount, options=self.options, **context)


class WalletMiddleware:
    """A hold before the endpoint, a settlement after it.

    `charge(scope)` says what a request is charged. The endpoint finds the hold in
    `scope["state"]["wallet"]` (`request.state.wallet`) and settles it, or notes with `use` what has
    been used so far; without either the hold is released. An answer that begins after `settle` has
    the X-Usage headers. The middleware passes every message on at once: streams stay streams.
    """

    def __init__(
        self,
        app: App,
        charge: Callable[[Scope], Charged | Awaitable[Charged | None] | None],
        paths: str | None = None,
    ) -> None:
        self.app = app
        self.charge = charge
        self.paths = re.compile(paths) if paths is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        charged = await self._charged(scope)
        if charged is None or charged.wallet is None:
            await self.app(scope, receive, send)
            return
        started = False
        request = charged.request()

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                given = [(n.lower().encode(), v.encode()) for n, v in request.headers().items()]
                message = {**message, "headers": [*message.get("headers", []), *given]}
            await send(message)

        try:
            async with request:
                scope.setdefault("state", {})["wallet"] = request
                await self.app(scope, receive, sending)
        except WalletError as error:
            if started:
                raise
            await _refuse(send, error)

    async def _charged(self, scope: Scope) -> Charged | None:
        if scope["type"] != "http":
            return None
        if self.paths is not None and not self.paths.fullmatch(scope["path"]):
            return None
        found = self.charge(scope)
        return await found if isinstance(found, Awaitable) else found


async def _refuse(send: Send, error: WalletError) -> None:
    status, headers, body = answer_to(error)
    content = json.dumps(body).encode()
    given = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    given += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": status, "headers": given})
    await send({"type": "http.response.body", "body": content})
