"""One request to the proxy, whose hooks come in any order and any number of times."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from .. import telemetry
from ..aio import AsyncWallet
from ..aio_request import AsyncRequest
from ..errors import UNDELIVERED, WalletError
from ..results import Charge
from ..shield import finish
from ..wrap.endpoint import Endpoint, Meter, Prepared, UsageOrStream
from ..wrap.metered import counted

# Seconds between attempts to deliver a settlement.
_PAUSES = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1200, 1200)


class Tracked:
    """Settles or releases once. Whoever comes later changes nothing."""

    def __init__(
        self,
        wallet: AsyncWallet,
        request: AsyncRequest,
        endpoint: Endpoint,
        prepared: Prepared,
        estimate: dict[str, Any],
        grace: float,
        forget: Callable[[], None],
    ) -> None:
        self.wallet = wallet
        self.request = request
        self.endpoint = endpoint
        self.prepared = prepared
        self.estimate = estimate
        self.streams = False
        self._grace = grace
        self._broken = False
        self._forget = forget
        self._reported: UsageOrStream | None = None
        self._lock = asyncio.Lock()
        self._timer: asyncio.Task[None] | None = None
        self._due = 0.0
        self._tries = 0
        self._late: Charge | None = None

    @property
    def meter(self) -> Meter | None:
        return self.prepared.meter

    @property
    def charge(self) -> Charge | None:
        return self.request.charge or self._late

    async def succeeded(self, usage: UsageOrStream | None) -> None:
        """LiteLLM has the whole response. Of a stream that still runs the end is waited for."""
        if self.streams:
            self._reported = usage or self._reported
            return
        if usage is None:
            await self.settle(dict(self.estimate), exact=False)
        else:
            await self.settle(usage, exact=not self._broken)

    async def stream_ended(self, error: BaseException | None) -> None:
        """No more chunks come. LiteLLM may still say what it has counted."""
        self.streams = False
        self._broken = error is not None
        found = self._metered()
        if found is not None and found[1]:
            await self.settle(found[0], exact=True)
        elif self._reported is not None:
            await self.settle(self._reported, exact=not self._broken)
        elif error is not None and isinstance(error, Exception):
            await self._close(found, error)
        else:
            # Of a stream that is complete LiteLLM always has a count, but it may be busy.
            self.release_later(self._grace if error is not None else 6 * self._grace)

    def release_later(self, seconds: float) -> None:
        """Settles what was counted, or releases, where no other hook does it before."""
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        if self.request.closed or (self._timer is not None and due >= self._due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = loop.create_task(self._wait(seconds))

    async def _wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if not self.streams:
            await self._close(self._metered(), None)

    def _metered(self) -> tuple[UsageOrStream, bool] | None:
        """What the stream has used as far as its chunks say; None for nothing."""
        found = self.meter.usage() if self.meter is not None else None
        if found is None:
            return None
        usage, exact = found
        return (dict(self.estimate), False) if usage is None else (usage, exact)

    async def _close(
        self, found: tuple[UsageOrStream, bool] | None, error: BaseException | None
    ) -> None:
        if found is not None:
            await self.settle(found[0], exact=found[1])
        else:
            await self.failed(error)

    async def settle(self, usage: UsageOrStream, *, exact: bool) -> None:
        await finish(self._settle(usage, exact))

    async def _settle(self, usage: UsageOrStream, exact: bool) -> None:
        async with self._lock:
            if self.charge is not None:
                return
            try:
                if self.request.closed:
                    # It was released, and the provider answered after all.
                    self._late = await self.request.charge_late(usage, counted(exact))
                else:
                    await self.request.settle(usage, metadata=counted(exact))
            except UNDELIVERED:
                # It has been logged. The provider has been paid: the hold must not be released.
                if self._settle_again(usage, exact):
                    return
                await self.request.close()
            except WalletError as error:
                # The answer is on its way: nobody can be refused any more.
                telemetry.log(
                    logging.ERROR,
                    "usage of the proxy not booked",
                    name=self.wallet.wallet,
                    sqlstate=error.sqlstate,
                    error=str(error),
                )
                await self.request.void("not booked")
        self._end()

    def _settle_again(self, usage: UsageOrStream, exact: bool) -> bool:
        """Tries later what could not be delivered, for about an hour; False after that."""
        if self._tries >= len(_PAUSES):
            return False
        pause = _PAUSES[self._tries]
        self._tries += 1

        async def again() -> None:
            await asyncio.sleep(pause)
            await self.settle(usage, exact=exact)

        if self._timer is not None and self._timer is not asyncio.current_task():
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().create_task(again())
        self._due = 0.0  # no other hook has anything better to do
        return True

    async def failed(self, error: BaseException | None) -> None:
        """The request has failed for good."""
        if self.streams or self._tries:
            return
        async with self._lock:
            await self.request.void(type(error).__name__ if error else "nothing used")
        self._end()

    def _end(self) -> None:
        current = asyncio.current_task()
        if self._timer is not None and self._timer is not current:
            self._timer.cancel()
        self._forget()
