"""A request of a program with asyncio: `async with wallet.request(estimate) as r:`."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .attribution import Amount, Usage
from .errors import HoldExpired, WalletError, WalletUnreachable
from .lifetime import Lifetime, RequestOptions
from .results import Charge, Hold
from .retry import Attempts
from .shield import finish

if TYPE_CHECKING:
    from .aio import AsyncWallet


class AsyncRequest(Lifetime):
    """Holds on entering; settles or releases on every way out, cancellation among them."""

    def __init__(
        self,
        wallet: AsyncWallet,
        estimate: Usage | None,
        amount: Amount | None,
        options: RequestOptions,
        context: Mapping[str, Any],
    ) -> None:
        super().__init__(wallet, estimate, amount, options, context)
        self._wallet = wallet
        self._watcher: asyncio.Task[None] | None = None
        self._body: asyncio.Task[Any] | None = None
        self._stopped = False
        self._made: Hold | None = None

    async def __aenter__(self) -> AsyncRequest:
        if self.options.beyond == "stop":
            self._body = asyncio.current_task()
        await self.open()
        return self

    async def open(self) -> None:
        """Holds. `close` must follow."""
        attempts = self._wallet._attempts()
        try:
            await finish(self._open(attempts))
        except asyncio.CancelledError as error:
            # The hold may have been made while the task was cancelled.
            if self._made is not None and self._lets_go(self._made, attempts, error):
                await finish(self._void("CancelledError"))
            raise
        if self._made is not None:
            await self._admit(self._made, attempts)
        if self.hold is not None and (self.options.extend or self.options.beyond == "stop"):
            self._watcher = asyncio.get_running_loop().create_task(_watch(weakref.ref(self)))

    async def _open(self, attempts: Attempts) -> None:
        try:
            self._made = await self._wallet._run(self._opening(), None, attempts)
        except WalletUnreachable:
            if self._wallet.fail == "closed":
                raise
            self.offline = True

    async def _admit(self, hold: Hold, attempts: Attempts) -> None:
        """Goes on with the hold, or raises where that is not allowed."""
        if self._needs_look(hold):
            try:
                if await self._approved(hold):
                    await finish(self._take(hold))
            except BaseException as error:
                if self._lets_go(hold, attempts, error):
                    await finish(self._void(self._reason(error)))
                raise
        self._opened(hold, attempts)

    async def _approved(self, hold: Hold) -> bool:
        """Whether the hold was approved; False for an open one that needed no approval."""
        while True:
            try:
                state = await finish(self._wallet._run(self._looking(hold), None))
            except WalletUnreachable:
                pause: float | None = self._unseen()
            else:
                pause = self._look(hold, state)
            if pause is None:
                return state is not None and state.approved
            await asyncio.sleep(pause)

    async def _take(self, hold: Hold) -> None:
        attempts = self._wallet._attempts()
        self._took(await self._wallet._run(self._taking(hold), None, attempts), attempts)

    async def settle(
        self,
        usage: Usage | None = None,
        amount: Amount | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
    ) -> Charge:
        """Books what was used and releases the rest. A second call returns the first result."""
        if not self.closed:
            self.use(usage, amount, metadata=metadata)
        return await finish(self._settle())

    async def _settle(self) -> Charge:
        return await self._booked() if self._claim() else self._again()

    async def _booked(self) -> Charge:
        self._unwatch()
        try:
            self.charge = await self._wallet._book(self._settling(), None)
        except BaseException as error:
            self._settle_failed(error)
            raise
        return self.charge

    async def void(self, reason: str | None = None) -> None:
        """Releases the hold; does nothing where the request is settled."""
        await finish(self._void(reason))

    async def _void(self, reason: str | None) -> None:
        if not self._claim():
            return
        self._unwatch()
        statement = self._voiding(reason)
        if statement is None:
            return
        try:
            await self._wallet._run(statement, None)
        except WalletError as error:
            self._not_voided(error)

    async def charge_late(self, usage: Usage, metadata: Mapping[str, Any] | None = None) -> Charge:
        """Books use that turned up after the hold was released, once."""
        return await self._wallet._book(self._charging(usage, None, metadata), None)

    async def close(self, error: BaseException | None = None) -> None:
        """Settles what was noted, or releases the hold."""
        if self._must_settle():
            if self._claim():
                await finish(self._booked())
        elif self._left():
            self._unwatch()
        else:
            await self.void(self._reason(error))

    async def _extend(self) -> float | None:
        """Extends the hold; the time of the next extension, if there is one."""
        statement = self._extension()
        if statement is None:
            return None
        try:
            await self._wallet._run(statement, None)
        except WalletError as error:
            return self._not_extended(error)
        self._lasts()
        return self._next_extension()

    def _stop(self) -> None:
        """Ends the body of a request that has outlived its hold."""
        if self._body is not None and not self.closed:
            self._stopped = True
            self._body.cancel()

    def _unwatch(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close(error)
        if self._stopped and isinstance(error, asyncio.CancelledError):
            uncancel = getattr(self._body, "uncancel", None)  # Python 3.11
            if uncancel is not None:
                uncancel()
            raise HoldExpired("the request outlived its hold", hint="Raise ttl or longest.")


async def _watch(reference: weakref.ref[AsyncRequest]) -> None:
    """Extends the hold in time; ends the body where it may not outlive the hold.

    It does not hold the request: one that nobody holds any more is not extended.
    """
    request = reference()
    due = request._next_extension() if request is not None else None
    while request is not None:
        wake = request._ends if due is None else due
        del request
        await asyncio.sleep(max(0.0, wake - time.monotonic()))
        request = reference()
        if request is None:
            return
        if due is None:
            request._stop()
            return
        due = await request._extend()
