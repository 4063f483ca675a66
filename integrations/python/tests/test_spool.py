"""A database that does not answer: refused, or spooled and booked once."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from conftest import Ledger
from psycopg_pool import AsyncConnectionPool, ConnectionPool

import pg_wallet
from pg_wallet import AsyncWallet, Retry, Spool, Wallet, WalletUnreachable

ESTIMATE = {"model": "gpt-4o", "input_tokens": 1000, "output_tokens": 4000}
USED = {"input_tokens": 1000, "output_tokens": 1500}
COST = Decimal("0.0175")


class Gate:
    """A TCP proxy in front of the server that can be shut, also in the middle of a call."""

    def __init__(self) -> None:
        self.target = f"{os.environ['PGHOST']}/.s.PGSQL.{os.environ['PGPORT']}"
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.is_open = True
        self.drop_answers = False
        self.pairs: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if not self.is_open:
                client.close()
                continue
            server = socket.socket(socket.AF_UNIX)
            server.connect(self.target)
            self.pairs.append((client, server))
            threading.Thread(target=self._copy, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._copy, args=(server, client, True), daemon=True).start()

    def _copy(self, source: socket.socket, to: socket.socket, is_answer: bool) -> None:
        try:
            while data := source.recv(65536):
                if is_answer and self.drop_answers:
                    # The server has committed; the client does not get to know.
                    self.shut()
                    return
                to.sendall(data)
        except OSError:
            pass
        for one in (source, to):
            one.close()

    def shut(self) -> None:
        self.is_open = self.drop_answers = False
        for pair in self.pairs:
            for one in pair:
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    one.close()
        self.pairs.clear()

    def open(self) -> None:
        self.is_open = True


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.shut()
    gate.listener.close()


@pytest.fixture
def far(gate: Gate, conninfo: str) -> str:
    return f"{conninfo} host=127.0.0.1 port={gate.port} user={os.environ['PGUSER']}"


@pytest.fixture
def far_pool(far: str) -> Iterator[ConnectionPool[Any]]:
    with ConnectionPool(
        far, min_size=1, max_size=4, timeout=0.5, reconnect_timeout=1, open=True
    ) as pool:
        yield pool


def eventually(condition: Any) -> None:
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def test_closed_refuses(far_pool: ConnectionPool[Any], name: str, gate: Gate) -> None:
    wallet = Wallet(far_pool, name)
    wallet.charge(amount=1)
    gate.shut()
    with pytest.raises(WalletUnreachable):
        wallet.charge(amount=1)
    with pytest.raises(WalletUnreachable), wallet.request(ESTIMATE):
        raise AssertionError("not reached")


def test_open_spools_and_books_once_later(
    far_pool: ConnectionPool[Any], name: str, gate: Gate, tmp_path: Path, ledger: Ledger
) -> None:
    wallet = Wallet(far_pool, name, user_id="alice", fail="open", spool=tmp_path / "spool")
    assert wallet.spool is not None
    gate.shut()
    charge = wallet.charge(amount=1, idempotency_key="a")
    assert (charge.spooled, charge.headers()) == (True, {})
    with wallet.request({**ESTIMATE, "quality": "hd"}, model="gpt-4o", tags={"app": "chat"}) as r:
        assert r.offline
        r.settle(USED)
    with wallet.request(ESTIMATE):
        pass  # nothing was used
    assert len(wallet.spool) == 2
    with pytest.raises(WalletUnreachable):
        wallet.flush_spool()
    gate.open()
    eventually(lambda: _flushed(wallet))
    assert ledger.charges() == [1, COST]
    sql = "SELECT user_id FROM wallet.entries WHERE wallet = %s AND tags ->> 'app' = 'chat'"
    assert ledger.one(sql, name) == "alice"
    assert wallet.flush_spool() == pg_wallet.FlushReport(0, 0, 0)


def _flushed(wallet: Wallet) -> bool:
    try:
        return wallet.flush_spool().left == 0
    except WalletUnreachable:
        return False


def test_a_settlement_is_spooled_in_both_modes_and_flushed_on_reconnect(
    far_pool: ConnectionPool[Any], name: str, gate: Gate, tmp_path: Path, ledger: Ledger
) -> None:
    wallet = Wallet(far_pool, name, spool=tmp_path / "spool")
    assert wallet.spool is not None
    with wallet.request(ESTIMATE) as r:
        gate.shut()
        assert r.settle(USED).spooled
    assert ledger.holds() == ["open"]
    gate.open()

    def charged() -> bool:
        try:
            return not wallet.charge(amount=1, idempotency_key="b").spooled
        except WalletUnreachable:
            return False

    eventually(charged)
    eventually(lambda: wallet.spool is not None and len(wallet.spool) == 0)
    assert sorted(ledger.charges()) == [COST, 1]
    assert ledger.holds() == ["settled"]


def test_an_answer_that_got_lost_is_booked_once(
    far: str, name: str, gate: Gate, tmp_path: Path, ledger: Ledger
) -> None:
    with ConnectionPool(far, min_size=1, timeout=0.5, open=True) as pool:
        wallet = Wallet(
            pool, name, fail="open", spool=tmp_path / "spool", retry=Retry(reconnects=0)
        )
        wallet.balance()
        gate.drop_answers = True
        assert wallet.charge(amount=1).spooled
        eventually(lambda: ledger.charges() == [1])  # the server had booked it
        gate.open()
        eventually(lambda: _flushed(wallet))
    assert ledger.charges() == [1]


def test_what_is_refused_stays_with_its_error(
    far_pool: ConnectionPool[Any], name: str, gate: Gate, tmp_path: Path, ledger: Ledger
) -> None:
    wallet = Wallet(far_pool, name, fail="open", spool=tmp_path / "spool")
    assert wallet.spool is not None
    gate.shut()
    wallet.charge(amount=1000)
    wallet.charge(amount=1)
    gate.open()
    eventually(lambda: ledger.charges() == [1] or (_flushed(wallet) and False))
    (row,) = wallet.spool.rows()
    assert row.error == f'WL001: insufficient funds in wallet "{name}"'
    ledger.one("SELECT balance FROM wallet.fund(%s, 1000)", name)
    assert wallet.flush_spool() == pg_wallet.FlushReport(1, 0, 0)
    assert ledger.charges() == [1, 1000]


def test_the_spool_is_private_and_shared_between_processes(
    conninfo: str, name: str, tmp_path: Path, ledger: Ledger
) -> None:
    path = tmp_path / "spool"
    spool = Spool(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    calls = pg_wallet.Attribution()
    from pg_wallet.calls import Calls

    for n in range(40):
        statement = Calls(name, calls).charge(None, Decimal("0.5"), {"idempotency_key": f"k{n}"})
        spool.add(statement)
        spool.add(statement)
    assert len(spool) == 40
    other = Calls(name, calls).charge(None, 3, {"idempotency_key": "k0"})
    with pytest.raises(pg_wallet.IdempotencyConflict):
        spool.add(other)
    code = (
        "import sys; from psycopg_pool import ConnectionPool; from pg_wallet import Wallet\n"
        "with ConnectionPool(sys.argv[1], open=True) as p:\n"
        "    Wallet(p, 'any', fail='open', spool=sys.argv[2]).flush_spool()\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, conninfo, str(path)]) for _ in range(4)
    ]
    assert [process.wait(60) for process in processes] == [0] * 4
    assert len(spool) == 0
    assert ledger.charges() == [Decimal("0.5")] * 40


def _die(conninfo: str, name: str, path: str) -> None:
    """Books a spooled call and dies before it can forget it."""

    class Mortal(Spool):
        def booked(self, row: Any) -> None:
            os._exit(7)

    with ConnectionPool(conninfo, open=True) as pool:
        Wallet(pool, name, fail="open", spool=Mortal(path)).flush_spool()


def test_a_process_that_dies_while_it_flushes_books_once(
    conninfo: str, pool: ConnectionPool[Any], name: str, tmp_path: Path, ledger: Ledger
) -> None:
    wallet = Wallet(pool, name, fail="open", spool=tmp_path / "spool")
    assert wallet.spool is not None
    wallet.spool.add(wallet.calls.charge(None, 2, {}))
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_die, args=(conninfo, name, str(tmp_path / "spool")))
    process.start()
    process.join(60)
    assert process.exitcode == 7
    assert ledger.charges() == [2]
    assert wallet.flush_spool() == pg_wallet.FlushReport(1, 0, 0)
    assert ledger.charges() == [2]


async def test_the_async_client_spools_and_flushes(
    far: str, name: str, gate: Gate, tmp_path: Path, ledger: Ledger
) -> None:
    async with AsyncConnectionPool(
        far, min_size=1, max_size=4, timeout=0.5, reconnect_timeout=1, open=False
    ) as pool:
        wallet = AsyncWallet(pool, name, fail="open", spool=tmp_path / "spool")
        assert wallet.spool is not None
        await wallet.balance()
        gate.shut()
        async with wallet.request(ESTIMATE) as r:
            assert (await r.settle(USED)).spooled
        gate.open()
        for _ in range(100):
            await wallet.charge(amount=Decimal("0.01"), idempotency_key="later")
            await asyncio.sleep(0.1)
            if len(wallet.spool) == 0:
                break
    assert sorted(ledger.charges()) == [Decimal("0.01"), COST]
