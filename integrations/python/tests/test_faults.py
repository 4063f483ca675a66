"""What goes wrong between the hold and its end: no money is given away, and none is taken twice."""

from __future__ import annotations

import asyncio
import gc
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfoNotFoundError

import httpx2
import openai
import pytest
from conftest import DATABASE, Ledger, Mock
from psycopg_pool import ConnectionPool

import pg_wallet
from pg_wallet import (
    AsyncWallet,
    HoldNotOpen,
    RequestOptions,
    Spool,
    Wallet,
    WalletUnreachable,
    clock,
    errors,
    wrap,
)
from pg_wallet.results import Hold
from pg_wallet.statements import Statement

MESSAGES: Any = [{"role": "user", "content": "Say something about the sea, please."}]
ESTIMATE = {"model": "gpt-4o", "input_tokens": 1000, "output_tokens": 4000}
USED = {"input_tokens": 1000, "output_tokens": 1500}
COST = Decimal("0.0175")


def eventually(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_two_requests_with_one_key_do_not_share_a_hold(wallet: Wallet, ledger: Ledger) -> None:
    """A client that chooses its keys must not get many calls for the price of one."""
    with wallet.request(ESTIMATE, idempotency_key="k") as first:
        with pytest.raises(HoldNotOpen, match="is open"):
            with wallet.request(ESTIMATE, idempotency_key="k"):
                raise AssertionError("not reached")
        assert ledger.holds() == ["open"]
        first.settle(USED)
    assert (ledger.charges(), ledger.holds()) == ([COST], ["settled"])


def test_a_job_that_runs_again_can_go_on_with_its_hold(wallet: Wallet, ledger: Ledger) -> None:
    wallet.request(ESTIMATE, idempotency_key="job").open()  # and dies
    again = RequestOptions(resume=True)
    with wallet.request(ESTIMATE, idempotency_key="job", options=again) as r:
        r.settle(USED)
    assert (ledger.charges(), ledger.holds()) == ([COST], ["settled"])


def test_a_settlement_that_gets_no_connection_keeps_the_hold(
    conninfo: str, name: str, ledger: Ledger
) -> None:
    """The provider has been paid. To release the hold would give its work away."""
    with ConnectionPool(conninfo, min_size=1, max_size=1, open=True) as pool:
        wallet = Wallet(pool, name, timeout=0.2)
        with pytest.raises(WalletUnreachable), wallet.request(ESTIMATE) as r:
            with pool.connection():  # the pool is exhausted
                r.settle(USED)
        assert ledger.holds() == ["open"]
        assert r.hold is not None
        # The caller can settle it within the request, or whoever reads the log.
        with wallet.request(ESTIMATE) as r:
            with pool.connection(), pytest.raises(WalletUnreachable):
                r.settle(USED)
            assert r.settle(USED).cost == COST
    assert ledger.holds() == ["open", "settled"]


def test_a_wrapped_call_whose_settlement_gets_no_connection_keeps_the_hold(
    conninfo: str, name: str, ledger: Ledger
) -> None:
    with ConnectionPool(conninfo, min_size=1, max_size=1, open=True) as pool:
        taken: list[Any] = []

        def answer(request: httpx2.Request) -> httpx2.Response:
            taken.append(pool.getconn())
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            return httpx2.Response(200, json={"object": "chat.completion", "usage": usage})

        http = httpx2.Client(transport=httpx2.MockTransport(answer))
        plain = openai.OpenAI(api_key="x", base_url="http://x/v1", http_client=http)
        client = wrap(plain, Wallet(pool, name, timeout=0.2))
        with pytest.raises(WalletUnreachable):
            client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        pool.putconn(taken[0])
    assert ledger.holds() == ["open"]


def _unreachable_at(
    monkeypatch: pytest.MonkeyPatch, wallet: Wallet, function: str, times: int
) -> list[int]:
    """The first calls of a function do not reach the server."""
    run = wallet._run
    left = [times]

    def broken(statement: Statement[Any], *arguments: Any) -> Any:
        if statement.function == function and left[0] > 0:
            left[0] -= 1
            raise WalletUnreachable("no connection", sent=False)
        return run(statement, *arguments)

    monkeypatch.setattr(wallet, "_run", broken)
    return left


def test_a_hold_is_extended_after_a_moment_without_the_database(
    wallet: Wallet, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = _unreachable_at(monkeypatch, wallet, "extend_hold", 2)
    with wallet.request(ESTIMATE, options=RequestOptions(ttl=1)) as r:
        time.sleep(1.6)
        assert ledger.holds() == ["open"]
        assert left == [0]
        r.settle(USED)


def test_one_extension_that_fails_does_not_end_those_of_others(
    wallet: Wallet, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = RequestOptions(ttl=0.8)
    with wallet.request(ESTIMATE, options=options) as broken:
        monkeypatch.setattr(broken, "extend_now", lambda: 1 / 0)
        with wallet.request(ESTIMATE, options=options) as r:
            time.sleep(1.4)
            assert ledger.holds() == ["expired", "open"]
            r.settle(USED)


FORKS = """
import os, sys, time
from psycopg_pool import ConnectionPool
from pg_wallet import RequestOptions, Spool, Wallet

def work(pool, wallet):
    with wallet.request(amount=1, options=RequestOptions(ttl=0.8)) as r:
        time.sleep(1.4)
        status = "SELECT status FROM wallet.holds WHERE hold_id = %s"
        with pool.connection() as connection:
            print(connection.execute(status, (r.hold.hold_id,)).fetchone()[0], flush=True)
    print(len(wallet.spool), flush=True)

name, path = sys.argv[2:]
pool = ConnectionPool(sys.argv[1], min_size=1, open=True)
wallet = Wallet(pool, name, spool=path)
wallet.spool.add(wallet.calls.charge(None, 1, {}))
work(pool, wallet)
if os.fork() == 0:
    wallet.pool = pool = ConnectionPool(sys.argv[1], min_size=1, open=True)
    work(pool, wallet)
    os._exit(0)
os.wait()
os._exit(0)
"""


def test_a_forked_process_extends_its_holds_and_has_its_own_spool(
    conninfo: str, name: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKS, conninfo, name, str(tmp_path / "spool")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == ["open", "1", "open", "1"], done.stderr


def test_a_destructor_does_not_wait_for_the_database(
    openai_client: openai.OpenAI,
    pool: ConnectionPool[Any],
    name: str,
    ledger: Ledger,
    tmp_path: Path,
) -> None:
    """It may run in the middle of the spool's own work, in the thread that holds its lock."""
    spool = Spool(tmp_path / "spool")
    client = wrap(openai_client, Wallet(pool, name, spool=spool))
    stream: Any = client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True)
    next(iter(stream))

    def drop() -> None:
        nonlocal stream
        with spool._lock:
            del stream
            gc.collect()

    thread = threading.Thread(target=drop, daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive()
    eventually(lambda: ledger.holds() == ["settled"])


ENDS = """
import openai, sys
from psycopg_pool import ConnectionPool
from pg_wallet import Wallet, wrap

pool = ConnectionPool(sys.argv[1], min_size=1, open=True)
plain = openai.OpenAI(base_url=sys.argv[3], api_key="x")
client = wrap(plain, Wallet(pool, sys.argv[2]))
messages = [{"role": "user", "content": "Say something about the sea, please."}]
stream = client.chat.completions.create(model="gpt-4o", messages=messages, stream=True)
print(next(stream).object)
"""


def test_a_program_that_ends_settles_the_stream_that_it_left(
    conninfo: str, name: str, ledger: Ledger, mock: Mock
) -> None:
    command = [sys.executable, "-c", ENDS, conninfo, name, mock.base_url("openai")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert ledger.holds() == ["settled"]


def test_a_stream_that_several_threads_close_is_settled_once(
    openai_client: openai.OpenAI, wallet: Wallet, ledger: Ledger
) -> None:
    client = wrap(openai_client, wallet)
    failed: list[BaseException] = []

    def close(stream: Any, barrier: threading.Barrier) -> None:
        barrier.wait()
        try:
            stream.close()
        except BaseException as error:
            failed.append(error)

    for _ in range(20):
        stream: Any = client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True)
        next(stream)
        barrier = threading.Barrier(4)
        threads = [threading.Thread(target=close, args=(stream, barrier)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed == []
    assert ledger.holds() == ["settled"] * 20
    assert len(ledger.charges()) == 20


async def test_an_async_stream_that_nobody_reads_is_released_or_settled(
    aopenai_client: openai.AsyncOpenAI, awallet: AsyncWallet, ledger: Ledger
) -> None:
    client = wrap(aopenai_client, awallet)

    async def ask(chunks: int) -> None:
        stream: Any = await client.chat.completions.create(
            model="gpt-4o", messages=MESSAGES, stream=True
        )
        for _ in range(chunks):
            await anext(stream)

    for chunks in (0, 2):
        await ask(chunks)
        gc.collect()
        for _ in range(200):
            if "open" not in ledger.holds():
                break
            await asyncio.sleep(0.02)
    assert ledger.holds() == ["voided", "settled"]


@pytest.mark.parametrize("committed", [True, False])
def test_an_interrupt_before_the_answer_of_the_hold_leaves_none(
    wallet: Wallet, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    run = wallet._run
    interrupted: list[Statement[Any]] = []

    def interrupt(statement: Statement[Hold], *arguments: Any) -> Any:
        if not interrupted:
            interrupted.append(statement)
            if committed:
                run(statement, *arguments)
            raise KeyboardInterrupt
        return run(statement, *arguments)

    monkeypatch.setattr(wallet, "_run", interrupt)
    with pytest.raises(KeyboardInterrupt), wallet.request(ESTIMATE):
        raise AssertionError("not reached")
    assert ledger.holds() == ["voided"]


def test_a_wrong_clock_does_not_change_when_a_client_may_come_back(
    wallet: Wallet, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = timedelta(hours=2)
    monkeypatch.setattr(clock, "local", lambda: datetime.now(timezone.utc) + ahead)
    ledger.one("SELECT wallet.set_limit(%s, 2, 'day')", wallet.wallet)
    with wallet.request(amount=2) as r:
        r.settle(amount=2)
    with pytest.raises(pg_wallet.LimitExceeded) as refused:
        wallet.bind(user_id="bob").charge(amount=1)
    seconds = refused.value.retry_after()
    resets_at = refused.value.resets_at
    assert seconds is not None
    assert resets_at is not None
    left = (resets_at - datetime.now(timezone.utc)).total_seconds()
    assert abs(seconds - left) < 5


def test_the_reset_of_a_limit_in_utc_needs_no_time_zones(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> Any:
        raise ZoneInfoNotFoundError(name)

    monkeypatch.setattr(errors, "ZoneInfo", none)
    detail = "… It resets at 2026-12-01 00:00:00 UTC."
    assert errors.resets_at(detail) == datetime(2026, 12, 1, tzinfo=timezone.utc)
    assert errors.resets_at(detail.replace("UTC", "Europe/Berlin")) is None


KILLED = """
import os, signal, sys
from psycopg_pool import ConnectionPool
from pg_wallet import RequestOptions, Wallet

with ConnectionPool(sys.argv[1], min_size=1, open=True) as pool:
    wallet = Wallet(pool, sys.argv[2])
    options = RequestOptions(ttl=0.5, on_expiry=sys.argv[3])
    with wallet.request(amount=1, options=options, idempotency_key="dead") as r:
        r.use(amount=1)
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("on_expiry", ["release", "charge"])
def test_the_hold_of_a_process_that_is_killed_ends_by_itself(
    wallet: Wallet, ledger: Ledger, on_expiry: str
) -> None:
    command = [sys.executable, "-c", KILLED, f"dbname={DATABASE}", ledger.name, on_expiry]
    assert subprocess.run(command, timeout=60).returncode == -signal.SIGKILL
    hold_id = ledger.one("SELECT hold_id FROM wallet.holds WHERE wallet = %s", ledger.name)
    time.sleep(0.6)
    ledger.db.execute("SELECT wallet.maintain()")
    assert ledger.held() == 0
    assert ledger.charges() == ([1] if on_expiry == "charge" else [])
    # Whoever knows what was used can still settle it.
    wallet.settle(hold_id, amount="0.25", over="debt")
    assert ledger.balance() == Decimal("99.75")


def test_a_hold_that_is_charged_is_not_made_where_usage_may_be_spooled(
    pool: ConnectionPool[Any], name: str, tmp_path: Path
) -> None:
    wallet = Wallet(pool, name, fail="open", spool=tmp_path / "spool")
    with pytest.raises(ValueError, match="fail="):
        wallet.request(amount=1, options=RequestOptions(on_expiry="charge"))
