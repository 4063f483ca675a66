"""The calls of a wallet, one by one, in both clients."""

from __future__ import annotations

import logging
import threading
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import DATABASE, Ledger
from psycopg_pool import AsyncConnectionPool, ConnectionPool

import pg_wallet
from pg_wallet import AsyncWallet, Retry, Wallet
from pg_wallet.errors import _Registry, resets_at

USAGE = {"model": "gpt-4o", "input_tokens": 1000, "output_tokens": 450}


def test_a_charge_is_exact_and_says_how_it_came_about(wallet: Wallet) -> None:
    charge = wallet.charge(USAGE)
    assert charge.cost == Decimal("0.007")
    assert charge.balance == Decimal("99.993")
    assert (charge.model, charge.total_tokens, charge.currency) == ("gpt-4o", 1450, "USD")
    assert [(line.meter, line.amount) for line in charge.lines] == [
        ("input_tokens", Decimal("0.0025")),
        ("output_tokens", Decimal("0.0045")),
    ]
    assert charge.headers() == wallet.usage_headers(str(charge.entry_id))


def test_amounts_keep_all_their_digits(wallet: Wallet) -> None:
    tiny = Decimal("0.000000000001")
    assert wallet.charge(amount=tiny).cost == tiny
    assert wallet.charge(amount=0.1).cost == Decimal("0.1")
    usage = {"model": "whisper-1", "audio_seconds": Decimal("12.3456789")}
    assert wallet.price_usage(usage).lines[0].quantity == Decimal("12.3456789")


def test_the_same_key_books_once(wallet: Wallet, ledger: Ledger) -> None:
    first = wallet.charge(amount=1, idempotency_key="k")
    again = wallet.charge(amount=1, idempotency_key="k")
    assert (first.replayed, again.replayed) == (False, True)
    assert first.entry_id == again.entry_id
    assert ledger.charges() == [1]


def test_a_hold_is_settled_extended_and_voided(wallet: Wallet, ledger: Ledger) -> None:
    hold = wallet.hold(USAGE, ttl=60)
    assert (hold.amount, hold.status) == (Decimal("0.007"), "open")
    longer = wallet.extend(hold.hold_id, timedelta(hours=1))
    assert longer.expires_at > hold.expires_at + timedelta(minutes=50)
    settled = wallet.settle(hold.hold_id, {"input_tokens": 1000, "output_tokens": 100})
    assert settled.cost == Decimal("0.0035")
    assert wallet.void(wallet.hold(amount=2).hold_id, "not needed").status == "voided"
    assert ledger.holds() == ["settled", "voided"]


def test_the_wallets_own_context_is_used_and_can_be_changed(
    pool: ConnectionPool[Any], name: str, ledger: Ledger
) -> None:
    wallet = Wallet(pool, name, user_id="alice", team="research", tags={"app": "chat"})
    wallet.charge(amount=1)
    wallet.bind(user_id="bob").charge(amount=1, team="sales")
    rows = ledger.db.execute(
        "SELECT user_id, team, tags ->> 'app' FROM wallet.entries "
        "WHERE wallet = %s AND kind = 'charge' ORDER BY seq",
        (name,),
    ).fetchall()
    assert rows == [("alice", "research", "chat"), ("bob", "sales", "chat")]


def test_limits_and_the_balance_say_what_they_would_say(wallet: Wallet, ledger: Ledger) -> None:
    ledger.one("SELECT wallet.set_limit(%s, 5, 'day')", wallet.wallet)
    balance, limit = wallet.check_limits(amount=6)
    assert (balance.scope, balance.allowed) == ("balance", True)
    assert balance.remaining == 100
    assert (limit.period, limit.allowed, limit.reason) == ("day", False, "limit_exceeded")
    assert limit.max == 5
    with pytest.raises(pg_wallet.LimitExceeded) as refused:
        wallet.charge(amount=6)
    assert refused.value.limit_id == str(limit.limit_id)
    wallet.charge(amount=4)
    with pytest.raises(pg_wallet.LimitExceeded) as refused:
        wallet.charge(amount=2)
    assert refused.value.resets_at == limit.resets_at
    assert refused.value.detail is not None
    assert refused.value.hint is not None
    seconds = refused.value.retry_after()
    assert seconds is not None
    assert 0 < seconds <= 86400


