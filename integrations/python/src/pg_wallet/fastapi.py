"""FastAPI: a dependency that holds, and the answer to requests that the wallet refuses."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from .aio_request import AsyncRequest
from .asgi import Charged, WalletMiddleware, answer_to, status_of
from .errors import WalletError

__all__ = ["Charged", "Hold", "WalletMiddleware", "add_wallet_errors", "settled"]


class Hold:
    """A dependency: `request: AsyncRequest = Depends(Hold(charge))`.

    `charge(request)` says what a request is charged. The endpoint settles; what it only noted with
    `use` is settled when it has answered or failed, and without either the hold is released. This
    is after the last byte of a stream: its generator notes with `use` what it has sent.
    """

    def __init__(self, charge: Callable[[Request], Charged | Awaitable[Charged]]) -> None:
        self.charge = charge

    async def __call__(self, request: Request) -> AsyncIterator[AsyncRequest]:
        found = self.charge(request)
        charged = await found if inspect.isawaitable(found) else found
        async with charged.request() as held:
            yield held


async def settled(held: AsyncRequest, response: Response, **used: Any) -> None:
    """Settles with `usage` or `amount`, and gives the answer the X-Usage headers."""
    await held.settle(**used)
    response.headers.update(held.headers())


def add_wallet_errors(app: FastAPI) -> None:
    """Answers 402, 403, 409, 429 and 503 where the wallet refuses."""

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, WalletError)
        if status_of(error) == 500:
            raise error
        status, headers, body = answer_to(error)
        return JSONResponse(body, status, headers)

    app.add_exception_handler(WalletError, refused)
