"""The wallet for programs with threads."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from psycopg_pool import ConnectionPool

from . import errors, statements, telemetry
from .attribution import (
    Amount,
    Attribution,
    ChargeOptions,
    CheckOptions,
    ChooseOptions,
    Common,
    Fail,
    HoldId,
    HoldOptions,
    PriceOptions,
    SettleOptions,
    Usage,
)
from .base import BaseWallet, Flush
from .errors import WalletError, WalletUnreachable
from .extend import Extender
from .request import Request, RequestOptions
from .results import Balance, Charge, Hold, LimitCheck, ModelChoice, Price
from .retry import Attempts, Retry
from .spool import FlushReport, Spool
from .statements import Statement

if TYPE_CHECKING:
    from typing_extensions import Unpack

T = TypeVar("T")
Connection = psycopg.Connection[Any]


class Wallet(BaseWallet):
    """A wallet, used through a pool of psycopg.

    Every call is a transaction of its own, made again after 40001, 40P01 and a broken connection,
    with the same idempotency key. With `connection` it is part of the caller's transaction instead,
    and nothing is made again: run that transaction again with the same keys.
    """

    def __init__(
        self,
        pool: ConnectionPool[Any],
        wallet: str,
        *,
        user_id: str | None = None,
        team: str | None = None,
        key: str | None = None,
        service: str | None = None,
        tags: Mapping[str, str] | None = None,
        client_ip: str | None = None,
        device: str | None = None,
        actor: str | None = None,
        fail: Fail = "closed",
        spool: Spool | str | os.PathLike[str] | None = None,
        retry: Retry | None = None,
        timeout: float | None = None,
    ) -> None:
        attribution = Attribution(user_id, team, key, service, tags, client_ip, device, actor)
        super().__init__(wallet, attribution, fail, spool, retry, timeout)
        self.pool = pool
        self.extender = Extender()

    def charge(
        self,
        usage: Usage | None = None,
        amount: Amount | None = None,
        *,
        connection: Connection | None = None,
        **options: Unpack[ChargeOptions],
    ) -> Charge:
        """Takes the cost of a usage, or an amount."""
        return self._book(self.calls.charge(usage, amount, options), connection)

    def hold(
        self,
        usage: Usage | None = None,
        amount: Amount | None = None,
        *,
        connection: Connection | None = None,
        **options: Unpack[HoldOptions],
    ) -> Hold:
        """Sets the price of an estimate, or an amount, aside."""
        return self._run(self.calls.hold(usage, amount, options), connection)

    def settle(
        self,
        hold_id: HoldId,
        usage: Usage | None = None,
        amount: Amount | None = None,
        *,
        connection: Connection | None = None,
        **options: Unpack[SettleOptions],
    ) -> Charge:
        """Books the use of a hold and releases the rest."""
        return self._book(self.calls.settle(hold_id, usage, amount, options), connection)

    def void(
        self,
        hold_id: HoldId,
        reason: str | None = None,
        *,
        connection: Connection | None = None,
        **options: Unpack[Common],
    ) -> Hold:
        """Releases a hold."""
        return self._run(self.calls.void(hold_id, reason, options), connection)

    def extend(
        self,
        hold_id: HoldId,
        ttl: Any = 600,
        *,
        connection: Connection | None = None,
        **options: Unpack[Common],
    ) -> Hold:
        """Extends a hold to `ttl` (seconds, or a timedelta) from now; never shortens it."""
        return self._run(self.calls.extend(hold_id, ttl, options), connection)

    def approve_hold(
        self,
        hold_id: HoldId,
        *,
        connection: Connection | None = None,
        **options: Unpack[Common],
    ) -> Hold:
        """Approves a hold that waits for approval. The database role needs the level billing."""
        return self._run(self.calls.approve(hold_id, options), connection)

    def deny_hold(
        self,
        hold_id: HoldId,
        reason: str | None = None,
        *,
        connection: Connection | None = None,
        **options: Unpack[Common],
    ) -> Hold:
        """Denies a hold that waits for approval: it is voided."""
        return self._run(self.calls.deny(hold_id, reason, options), connection)

    def check_limits(
        self,
        usage: Usage | None = None,
        amount: Amount | None = None,
        *,
        connection: Connection | None = None,
        **options: Unpack[CheckOptions],
    ) -> tuple[LimitCheck, ...]:
        """What the balance and every limit that applies would say. Books nothing."""
        return self._run(self.calls.check_limits(usage, amount, options), connection)

    def choose_model(
        self,
        usage: Usage,
        models: Sequence[str],
        *,
        connection: Connection | None = None,
        **options: Unpack[ChooseOptions],
    ) -> tuple[ModelChoice, ...]:
        """The cost of a usage with each model; the first that is allowed is `chosen`."""
        return self._run(self.calls.choose_model(usage, models, options), connection)

    def price_usage(
        self,
        usage: Usage,
        *,
        connection: Connection | None = None,
        **options: Unpack[PriceOptions],
    ) -> Price:
        """What a usage would cost this wallet. Books nothing."""
        return self._run(self.calls.price_usage(usage, options), connection)

    def balance(self, *, connection: Connection | None = None) -> Balance:
        """The wallet's money."""
        return self._found(self._run(statements.balance(self.wallet), connection))

    def usage_headers(
        self, entry_id: HoldId, *, connection: Connection | None = None
    ) -> dict[str, str]:
        """The headers of a charge, with those of limits."""
        return self._run(self.calls.usage_headers(entry_id), connection)

    def request(
        self,
        estimate: Usage | None = None,
        amount: Amount | None = None,
        *,
        options: RequestOptions | None = None,
        **context: Unpack[HoldOptions],
    ) -> Request:
        """A hold around a request: `with wallet.request(estimate) as r: … r.settle(usage)`."""
        return Request(self, estimate, amount, options or RequestOptions(), context)

    def flush_spool(self) -> FlushReport:
        """Books what is in the spool. What the wallet refuses stays there with the error."""
        if self.spool is None:
            return FlushReport(0, 0, 0)
        with self.spool.flushing:
            flush = Flush(self.spool)
            while (row := flush.next()) is not None:
                try:
                    self._run(row.statement(), None)
                except WalletError as error:
                    flush.failed(row, error)
                else:
                    flush.booked(row)
            return flush.report()

    def _book(self, statement: Statement[Charge], connection: Connection | None) -> Charge:
        try:
            charge = self._run(statement, connection)
        except WalletUnreachable:
            if connection is not None or not self._spools(statement.function):
                raise
            return self._spooled(statement)
        if connection is None and self.spool is not None:
            self._flush_soon(self.spool)
        return charge

    def _flush_soon(self, spool: Spool) -> None:
        """The database answers again: books what waits, in the background."""
        if spool.flushing.locked() or not spool.waiting():
            return

        def flush() -> None:
            try:
                self.flush_spool()
            except WalletError:
                telemetry.logger.info("the spool is flushed later", exc_info=True)

        threading.Thread(target=flush, name="pg-wallet-flush", daemon=True).start()

    def _run(
        self,
        statement: Statement[T],
        connection: Connection | None,
        attempts: Attempts | None = None,
    ) -> T:
        with telemetry.span(statement.function, self.wallet) as facts:
            if connection is not None:
                try:
                    rows = _fetch(connection, statement)
                except psycopg.Error as error:
                    mapped = errors.from_psycopg(error)
                    self._refused(statement, mapped)
                    raise mapped from error
            else:
                rows = self._run_again(statement, attempts or self._attempts())
            result = self._read(statement, rows)
            facts.update(telemetry.facts(result))
            return result

    def _run_again(self, statement: Statement[T], attempts: Attempts) -> list[tuple[Any, ...]]:
        while True:
            try:
                # One statement, one round trip: it is a transaction by itself.
                with self.pool.connection(self.timeout) as connection:
                    autocommit = connection.autocommit
                    connection.autocommit = True
                    try:
                        return _fetch(connection, statement)
                    except psycopg.errors.ReadOnlySqlTransaction:
                        # The server is a standby now: no other call may get this connection.
                        connection.close()
                        raise
                    finally:
                        if connection.info.transaction_status == TransactionStatus.IDLE:
                            connection.autocommit = autocommit
            except psycopg.Error as error:
                pause = self._pause(attempts, statement, error)
            time.sleep(pause)


def _fetch(connection: Connection, statement: Statement[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(statement.sql.encode(), statement.parameters).fetchall()
