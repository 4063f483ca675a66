"""`wrap(client, wallet)`: a client of openai or anthropic whose calls are charged."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

from ..aio import AsyncWallet
from ..client import Wallet
from . import aio, sync
from .metered import Provider, Receipt
from .options import WrapOptions

C = TypeVar("C")

__all__ = ["Receipt", "WrapOptions", "wrap"]


def wrap(client: C, wallet: Wallet | AsyncWallet, options: WrapOptions | None = None) -> C:
    """A copy of the client, of the same type, that charges the wallet.

    Each call holds its estimate, is made, and is settled with what the provider reports:
    `response.wallet` has the cost. Calls that are not for a model go through unchanged.
    An `Idempotency-Key` among the call's `extra_headers` is the key of hold and settlement too.
    """
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

    def again(**changes: Any) -> Any:
        return wrap(copy(**changes), wallet, options)

    wrapped.copy = wrapped.with_options = again
    found: C = wrapped
    return found
