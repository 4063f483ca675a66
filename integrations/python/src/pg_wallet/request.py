"""A request of a program with threads: `with wallet.request(estimate) as r:`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .attribution import Amount, Usage
from .errors import WalletError, WalletUnreachable
from .lifetime import Lifetime, RequestOptions
from .results import Charge, Hold
from .retry import Attempts

if TYPE_CHECKING:
    from .client import Wallet

__all__ = ["Request", "RequestOptions"]


class Request(Lifetime):
    """Holds on entering; settles or releases on every way out."""

    def __init__(
        self,
        wallet: Wallet,
        estimate: Usage | None,
        amount: Amount | None,
        options: RequestOptions,
        context: Mapping[str, Any],
    ) -> None:
        super().__init__(wallet, estimate, amount, options, context)
        self._wallet = wallet

    def __enter__(self) -> Request:
        self.open()
        return self

    def open(self) -> None:
        """Holds. `close` must follow."""
        attempts = self._wallet._attempts()
        try:
            hold = self._wallet._run(self._opening(), None, attempts)
        except WalletUnreachable:
            if self._wallet.fail == "closed":
                raise
            self.offline = True
        except Exception:
            raise
        except BaseException as error:
            # An interrupt: the hold may have been made.
            self._abandon(type(error).__name__)
            raise
        else:
            self._admit(hold, attempts)
        due = self._next_extension()
        if due is not None:
            self._wallet.extender.add(self, due)

    def _admit(self, hold: Hold, attempts: Attempts) -> None:
        """Goes on with the hold, or raises where that is not allowed."""
        if self._needs_look(hold):
            try:
                if self._approved(hold):
                    again = self._wallet._attempts()
                    self._took(self._wallet._run(self._taking(hold), None, again), again)
            except BaseException as error:
                if self._lets_go(hold, attempts, error):
                    self.void(self._reason(error))
                raise
        self._opened(hold, attempts)

    def _approved(self, hold: Hold) -> bool:
        """Whether the hold was approved; False for an open one that needed no approval."""
        while True:
            try:
                state = self._wallet._run(self._looking(hold), None)
            except WalletUnreachable:
                pause: float | None = self._unseen()
            else:
                pause = self._look(hold, state)
            if pause is None:
                return state is not None and state.approved
            time.sleep(pause)

    def _abandon(self, reason: str) -> None:
        """Releases a hold of which the answer did not arrive. Its key says which it is."""
        if self.hold is None and self._own_key:
            with contextlib.suppress(Exception):
                self.hold = self._wallet._run(self._opening(), None)
        if self.hold is not None:
            self.void(reason)

    def settle(
        self,
        usage: Usage | None = None,
        amount: Amount | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
    ) -> Charge:
        """Books what was used and releases the rest. A second call returns the first result."""
        if not self.closed:
            self.use(usage, amount, metadata=metadata)
        return self._settle()

    def _settle(self) -> Charge:
        return self._booked() if self._claim() else self._again()

    def _booked(self) -> Charge:
        try:
            self.charge = self._wallet._book(self._settling(), None)
        except BaseException as error:
            self._settle_failed(error)
            raise
        return self.charge

    def void(self, reason: str | None = None) -> None:
        """Releases the hold; does nothing where the request is settled."""
        if not self._claim():
            return
        statement = self._voiding(reason)
        if statement is None:
            return
        try:
            self._wallet._run(statement, None)
        except WalletError as error:
            self._not_voided(error)

    def close(self, error: BaseException | None = None) -> None:
        """Settles what was noted, or releases the hold."""
        if self._must_settle():
            if self._claim():
                self._booked()
        elif not self._left():
            self.void(self._reason(error))

    def extend_now(self) -> float | None:
        """Extends the hold; the time of the next extension, if there is one."""
        statement = self._extension()
        if statement is None:
            return None
        try:
            self._wallet._run(statement, None)
        except WalletError as error:
            return self._not_extended(error)
        self._lasts()
        return self._next_extension()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(error)
