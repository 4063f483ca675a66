"""`wrap(client, wallet)`: a client of openai or anthropic whose calls are charged."""

from __future__ import annotations

import functools
import inspect
from typing import Any, TypeVar

from ..aio import AsyncWallet
from ..client import Wallet
from . import aio, sync
from .metered import Provider, Receipt
from .options import WrapOptions
from .paths import NotMetered, not_metered

C = TypeVar("C")

_MARK = "_pg_wallet_wrapped"

__all__ = ["NotMetered", "Receipt", "WrapOptions", "wrap"]


def wrap(client: C, wallet: Wallet | AsyncWallet, options: WrapOptions | None = None) -> C:
    """A copy of the client, of the same type, that charges the wallet.

    Each call holds its estimate, is made, and is settled with what the provider reports:
    `response.wallet` has the cost. Calls that cost nothing by themselves go through unchanged, and
    calls whose cost cannot be known raise NotMetered.
    An `Idempotency-Key` among the call's `extra_headers` is the key of hold and settlement too.
    """
    if hasattr(client, _MARK):
        raise TypeError("the client is wrapped already: wrap the one that it was made from")
    options = options or WrapOptions()
    asynchronous = inspect.iscoroutinefunction(getattr(client, "post", None))
    if asynchronous != isinstance(wallet, AsyncWallet):
        raise TypeError("an async client needs an AsyncWallet, and a sync client a Wallet")
    provider = Provider(client, options)
    copy: Any = client.copy  # type: ignore[attr-defined]
    wrapped: Any = copy()
    if isinstance(wallet, AsyncWallet):
        wrapped.post = aio.hook(wrapped.post, wallet, provider)
    else:
        wrapped.post = sync.hook(wrapped.post, wallet, provider)

    wrapped.get_api_list = _checked(wrapped.get_api_list, provider)
    _bind(wrapped, wrapped)
    if options.unmetered == "refuse":
        cls: Any = type(wrapped)
        wrapped.__class__ = _without_sockets(cls)

    def again(**changes: Any) -> Any:
        return wrap(copy(**changes), wallet, options)

    wrapped.copy = wrapped.with_options = again
    setattr(wrapped, _MARK, True)
    found: C = wrapped
    return found


def _bind(owner: Any, client: Any) -> None:
    """Resources that exist already, as in older SDKs, have the client's own `post`."""
    for resource in list(vars(owner).values()):
        if resource is not client and hasattr(resource, "_post") and hasattr(resource, "_client"):
            resource._post = client.post
            resource._get_api_list = client.get_api_list
            _bind(resource, client)


def _checked(get_api_list: Any, provider: Provider) -> Any:
    """Some searches are lists that are asked for with POST."""

    def checked(path: str, **arguments: Any) -> Any:
        if str(arguments.get("method", "get")).lower() == "post":
            provider.check(path)
        return get_api_list(path, **arguments)

    return checked


@functools.cache
def _without_sockets(cls: type[Any]) -> type[Any]:
    """The same class, whose web sockets (realtime, live, responses) are refused.

    Every socket of the SDK begins with the client's `websocket_base_url`.
    """

    def refuse(_: Any) -> Any:
        raise not_metered("a web socket")

    names = {"websocket_base_url": property(refuse), "__module__": cls.__module__}
    return type(cls.__name__, (cls,), names)
