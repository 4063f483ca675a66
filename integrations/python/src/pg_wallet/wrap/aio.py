"""The async clients: `post` with a hold before and a settlement after."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, cast

from ..aio import AsyncWallet
from ..aio_request import AsyncRequest
from ..errors import InsufficientFunds, PriceNotFound
from ..shield import finish
from .metered import Call, Provider, Receipt, attach, counted

Post = Callable[..., Awaitable[Any]]


def hook(post: Post, wallet: AsyncWallet, provider: Provider) -> Post:
    """`client.post` of a client whose calls are charged."""

    async def charged(path: str, **arguments: Any) -> Any:
        endpoint = provider.endpoint(path)
        if endpoint is None:
            return await post(path, **arguments)
        call = Call(provider, endpoint, path, arguments)
        request = await _hold(wallet, call)
        try:
            response = await post(path, **call.arguments)
            if call.streams:
                return _stream(call, request, response)
            return await _settled(call, request, response)
        except BaseException as error:
            if call.was_answered(error):
                request.use(call.told(), metadata=counted(False))
            await request.close(error)
            raise

    return charged


async def _hold(wallet: AsyncWallet, call: Call) -> AsyncRequest:
    while True:
        estimate, has_another = call.next_estimate()
        context = cast("Any", call.context())
        request = wallet.request(estimate, options=call.options.request, **context)
        try:
            await request.open()
        except PriceNotFound:
            if not has_another:
                raise
            continue
        if not call.affordable(request):
            await request.void("no money for a token")
            raise InsufficientFunds(f'the wallet "{wallet.wallet}" does not pay for a token')
        return request


async def _settled(call: Call, request: AsyncRequest, response: Any) -> Any:
    # Whatever becomes of the answer: the provider has given one.
    request.use(call.told(), metadata=counted(False))
    parsed = response
    if call.raw in ("true", "raw"):
        parsed = response.parse()
        if hasattr(parsed, "__await__"):
            parsed = await parsed
    usage, exact = call.used(parsed)
    await request.settle(usage, metadata=counted(exact))
    receipt = Receipt(request)
    attach(response, receipt)
    attach(parsed, receipt)
    return response


def _stream(call: Call, request: AsyncRequest, response: Any) -> Any:
    if call.raw is None:
        return AsyncMeteredStream(response, call, request)
    # A raw response: its `parse` makes the stream, and may have to be awaited.
    parse = response.parse
    made: list[AsyncMeteredStream] = []

    def metered(**to: Any) -> Any:
        found = parse(**to)
        if hasattr(found, "__await__"):
            return later(found)
        return once(found)

    async def later(found: Any) -> AsyncMeteredStream:
        return once(await found)

    def once(stream: Any) -> AsyncMeteredStream:
        if not made:
            made.append(AsyncMeteredStream(stream, call, request))
        return made[0]

    response.parse = metered
    attach(response, Receipt(request))
    _on_close(response.http_response, lambda: _finish(call, request))
    return response


async def _finish(call: Call, request: AsyncRequest, error: BaseException | None = None) -> None:
    """Settles what the meter has seen, or releases. Does it once."""
    found = call.ended()
    if found is not None and not request.closed:
        usage, exact = found
        request.use(usage, metadata=counted(exact))
    await request.close(error)


def _on_close(response: Any, end: Callable[[], Awaitable[None]]) -> None:
    close = response.aclose

    async def closing() -> None:
        try:
            await close()
        finally:
            await end()

    response.aclose = closing


async def _metered(stream: Any, call: Call, request: AsyncRequest) -> AsyncIterator[Any]:
    """The events of a stream. What it refers to does not refer to it: a stream that nobody holds
    any more is closed at once."""
    meter = call.prepared.meter
    assert meter is not None
    error: BaseException | None = None
    try:
        async for event in stream:
            visible = meter.see(event)
            request.check()
            if visible:
                yield event
    except BaseException as raised:
        error = raised
        raise
    finally:
        await finish(_close(stream, call, request, error))


async def _close(
    stream: Any, call: Call, request: AsyncRequest, error: BaseException | None = None
) -> None:
    try:
        await stream.close()
    finally:
        await _finish(call, request, error)


class AsyncMeteredStream:
    """A stream of the SDK that settles when it ends, breaks, or is left early."""

    def __init__(self, stream: Any, call: Call, request: AsyncRequest) -> None:
        self._loop = asyncio.get_running_loop()
        self._stream = stream
        self._call = call
        self._request = request
        self.wallet = Receipt(request)
        _on_close(stream.response, lambda: _finish(call, request))
        self._iterator = _metered(stream, call, request)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self  # whoever reads holds this stream

    async def __anext__(self) -> Any:
        return await self._iterator.__anext__()

    async def __aenter__(self) -> AsyncMeteredStream:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await finish(_close(self._stream, self._call, self._request))

    def __del__(self) -> None:
        # Nobody reads it any more. One that somebody has begun to read is closed by the loop too.
        if not self._request.closed:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(_reap, self._stream, self._call, self._request)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


_reaping: set[asyncio.Task[None]] = set()


def _reap(stream: Any, call: Call, request: AsyncRequest) -> None:
    task = asyncio.get_running_loop().create_task(_close(stream, call, request))
    _reaping.add(task)
    task.add_done_callback(_reaped)


def _reaped(task: asyncio.Task[None]) -> None:
    _reaping.discard(task)
    if not task.cancelled():
        task.exception()  # it has been logged
