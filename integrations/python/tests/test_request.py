"""`with wallet.request(estimate)`: a settlement or a release on every way out."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any

import pytest
from conftest import Ledger

import pg_wallet
from pg_wallet import AsyncWallet, HoldExpired, HoldNotOpen, RequestOptions, Wallet

ESTIMATE = {"model": "gpt-4o", "input_tokens": 1000, "output_tokens": 4000}
USED = {"input_tokens": 1000, "output_tokens": 1500}
COST = Decimal("0.0175")


def test_a_request_is_held_and_settled(wallet: Wallet, ledger: Ledger) -> None:
    with wallet.request(ESTIMATE) as r:
        assert ledger.held() == Decimal("0.0425")
        charge = r.settle(USED)
        assert r.settle(USED) is charge
    assert charge.cost == COST
    assert r.headers()["X-Usage-Cost"] == "0.0175"
    assert r.headers() == wallet.usage_headers(str(charge.entry_id))
    assert (ledger.charges(), ledger.holds()) == ([COST], ["settled"])


def test_a_request_without_use_is_released(wallet: Wallet, ledger: Ledger) -> None:
    with wallet.request(ESTIMATE) as r:
        pass
    assert r.headers() == {}
    with pytest.raises(HoldNotOpen):
        r.settle(USED)
    assert (ledger.charges(), ledger.holds()) == ([], ["voided"])


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit, SystemExit])
def test_an_error_releases_or_settles_what_was_noted(
    wallet: Wallet, ledger: Ledger, error: type[BaseException]
) -> None:
    with pytest.raises(error), wallet.request(ESTIMATE):
        raise error
    with pytest.raises(error), wallet.request(ESTIMATE) as r:
        r.use({"input_tokens": 1000, "output_tokens": 10})
        r.use(USED)
        raise error
    assert (ledger.charges(), ledger.holds()) == ([COST], ["voided", "settled"])
    sql = "SELECT reason FROM wallet.holds WHERE wallet = %s ORDER BY created_at LIMIT 1"
    assert ledger.one(sql, ledger.name) in (error.__name__, None)


def test_a_real_interrupt_releases(wallet: Wallet, ledger: Ledger) -> None:
    # A shell without a terminal makes its background jobs ignore the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt() -> None:
        time.sleep(0.2)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    try:
        with pytest.raises(KeyboardInterrupt), wallet.request(ESTIMATE):
            time.sleep(10)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ledger.holds() == ["voided"]


def test_a_generator_that_nobody_finishes_settles(wallet: Wallet, ledger: Ledger) -> None:
    def stream() -> Iterator[int]:
        with wallet.request(ESTIMATE) as r:
            for n in range(1000):
                r.use({"input_tokens": 1000, "output_tokens": n})
                yield n

    for n in stream():
        if n == 100:
            break
    assert ledger.charges() == [Decimal("0.0035")]
    assert ledger.holds() == ["settled"]


def test_refused_usage_releases_and_raises(wallet: Wallet, ledger: Ledger) -> None:
    with pytest.raises(pg_wallet.PriceNotFound), wallet.request(amount=1) as r:
        r.settle({"model": "unheard-of", "input_tokens": 1})
    assert (ledger.charges(), ledger.holds()) == ([], ["voided"])


def test_use_beyond_the_balance_is_booked_as_debt(wallet: Wallet, ledger: Ledger) -> None:
    with wallet.request(amount=1) as r:
        r.settle(amount=150)
    assert ledger.charges() == [150]
    assert wallet.balance().debt == 50


def test_a_refused_hold_raises_before_the_body(wallet: Wallet, ledger: Ledger) -> None:
    with pytest.raises(pg_wallet.InsufficientFunds), wallet.request(amount=1000):
        raise AssertionError("not reached")
    assert ledger.holds() == []


def test_the_same_key_runs_once(wallet: Wallet, ledger: Ledger) -> None:
    with wallet.request(amount=1, idempotency_key="job") as r:
        r.settle(amount=1)
    with pytest.raises(HoldNotOpen, match="is settled"):
        with wallet.request(amount=1, idempotency_key="job"):
            raise AssertionError("not reached")
    assert ledger.charges() == [1]


def test_the_hold_of_a_process_that_died_is_charged(wallet: Wallet, ledger: Ledger) -> None:
    options = RequestOptions(ttl=0.1, extend=False, on_expiry="charge")
    with wallet.request(ESTIMATE, options=options) as r:
        time.sleep(0.15)
        ledger.one("SELECT count(*) FROM wallet.maintain()")
        assert ledger.charges() == [Decimal("0.0425")]
        # It was only slow: the settlement corrects the charge.
        assert r.settle(USED).cost == 0
    sql = """SELECT string_agg(concat_ws(' ', kind, amount, reason), ', ' ORDER BY seq)
               FROM wallet.entries WHERE wallet = %s AND kind IN ('charge', 'refund')"""
    booked = "charge -0.0425 expired hold, refund 0.025 expired hold, charge 0.00"
    assert ledger.one(sql, ledger.name) == booked


def test_a_long_request_extends_its_hold(wallet: Wallet, ledger: Ledger) -> None:
    options = RequestOptions(ttl=0.6)
    with wallet.request(ESTIMATE, options=options) as r:
        time.sleep(1.5)
        assert ledger.holds() == ["open"]
        r.check()
        r.settle(USED)
    assert ledger.charges() == [COST]


def test_beyond_its_hold_a_request_goes_on_or_stops(wallet: Wallet, ledger: Ledger) -> None:
    with wallet.request(ESTIMATE, options=RequestOptions(ttl=0.2, extend=False)) as r:
        time.sleep(0.4)
        r.check()
        r.settle(USED)
    stop = RequestOptions(ttl=0.4, longest=0.3, beyond="stop")
    with pytest.raises(HoldExpired), wallet.request(ESTIMATE, options=stop) as r:
        for _ in range(100):
            time.sleep(0.05)
            r.use(USED)
            r.check()
    # Both are booked: the provider was paid.
    assert ledger.charges() == [COST, COST]
    assert ledger.held() == 0


async def test_async_requests_do_the_same(awallet: AsyncWallet, ledger: Ledger) -> None:
    async with awallet.request(ESTIMATE) as r:
        await r.settle(USED)
    assert r.headers()["X-Model"] == "gpt-4o"
    async with awallet.request(ESTIMATE):
        pass
    with pytest.raises(ValueError, match="broken"):
        async with awallet.request(ESTIMATE) as r:
            r.use(USED)
            raise ValueError("broken")
    assert ledger.holds() == ["settled", "voided", "settled"]


@pytest.mark.parametrize("used", [True, False])
async def test_a_cancelled_task_settles_or_releases(
    awallet: AsyncWallet, ledger: Ledger, used: bool
) -> None:
    async def work() -> None:
        async with awallet.request(ESTIMATE) as r:
            if used:
                r.use(USED)
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.2)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()  # twice, while it is settling
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ledger.holds() == ["settled" if used else "voided"]


async def test_no_hold_is_left_wherever_a_task_is_cancelled(
    awallet: AsyncWallet, ledger: Ledger
) -> None:
    async def work() -> None:
        async with awallet.request(ESTIMATE) as r:
            await r.settle(USED)

    await work()
    for step in range(40):
        task = asyncio.create_task(work())
        await asyncio.sleep(step * 0.0004)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert set(ledger.holds()) <= {"settled", "voided"}
    assert len(ledger.charges()) == ledger.holds().count("settled")


async def test_an_async_generator_that_is_closed_settles(
    awallet: AsyncWallet, ledger: Ledger
) -> None:
    async def stream() -> AsyncIterator[int]:
        async with awallet.request(ESTIMATE) as r:
            for n in range(1000):
                r.use({"input_tokens": 1000, "output_tokens": n})
                yield n

    generator: Any = stream()
    async for n in generator:
        if n == 100:
            break
    await generator.aclose()
    assert ledger.charges() == [Decimal("0.0035")]


async def test_async_holds_are_extended_or_stop_the_body(
    awallet: AsyncWallet, ledger: Ledger
) -> None:
    async with awallet.request(ESTIMATE, options=RequestOptions(ttl=0.6)) as r:
        await asyncio.sleep(1.5)
        assert ledger.holds() == ["open"]
        await r.settle(USED)
    stop = RequestOptions(ttl=0.3, extend=False, beyond="stop")
    with pytest.raises(HoldExpired):
        async with awallet.request(ESTIMATE, options=stop) as r:
            r.use(USED)
            await asyncio.sleep(60)  # a provider that stalls
    assert ledger.charges() == [COST, COST]