def test_a_hold_may_be_refused_where_a_charge_is_not(wallet: Wallet, ledger: Ledger) -> None:
    ledger.one("SELECT wallet.set_limit(%s, 1, 'open', metric => 'requests')", wallet.wallet)
    ledger.one("SELECT wallet.set_limit(%s, 5, 'request')", wallet.wallet)
    ends = wallet.hold(amount=1).expires_at
    assert all(check.allowed for check in wallet.check_limits(amount=5))
    checks = wallet.check_limits(amount=5, for_hold=True)
    assert (checks[0].allowed, checks[0].max_per_request) == (True, Decimal(5))
    (place,) = (one for one in checks if one.period == "open")
    assert (place.metric, place.reason) == ("requests", "limit_exceeded")
    assert (place.max, place.remaining) == (Decimal(1), Decimal(0))
    assert place.max_per_request is None
    with pytest.raises(pg_wallet.LimitExceeded, match="limit of requests in open holds") as refused:
        wallet.hold(amount=1)
    # Enough is free when the hold ends; DETAIL has whole seconds.
    assert refused.value.resets_at is not None
    assert abs((refused.value.resets_at - ends).total_seconds()) <= 1


def test_the_first_model_that_may_be_used_is_chosen(wallet: Wallet, ledger: Ledger) -> None:
    sql = "SELECT wallet.set_limit(%s, 0.01, 'day', scope => 'model', subject => 'gpt-4o')"
    ledger.one(sql, wallet.wallet)
    usage = {"input_tokens": 1000, "output_tokens": 4000}
    found = wallet.choose_model(usage, ["unheard", "gpt-4o", "gpt-4o-mini"], user_id="bob")
    assert [(one.model, one.cost, one.reason, one.chosen) for one in found] == [
        ("unheard", None, "no_price", False),
        ("gpt-4o", Decimal("0.0425"), "limit_exceeded", False),
        ("gpt-4o-mini", Decimal("0.00255"), None, True),
    ]
    assert [one.allowed for one in found] == [False, False, True]
    assert found[2].remaining == 100
    hold = wallet.hold(usage, model=found[2].model)
    assert hold.amount == found[2].cost


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/New_York"])
@pytest.mark.parametrize(
    "period", ["minute", "hour", "day", "month", "rolling 24 hours", "lifetime"]
)
def test_the_error_of_a_limit_says_when_it_resets(
    wallet: Wallet, ledger: Ledger, period: str, zone: str
) -> None:
    """The text of DETAIL, and what `check_limits` says in a column."""
    set_limit = "SELECT wallet.set_limit(%s, 5, %s, time_zone => %s)"
    ledger.one(set_limit, wallet.wallet, period, zone)
    wallet.charge(amount=5)
    with pytest.raises(pg_wallet.LimitExceeded) as refused:
        wallet.charge(amount=1)
    (limit,) = (one for one in wallet.check_limits(amount=1) if one.limit_id is not None)
    if limit.resets_at is None:
        assert refused.value.resets_at is None
        assert period == "lifetime"
    else:
        assert refused.value.resets_at is not None
        # The text has no fractions of a second.
        assert abs(refused.value.resets_at - limit.resets_at) < timedelta(seconds=1)


def test_the_time_of_a_reset_is_read_in_its_zone() -> None:
    detail = "… 0.00 remains. It resets at 2026-12-01 00:00:00 Europe/Berlin."
    assert resets_at(detail) == datetime(2026, 11, 30, 23, tzinfo=timezone.utc)
    # The hour that comes twice: the later one.
    detail = "… Enough of it is free at 2026-10-25 02:30:00 Europe/Berlin."
    assert resets_at(detail) == datetime(2026, 10, 25, 1, 30, tzinfo=timezone.utc)
    assert resets_at("… It never resets.") is None
    assert resets_at(None) is None


def test_every_sqlstate_of_the_wallet_has_a_class(ledger: Ledger) -> None:
    codes = [row[0] for row in ledger.db.execute("SELECT sqlstate FROM wallet.error_codes()")]
    assert len(codes) >= 23
    assert set(codes) <= set(_Registry.by_sqlstate)


