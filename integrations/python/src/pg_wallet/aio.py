"""The wallet for programs with asyncio."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from psycopg_pool import AsyncConnectionPool

from . import errors, statements, telemetry
from .aio_request import AsyncRequest
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
from .lifetime import RequestOptions
from .results import Balance, Charge, Hold, LimitCheck, ModelChoice, Price
from .retry import Attempts, Retry
from .spool import FlushReport, Spool
from .statements import Statement

if TYPE_CHECKING:
    from typing_extensions import Unpack

T = TypeVar("T")
Connection = psycopg.AsyncConnection[Any]


class AsyncWallet(BaseWallet):
    """`Wallet` for asyncio, with the same calls."""

    def __init__(
        self,
        pool: AsyncConnectionPool[Any],
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
        self._flushes: set[asyncio.Task[None]] = set()

    async def charge(
        self,
        usage: Usage | None = None,
        amount: Amount | None = None,
        *,
        connection: Connection | None = None,
        **options: Unpack[ChargeOptions],
    ) -> Charge:
        """Takes the cost of a usage, or an amount."""
        return await self._book(self.calls.charge(usage, amount, options), connection)

    async def hold(
        self,
        usage: Usage | None = None,
        amount: Amount | None = None,
        *,
        connection: Connection | None = None,
        **options: Unpack[HoldOptions],
    ) -> Hold:
        """Sets the price of an estimate, or an amount, aside."""
        return await self._run(self.calls.hold(usage, amount, options), connection)

    async def settle(
        self,
        hold_id: HoldId,
        usage: Usage | None = None,
        amount: Amount | None = None,
        *,
        connection: Connection | None = None,
        **options: Unpack[SettleOptions],
    ) -> Charge:
        """Books the use of a hold and releases the rest."""
        return await self._book(self.calls.settle(hold_id, usage, amount, options), connection)

    async def void(
        self,
        hold_id: HoldId,
        reason: str | None = None,
        *,
        connection: Connection | None = None,
        **options: Unpack[Common],
    ) -> Hold:
        """Releases a hold."""
        return await self._run(self.calls.void(hold_id, reason, options), connection)

    async def extend(
        self,
        hold_id: HoldId,
        ttl: Any = 600,
        *,
        connection: Connection | None = None,
        **options: Unpack[Common],
    ) -> Hold:
        """Extends a hold to `ttl` (seconds, or a timedelta) from now; never shortens it."""
        return await self._run(self.calls.extend(hold_id, ttl, options), connection)

    async def approve_hold(
        self,
        hold_id: HoldId,
        *,
        connection: Connection | None = None,
        **options: Unpack[Common],
    ) -> Hold:
        """Approves a hold that waits for approval. The database role needs the level billing."""
        return await self._run(self.calls.approve(hold_id, options), connection)

    async def deny_hold(
        self,
        hold_id: HoldId,
        reason: str | None = None,
        *,
        connection: Connection | None = None,
        **options: Unpack[Common],
    ) -> Hold:
        """Denies a hold that waits for approval: it is voided."""
        return await self._run(self.calls.deny(hold_id, reason, options), connection)

    async def check_limits(
        self,
        usage: Usage | None = None,
        amount: Amount | None = None,
        *,
        connection: Connection | None = None,
        **options: Unpack[CheckOptions],
    ) -> tuple[LimitCheck, ...]:
        """What the balance and every limit that applies would say. Books nothing."""
        return await self._run(self.calls.check_limits(usage, amount, options), connection)

    async def choose_model(
        self,
        usage: Usage,
        models: Sequence[str],
        *,
        connection: Connection | None = None,
        **options: Unpack[ChooseOptions],
    ) -> tuple[ModelChoice, ...]:
        """The cost of a usage with each model; the first that is allowed is `chosen`."""
        return await self._run(self.calls.choose_model(usage, models, options), connection)

    async def price_usage(
        self,
        usage: Usage,
        *,
        connection: Connection | None = None,
        **options: Unpack[PriceOptions],
    ) -> Price:
        """What a usage would cost this wallet. Books nothing."""
        return await self._run(self.calls.price_usage(usage, options), connection)

    async def balance(self, *, connection: Connection | None = None) -> Balance:
        """The wallet's money."""
        return self._found(await self._run(statements.balance(self.wallet), connection))

    async def usage_headers(
        self, entry_id: HoldId, *, connection: Connection | None = None
    ) -> dict[str, str]:
        """The headers of a charge, with those of limits."""
        return await self._run(self.calls.usage_headers(entry_id), connection)

    def request(
        self,
        estimate: Usage | None = None,
        amount: Amount | None = None,
        *,
        options: RequestOptions | None = None,
        **context: Unpack[HoldOptions],
    ) -> AsyncRequest:
        """A hold around a request: `async with wallet.request(estimate) as r: …`."""
        return AsyncRequest(self, estimate, amount, options or RequestOptions(), context)

    async def flush_spool(self) -> FlushReport:
        """Books what is in the spool. What the wallet refuses stays there with the error."""
        if self.spool is None or not self.spool.flushing.acquire(blocking=False):
            return FlushReport(0, 0, 0 if self.spool is None else len(self.spool))
        try:
            flush = Flush(self.spool)
            while (row := flush.next()) is not None:
                try:
                    await self._run(row.statement(), None)
                except WalletError as error:
                    flush.failed(row, error)
                else:
                    flush.booked(row)
            return flush.report()
        finally:
            self.spool.flushing.release()

    async def _book(self, statement: Statement[Charge], connection: Connection | None) -> Charge:
        try:
            charge = await self._run(statement, connection)
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

        async def flush() -> None:
            try:
                await self.flush_spool()
            except WalletError:
                telemetry.logger.info("the spool is flushed later", exc_info=True)

        task = asyncio.get_running_loop().create_task(flush())
        self._flushes.add(task)
        task.add_done_callback(self._flushes.discard)

    async def _run(
        self,
        statement: Statement[T],
        connection: Connection | None,
        attempts: Attempts | None = None,
    ) -> T:
        with telemetry.span(statement.function, self.wallet) as facts:
            if connection is not None:
                try:
                    rows = await _fetch(connection, statement)
                except psycopg.Error as error:
                    mapped = errors.from_psycopg(error)
                    self._refused(statement, mapped)
                    raise mapped from error
            else:
                rows = await self._run_again(statement, attempts or self._attempts())
            result = self._read(statement, rows)
            facts.update(telemetry.facts(result))
            return result

    async def _run_again(
        self, statement: Statement[T], attempts: Attempts
    ) -> list[tuple[Any, ...]]:
        while True:
            try:
                # One statement, one round trip: it is a transaction by itself.
                async with self.pool.connection(self.timeout) as connection:
                    autocommit = connection.autocommit
                    await connection.set_autocommit(True)
                    try:
                        return await _fetch(connection, statement)
                    except psycopg.errors.ReadOnlySqlTransaction:
                        # The server is a standby now: no other call may get this connection.
                        await connection.close()
                        raise
                    finally:
                        if connection.info.transaction_status == TransactionStatus.IDLE:
                            await connection.set_autocommit(autocommit)
            except psycopg.Error as error:
                pause = self._pause(attempts, statement, error)
            await asyncio.sleep(pause)


async def _fetch(connection: Connection, statement: Statement[Any]) -> list[tuple[Any, ...]]:
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(statement.sql.encode(), statement.parameters)
        return await cursor.fetchall()
