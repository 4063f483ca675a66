"""What the sync and the async wallet share: settings, and decisions that need no I/O."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import psycopg

from . import errors, telemetry
from .attribution import Attribution, Fail
from .calls import Calls
from .clock import Clock
from .errors import (
    ExtensionOutdated,
    TransactionConflict,
    WalletError,
    WalletNotFound,
    WalletUnreachable,
)
from .results import SPOOLED, Balance, Charge
from .retry import Attempts, Retry
from .spool import FlushReport, Spool, Spooled
from .statements import Statement

T = TypeVar("T")
W = TypeVar("W", bound="BaseWallet")


class BaseWallet:
    """A wallet, on whose account it is used, and how calls are made."""

    def __init__(
        self,
        wallet: str,
        attribution: Attribution,
        fail: Fail,
        spool: Spool | str | os.PathLike[str] | None,
        retry: Retry | None,
        timeout: float | None,
    ) -> None:
        if fail not in ("closed", "open"):
            raise ValueError('fail is "closed" or "open"')
        if fail == "open" and spool is None:
            raise ValueError('fail="open" needs a spool')
        self.wallet = wallet
        self.attribution = attribution
        self.fail = fail
        self.spool = spool if spool is None or isinstance(spool, Spool) else Spool(spool)
        self.retry = retry or Retry()
        self.timeout = timeout
        self.calls = Calls(wallet, attribution)
        self.clock = Clock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.wallet!r}, {self.attribution!r})"

    def bind(self: W, **changes: Any) -> W:
        """The same wallet for another user, team, key, service, tags, address, device or actor.

        `wallet` names another wallet. Pool, spool and settings are shared.
        """
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.wallet = changes.pop("wallet", self.wallet)
        other.attribution = replace(self.attribution, **changes)
        other.calls = Calls(other.wallet, other.attribution)
        return other

    # Decisions about one call.

    def _attempts(self) -> Attempts:
        return Attempts(self.retry)

    def _pause(self, attempts: Attempts, statement: Statement[Any], error: psycopg.Error) -> float:
        """Seconds until the next attempt; raises the error where there is none."""
        mapped = errors.from_psycopg(error)
        pause = attempts.pause_after(mapped)
        if pause is None:
            if isinstance(mapped, WalletError):
                mapped.clock = self.clock
            self._refused(statement, mapped)
            raise mapped from error
        telemetry.log(
            logging.INFO,
            "retry",
            function=statement.function,
            name=self.wallet,
            sqlstate=error.sqlstate,
            attempt=attempts.made,
        )
        return pause

    def _refused(self, statement: Statement[Any], error: Exception) -> None:
        telemetry.log(
            logging.INFO,
            "refused",
            function=statement.function,
            name=self.wallet,
            sqlstate=getattr(error, "sqlstate", None),
            error=str(error),
        )

    def _read(self, statement: Statement[T], rows: Sequence[Sequence[Any]]) -> T:
        result = statement.read(rows)
        telemetry.log(
            logging.DEBUG,
            statement.function,
            function=statement.function,
            name=self.wallet,
            **telemetry.facts(result),
        )
        return result

    def _found(self, balance: Balance | None) -> Balance:
        if balance is None:
            raise WalletNotFound(f'wallet "{self.wallet}" does not exist')
        return balance

    # The spool.

    def _spooled(self, statement: Statement[Charge]) -> Charge:
        """Keeps a call that did not reach the database."""
        assert self.spool is not None
        self.spool.add(statement)
        telemetry.log(logging.WARNING, "spooled", function=statement.function, name=self.wallet)
        return SPOOLED

    def _spools(self, function: str) -> bool:
        """Whether a call that cannot reach the database goes to the spool.

        What a hold was made for has been used by the time of `settle`: with a spool it is kept
        in both modes. A new charge is kept with fail="open" alone.
        """
        return self.spool is not None and (self.fail == "open" or function == "settle")


class Flush:
    """One pass over the spool: which call is next, and what became of it."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.done = self.refused = self.after = 0

    def next(self) -> Spooled | None:
        rows = self.spool.rows(self.after, 1)
        if not rows:
            return None
        self.after = rows[0].id
        return rows[0]

    def booked(self, row: Spooled) -> None:
        self.spool.booked(row)
        self.done += 1

    def failed(self, row: Spooled, error: WalletError) -> None:
        """Keeps what the wallet refuses; ends the pass where the wallet does not answer."""
        if isinstance(error, (WalletUnreachable, TransactionConflict, ExtensionOutdated)):
            raise error
        self.spool.refused(row, f"{error.sqlstate}: {error}")
        self.refused += 1
        telemetry.log(
            logging.ERROR,
            "spooled call refused",
            function=row.function,
            name=row.wallet,
            sqlstate=error.sqlstate,
            error=str(error),
        )

    def report(self) -> FlushReport:
        return FlushReport(self.done, self.refused, len(self.spool))