@pytest.mark.parametrize(
    ("cls", "sqlstate", "call"),
    [
        (pg_wallet.InsufficientFunds, "WL001", lambda w: w.charge(amount=1000)),
        (pg_wallet.WalletNotFound, "WL003", lambda w: w.bind(wallet="none").charge(amount=1)),
        (pg_wallet.WalletNotFound, "WL003", lambda w: w.bind(wallet="none").balance()),
        (pg_wallet.PriceNotFound, "WL005", lambda w: w.charge({"model": "x", "input_tokens": 1})),
        (pg_wallet.InvalidUsage, "WL007", lambda w: w.charge({"model": "gpt-4o"})),
        (pg_wallet.InvalidAmount, "WL012", lambda w: w.charge(amount=-1)),
        (
            pg_wallet.CardDataRefused,
            "WL011",
            lambda w: w.charge(amount=1, actor="4111111111111111"),
        ),
        (pg_wallet.NotPermitted, "WL009", lambda w: w.charge(amount=1, key="no-such-key")),
        (pg_wallet.NotFound, "42704", lambda w: w.void("00000000-0000-0000-0000-000000000000")),
    ],
)
def test_errors_are_classes_with_detail_and_hint(
    wallet: Wallet, cls: type[pg_wallet.WalletError], sqlstate: str, call: Any
) -> None:
    with pytest.raises(cls) as refused:
        call(wallet)
    assert refused.value.sqlstate == sqlstate
    assert isinstance(refused.value, pg_wallet.WalletError)
    assert str(refused.value) == refused.value.message


def test_a_charge_in_the_callers_transaction_is_rolled_back_with_it(
    wallet: Wallet, pool: ConnectionPool[Any], ledger: Ledger
) -> None:
    with pool.connection() as connection, pytest.raises(ZeroDivisionError):
        with connection.transaction():
            wallet.charge(amount=3, connection=connection)
            raise ZeroDivisionError
    with pool.connection() as connection, connection.transaction():
        wallet.charge(amount=4, connection=connection)
    assert ledger.charges() == [4]


def test_a_conflict_is_run_again_with_the_same_key(
    conninfo: str, name: str, ledger: Ledger
) -> None:
    # Under SERIALIZABLE any two charges of one wallet may conflict.
    options = f"{conninfo} options='-c default_transaction_isolation=serializable'"
    with ConnectionPool(options, min_size=8, max_size=8, open=True) as pool:
        wallet = Wallet(pool, name, retry=Retry(attempts=200))

        def work() -> None:
            for _ in range(20):
                wallet.charge(amount=Decimal("0.01"))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(ledger.charges()) == 160
    assert ledger.balance() == Decimal("98.40")


def test_retries_are_bounded_and_jittered() -> None:
    from pg_wallet.retry import Attempts

    attempts = Attempts(Retry(attempts=5, base=0.01, cap=0.02))
    conflict = pg_wallet.TransactionConflict("again")
    pauses = [attempts.pause_after(conflict) for _ in range(5)]
    assert pauses[4] is None
    assert all(pause is not None and 0 <= pause <= 0.02 for pause in pauses[:4])
    assert Attempts(Retry()).pause_after(pg_wallet.InsufficientFunds("no")) is None


def test_a_connection_that_breaks_is_replaced(wallet: Wallet, ledger: Ledger) -> None:
    wallet.balance()
    ledger.db.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    # Every connection of the pool is dead; the pool replaces one at a time.
    patient = Wallet(wallet.pool, wallet.wallet, retry=Retry(reconnects=20))
    assert patient.charge(amount=1).cost == 1
    assert ledger.charges() == [1]


READ_ONLY = "SET default_transaction_read_only = on"


def test_a_connection_to_a_standby_is_dropped(conninfo: str, name: str, ledger: Ledger) -> None:
    # As after a failover: the session that can only read says so with 25006.
    with ConnectionPool(conninfo, min_size=1, max_size=1, open=True) as pool:
        with pool.connection() as connection:
            connection.execute(READ_ONLY)
        assert Wallet(pool, name).charge(amount=1).cost == 1
    assert ledger.charges() == [1]


async def test_an_async_connection_to_a_standby_is_dropped(
    conninfo: str, name: str, ledger: Ledger
) -> None:
    async with AsyncConnectionPool(conninfo, min_size=1, max_size=1, open=False) as pool:
        async with pool.connection() as connection:
            await connection.execute(READ_ONLY)
        assert (await AsyncWallet(pool, name).charge(amount=1)).cost == 1
    assert ledger.charges() == [1]


