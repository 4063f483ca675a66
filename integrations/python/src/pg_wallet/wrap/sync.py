"""The sync clients: `post` with a hold before and a settlement after."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, cast

from ..client import Wallet
from ..errors import InsufficientFunds, PriceNotFound
from ..reaper import reaper
from ..request import Request
from .metered import Call, Provider, Receipt, attach, counted

Post = Callable[..., Any]


def hook(post: Post, wallet: Wallet, provider: Provider) -> Post:
    """`client.post` of a client whose calls are charged."""

    def charged(path: str, **arguments: Any) -> Any:
        endpoint = provider.endpoint(path)
        if endpoint is None:
            return post(path, **arguments)
        call = Call(provider, endpoint, path, arguments)
        request = _hold(wallet, call)
        try:
            response = post(path, **call.arguments)
            if call.streams:
                return _stream(call, request, response)
            return _settled(call, request, response)
        except BaseException as error:
            if call.was_answered(error):
                request.use(call.told(), metadata=counted(False))
            request.close(error)
            raise

    return charged


def _hold(wallet: Wallet, call: Call) -> Request:
    while True:
        estimate, has_another = call.next_estimate()
        context = cast("Any", call.context())
        request = wallet.request(estimate, options=call.options.request, **context)
        try:
            request.open()
        except PriceNotFound:
            if not has_another:
                raise
            continue
        if not call.affordable(request):
            request.void("no money for a token")
            raise InsufficientFunds(f'the wallet "{wallet.wallet}" does not pay for a token')
        return request


def _settled(call: Call, request: Request, response: Any) -> Any:
    # Whatever becomes of the answer: the provider has given one.
    request.use(call.told(), metadata=counted(False))
    parsed = response.parse() if call.raw in ("true", "raw") else response
    usage, exact = call.used(parsed)
    request.settle(usage, metadata=counted(exact))
    receipt = Receipt(request)
    attach(response, receipt)
    attach(parsed, receipt)
    return response


def _stream(call: Call, request: Request, response: Any) -> Any:
    if call.raw is None:
        return MeteredStream(response, call, request)
    # A raw response: its `parse` makes the stream.
    parse = response.parse
    made: list[MeteredStream] = []

    def metered(**to: Any) -> MeteredStream:
        if not made:
            made.append(MeteredStream(parse(**to), call, request))
        return made[0]

    response.parse = metered
    attach(response, Receipt(request))
    _on_close(response.http_response, lambda: _finish(call, request))
    return response


def _finish(call: Call, request: Request, error: BaseException | None = None) -> None:
    """Settles what the meter has seen, or releases. Does it once."""
    found = call.ended()
    if found is not None and not request.closed:
        usage, exact = found
        request.use(usage, metadata=counted(exact))
    request.close(error)


def _on_close(response: Any, finish: Callable[[], None]) -> None:
    close = response.close

    def closing() -> None:
        close()
        finish()

    response.close = closing


def _metered(stream: Any, call: Call, request: Request) -> Iterator[Any]:
    """The events of a stream. What it refers to does not refer to it: a stream that nobody holds
    any more is ended by its destructor, at once."""
    meter = call.prepared.meter
    assert meter is not None
    try:
        for event in stream:
            visible = meter.see(event)
            request.check()
            if visible:
                yield event
    except GeneratorExit:
        raise  # the destructor of the stream
    except BaseException as error:
        _close(stream, call, request, error)
        raise
    _close(stream, call, request)


def _close(stream: Any, call: Call, request: Request, error: BaseException | None = None) -> None:
    try:
        stream.close()
    finally:
        _finish(call, request, error)


class MeteredStream:
    """A stream of the SDK that settles when it ends, breaks, or is left early."""

    def __init__(self, stream: Any, call: Call, request: Request) -> None:
        self._stream = stream
        self._call = call
        self._request = request
        self.wallet = Receipt(request)
        _on_close(stream.response, lambda: _finish(call, request))
        self._iterator = _metered(stream, call, request)
        reaper.watch(self)

    def __iter__(self) -> Iterator[Any]:
        # A generator that holds this stream for as long as somebody reads.
        for event in self._iterator:  # noqa: UP028 - it can be read on after a break
            yield event

    def __next__(self) -> Any:
        return next(self._iterator)

    def __enter__(self) -> MeteredStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        _close(self._stream, self._call, self._request)

    def __del__(self) -> None:
        # Nobody reads it any more, or nobody has begun to.
        if not self._request.closed:
            reaper.add(functools.partial(_close, self._stream, self._call, self._request))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
