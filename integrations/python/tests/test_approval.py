"""Holds that wait for approval: no request of theirs reaches the provider."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import httpx
import openai
import pytest
from conftest import Ledger, Mock
from psycopg_pool import AsyncConnectionPool

from pg_wallet import (
    ApprovalRequired,
    AsyncWallet,
    HoldNotOpen,
    RequestOptions,
    Spool,
    Wallet,
    WalletUnreachable,
    WrapOptions,
    wrap,
)
from pg_wallet.asgi import Charged, WalletMiddleware

ESTIMATE = {"model": "gpt-4o", "input_tokens": 1000, "output_tokens": 4000}
USED = {"input_tokens": 1000, "output_tokens": 1500}
WAIT = RequestOptions(approval="wait", poll=0.05)


@pytest.fixture(autouse=True)
def limited(ledger: Ledger) -> None:
    """A request of more than 0.01 USD has to be approved."""
    sql = "SELECT wallet.set_limit(%s, 0.01, 'request', mode => 'approve')"
    ledger.db.execute(sql, (ledger.name,))


def ask(key: str) -> Any:
    messages = [{"role": "user", "content": "Hello"}]
    headers = {"Idempotency-Key": key}
    return {"model": "gpt-4o", "messages": messages, "max_tokens": 2000, "extra_headers": headers}


def waiting(ledger: Ledger) -> str:
    """The hold that waits, as soon as there is one."""
    for _ in range(200):
        sql = "SELECT hold_id::text FROM wallet.holds WHERE wallet = %s AND status = 'waiting'"
        if (found := ledger.one(sql, ledger.name)) is not None:
            return str(found)
        time.sleep(0.02)
    raise AssertionError("no hold waits")


def ends(ledger: Ledger) -> Any:
    return ledger.one("SELECT max(expires_at) FROM wallet.holds WHERE wallet = %s", ledger.name)


def test_a_wrapped_call_goes_on_with_its_key_once_it_is_approved(
    openai_client: openai.OpenAI, wallet: Wallet, ledger: Ledger, mock: Mock
) -> None:
    client = wrap(openai_client, wallet)
    for _ in range(2):
        with pytest.raises(ApprovalRequired) as raised:
            client.chat.completions.create(**ask("k"))
    error = raised.value
    assert (str(error.hold_id), error.idempotency_key) == (waiting(ledger), "k")
    assert (error.amount, error.expires_at) == (ledger.held(), ends(ledger))
    assert str(error.hold_id) in str(error)
    assert (mock.recorder.log, ledger.holds()) == ([], ["waiting"])

    hold = wallet.approve_hold(error.hold_id, actor="carol")
    assert (hold.status, hold.amount) == ("open", error.amount)
    answer: Any = client.chat.completions.create(**ask("k"))
    assert ledger.charges() == [answer.wallet.cost]
    with pytest.raises(HoldNotOpen):
        client.chat.completions.create(**ask("k"))
    assert (len(mock.recorder.log), ledger.holds()) == (1, ["settled"])


async def test_of_many_repetitions_one_reaches_the_provider(
    aopenai_client: openai.AsyncOpenAI, awallet: AsyncWallet, ledger: Ledger, mock: Mock
) -> None:
    client = wrap(aopenai_client, awallet)
    with pytest.raises(ApprovalRequired) as raised:
        await client.chat.completions.create(**ask("k"))
    await awallet.approve_hold(raised.value.hold_id)
    before = ends(ledger)
    calls = [client.chat.completions.create(**ask("k")) for _ in range(8)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert sorted(type(one).__name__ for one in outcomes) == ["ChatCompletion"] + 7 * [
        "HoldNotOpen"
    ]
    assert (len(mock.recorder.log), ledger.holds()) == (1, ["settled"])
    assert ends(ledger) > before  # it has its whole time again


def test_without_approval_the_provider_is_not_called(
    openai_client: openai.OpenAI, wallet: Wallet, ledger: Ledger, mock: Mock
) -> None:
    client = wrap(openai_client, wallet, WrapOptions(request=RequestOptions(ttl=0.3)))
    with pytest.raises(ApprovalRequired) as raised:
        client.chat.completions.create(**ask("denied"))
    assert wallet.deny_hold(raised.value.hold_id, "not now", actor="carol").status == "voided"
    with pytest.raises(HoldNotOpen, match="is voided"):
        client.chat.completions.create(**ask("denied"))
    with pytest.raises(ApprovalRequired):
        client.chat.completions.create(**ask("expired"))
    time.sleep(0.5)  # no timer keeps it
    with pytest.raises(HoldNotOpen, match="is expired"):
        client.chat.completions.create(**ask("expired"))
    assert (mock.recorder.log, ledger.holds()) == ([], ["voided", "expired"])


def test_a_request_without_a_key_says_the_one_that_it_got(wallet: Wallet, ledger: Ledger) -> None:
    request = wallet.request(ESTIMATE)
    with pytest.raises(ApprovalRequired) as raised:
        request.open()
    request.close()
    assert ledger.holds() == ["waiting"]
    wallet.approve_hold(raised.value.hold_id)
    with wallet.request(ESTIMATE, idempotency_key=raised.value.idempotency_key) as r:
        r.settle(USED)
    # A body that fails releases what was approved.
    with pytest.raises(ApprovalRequired) as raised:
        wallet.request(ESTIMATE).open()
    wallet.approve_hold(raised.value.hold_id)
    with pytest.raises(KeyError):
        with wallet.request(ESTIMATE, idempotency_key=raised.value.idempotency_key):
            raise KeyError
    assert ledger.holds() == ["settled", "voided"]


def test_an_open_hold_that_nobody_had_to_approve_is_somebody_elses(wallet: Wallet) -> None:
    small = {"model": "gpt-4o", "input_tokens": 10, "output_tokens": 10}
    with wallet.request(small, idempotency_key="k"):
        with pytest.raises(HoldNotOpen, match="is open"):
            wallet.request(small, idempotency_key="k").open()


def test_a_request_waits_until_it_is_approved(wallet: Wallet, ledger: Ledger) -> None:
    found: list[Any] = []

    def work() -> None:
        options = RequestOptions(ttl=1, approval="wait", poll=0.05)
        with wallet.request(ESTIMATE, options=options) as r:
            time.sleep(1.5)  # its timer runs again
            found.append(r.settle(USED))

    thread = threading.Thread(target=work)
    thread.start()
    hold_id, end = waiting(ledger), ends(ledger)
    time.sleep(0.7)
    assert (ledger.holds(), ends(ledger)) == (["waiting"], end)
    wallet.approve_hold(hold_id)
    thread.join()
    assert ledger.charges() == [found[0].cost]
    assert ledger.holds() == ["settled"]


@pytest.mark.parametrize("end", ["voided", "expired"])
async def test_waiting_ends_with_the_hold(
    aopenai_client: openai.AsyncOpenAI, awallet: AsyncWallet, ledger: Ledger, mock: Mock, end: str
) -> None:
    options = WrapOptions(request=RequestOptions(approval="wait", poll=0.05, ttl=1))
    task = asyncio.create_task(
        wrap(aopenai_client, awallet, options).chat.completions.create(**ask("k"))
    )
    hold_id = await asyncio.to_thread(waiting, ledger)
    if end == "voided":
        await awallet.deny_hold(hold_id)
    with pytest.raises(HoldNotOpen, match=f"is {end}"):
        await asyncio.wait_for(task, 5)
    assert (mock.recorder.log, ledger.holds()) == ([], [end])


async def test_who_stops_waiting_releases_the_hold(awallet: AsyncWallet, ledger: Ledger) -> None:
    async def work() -> None:
        async with awallet.request(ESTIMATE, options=WAIT, idempotency_key="k"):
            raise AssertionError

    task = asyncio.create_task(work())
    await asyncio.to_thread(waiting, ledger)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ledger.holds() == ["voided"]


async def test_a_repetition_that_stops_waiting_leaves_the_hold(
    awallet: AsyncWallet, ledger: Ledger
) -> None:
    with pytest.raises(ApprovalRequired):
        await awallet.request(ESTIMATE, idempotency_key="k").open()
    again = awallet.request(ESTIMATE, options=WAIT, idempotency_key="k")
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(again.open(), 0.3)
    assert ledger.holds() == ["waiting"]


def test_an_interrupt_releases_a_hold_that_is_waited_for(
    wallet: Wallet, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        wallet.request(ESTIMATE, options=WAIT).open()
    assert ledger.holds() == ["voided"]


@pytest.mark.parametrize("answers", [True, False])
async def test_a_hold_that_cannot_be_looked_at_is_not_used(
    apool: AsyncConnectionPool[Any],
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    answers: bool,
    tmp_path: Any,
) -> None:
    wallet = AsyncWallet(apool, ledger.name, fail="open", spool=Spool(tmp_path / "spool"))
    run, failures = AsyncWallet._run, 0

    async def broken(self: AsyncWallet, statement: Any, *arguments: Any) -> Any:
        nonlocal failures
        if statement.function == "holds" and (failures < 3 or not answers):
            failures += 1
            raise WalletUnreachable("gone")
        return await run(self, statement, *arguments)

    monkeypatch.setattr(AsyncWallet, "_run", broken)
    options = RequestOptions(approval="wait", poll=0.05, ttl=2 if answers else 0.3)
    request = wallet.request(ESTIMATE, options=options)
    opening = asyncio.create_task(request.open())
    hold_id = await asyncio.to_thread(waiting, ledger)
    if not answers:
        with pytest.raises(WalletUnreachable):
            await opening
        assert not request.offline
        return
    await wallet.approve_hold(hold_id)
    await opening
    assert (failures, request.offline) == (3, False)
    await request.settle(USED)
    assert ledger.holds() == ["settled"]


async def test_the_middleware_answers_403_with_the_hold(
    awallet: AsyncWallet, ledger: Ledger
) -> None:
    reached = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal reached
        reached += 1
        await scope["state"]["wallet"].settle(USED)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x"})

    charged = WalletMiddleware(app, lambda scope: Charged(awallet, ESTIMATE, key="k"))
    transport = httpx.ASGITransport(charged)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        answer = await client.get("/")
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], reached) == (403, "approval_required", 0)
        assert error["hold_id"] == waiting(ledger)
        await awallet.approve_hold(error["hold_id"])
        assert (await client.get("/")).status_code == 200
    assert (reached, ledger.holds()) == (1, ["settled"])