def test_a_call_is_one_round_trip(conninfo: str, name: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with ConnectionPool(conninfo, min_size=1, max_size=1, open=True) as pool:
        wallet = Wallet(pool, name)
        with pool.connection() as connection:
            pgconn = connection.pgconn
        with trace.open("w") as file:
            pgconn.trace(file.fileno())
            wallet.charge(amount=1)
            with wallet.request(amount=1) as r:
                r.settle(amount=1)
            pgconn.untrace()
    # One for the charge, two for the request.
    assert trace.read_text().count("ReadyForQuery") == 3


def test_logs_are_structured_and_keep_secrets(
    wallet: Wallet, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="pg_wallet")
    wallet.charge(amount=1)
    with pytest.raises(pg_wallet.WalletError):
        wallet.bind(key="wk-secret").charge(amount=1)
    events = [getattr(record, "wallet_event", None) for record in caplog.records]
    assert events == ["charge", "refused"]
    assert getattr(caplog.records[0], "wallet_cost", None) == 1
    assert getattr(caplog.records[1], "wallet_sqlstate", None) == "WL009"
    assert "wk-secret" not in caplog.text
    assert "wk-secret" not in repr(wallet.bind(key="wk-secret"))


async def test_the_async_client_makes_the_same_calls(awallet: AsyncWallet, ledger: Ledger) -> None:
    hold = await awallet.hold(USAGE)
    await awallet.extend(hold.hold_id, 900)
    charge = await awallet.settle(hold.hold_id, {"input_tokens": 1, "output_tokens": 1})
    assert charge.headers() == await awallet.usage_headers(str(charge.entry_id))
    await awallet.void((await awallet.hold(amount=1)).hold_id)
    assert (await awallet.charge(amount=1)).cost == 1
    assert (await awallet.price_usage(USAGE)).cost == Decimal("0.007")
    assert (await awallet.check_limits(amount=1, for_hold=True))[0].allowed
    (model,) = await awallet.choose_model(USAGE, ["gpt-4o"])
    assert (model.cost, model.chosen) == (Decimal("0.007"), True)
    assert (await awallet.balance()).balance == ledger.balance()
    with pytest.raises(pg_wallet.InsufficientFunds):
        await awallet.charge(amount=1000)
    async with awallet.pool.connection() as connection, connection.transaction():
        await awallet.charge(amount=2, connection=connection)
    assert len(ledger.charges()) == 3


def test_a_role_that_may_charge_can_make_every_call(
    conninfo: str, name: str, ledger: Ledger
) -> None:
    role = f"{DATABASE}_app"
    ledger.db.execute(f"DROP ROLE IF EXISTS {role}")
    ledger.db.execute(f"CREATE ROLE {role} LOGIN")
    try:
        ledger.one("SELECT wallet.grant_access(%s, 'charger', %s)", role, name)
        with ConnectionPool(f"{conninfo} user={role}", open=True) as pool:
            wallet = Wallet(pool, name)
            charge = wallet.charge(USAGE)
            assert wallet.usage_headers(str(charge.entry_id)) == charge.headers()
            hold = wallet.hold(USAGE)
            wallet.extend(hold.hold_id, 900)
            wallet.settle(hold.hold_id, USAGE)
            wallet.void(wallet.hold(amount=1).hold_id)
            assert wallet.price_usage(USAGE).cost == charge.cost
            assert wallet.check_limits(amount=1)[0].allowed
            assert wallet.balance().balance == ledger.balance()
            with pytest.raises(pg_wallet.WalletError) as refused:
                wallet.bind(wallet="another").charge(amount=1)
            assert refused.value.sqlstate in ("42501", "WL003")
    finally:
        ledger.db.execute(f"DROP OWNED BY {role}")
        ledger.db.execute(f"DROP ROLE {role}")


def test_a_statement_that_waits_too_long_is_as_if_the_server_did_not_answer(
    conninfo: str, name: str, ledger: Ledger, tmp_path: Path
) -> None:
    patient = "options='-c statement_timeout=300 -c lock_timeout=200'"
    with ConnectionPool(f"{conninfo} {patient}", min_size=1, open=True) as pool:
        wallet = Wallet(pool, name, spool=tmp_path / "spool")
        with psycopg.connect(conninfo) as other, wallet.request(amount=1) as r:
            other.execute("SELECT wallet.charge(%s, amount => 1)", (name,))  # holds its locks
            assert r.settle(amount=1).spooled
        assert wallet.flush_spool().left == 0
    assert sorted(ledger.charges()) == [1, 1]
    assert ledger.holds() == ["settled"]


def test_errors_of_others_stay_as_they_are(wallet: Wallet, pool: ConnectionPool[Any]) -> None:
    with pool.connection() as connection:
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("SELECT 1/0")
        connection.rollback()
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            wallet.settle("not a uuid", amount=1, connection=connection)
