"""The real LiteLLM proxy with the wallet's callback, in front of the mock provider."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest
from conftest import DATABASE, Ledger, Mock
from test_parallel import PLACES, admitted, limit

MESSAGES: Any = [{"role": "user", "content": "Say something about the sea, please."}]
PROXY = Path(__file__).parent / "proxy"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def proxied(config: Path, log: Path, environment: dict[str, str]) -> Iterator[str]:
    """A proxy with that configuration; its URL."""
    port = free_port()
    script = str(Path(sys.executable).with_name("litellm"))
    command = [sys.executable, script, "--config", str(config)]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with log.open("w") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, env=environment, cwd=config.parent
        )
    environment["PROXY_PID"] = str(process.pid)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                httpx.get(f"{url}/health/liveliness")
                break
            except httpx.HTTPError:
                assert process.poll() is None, log.read_text()
                time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def environment_of(mock: Mock) -> dict[str, str]:
    return {
        **os.environ,
        "MOCK_OPENAI": mock.base_url("openai"),
        "MOCK_ANTHROPIC": mock.base_url("anthropic"),
        "MOCK_NOWHERE": mock.base_url("openai") + "/nowhere",
        "WALLET_LITELLM_DATABASE": f"dbname={DATABASE}",
        "PYTHONPATH": str(PROXY),
    }


@pytest.fixture(scope="session")
def proxy(_mock: Mock, conninfo: str, tmp_path_factory: Any) -> Iterator[str]:
    """The proxy's URL."""
    log = tmp_path_factory.mktemp("proxy") / "log"
    with proxied(PROXY / "config.yaml", log, environment_of(_mock)) as url:
        yield url


@pytest.fixture
def client(proxy: str, mock: Mock, name: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=proxy, api_key=f"sk-{name}-alice", max_retries=0) as client:
        yield client


def eventually(condition: Callable[[], bool], seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def price(mock: Mock, into: int = 250, out: int = 1000) -> Decimal:
    """What the mock's own log says the last call costs."""
    entry = mock.recorder.log[-1]
    assert entry.input_tokens is not None
    return (Decimal(entry.input_tokens * into) + entry.output_tokens * out) / 100_000_000


def test_a_call_is_charged_and_its_headers_say_what(
    client: openai.OpenAI, ledger: Ledger, mock: Mock
) -> None:
    raw = client.chat.completions.with_raw_response.create(model="smart", messages=MESSAGES)
    assert ledger.charges() == [price(mock)]
    headers = raw.headers
    assert Decimal(headers["x-usage-cost"]) == price(mock)
    assert Decimal(headers["x-wallet-balance"]) == ledger.balance()
    assert headers["x-model"] == "gpt-4o"
    entry = mock.recorder.log[-1]
    assert int(headers["x-total-tokens"]) == (entry.input_tokens or 0) + entry.output_tokens
    row = ledger.db.execute(
        "SELECT user_id, team, tags, metadata ->> 'litellm_call_id' FROM wallet.entries "
        "WHERE wallet = %s AND kind = 'charge'",
        (ledger.name,),
    ).fetchone()
    assert row == ("alice", "research", {"env": "test"}, headers["x-litellm-call-id"])


def test_every_kind_of_call_is_charged_once(
    client: openai.OpenAI, ledger: Ledger, mock: Mock
) -> None:
    costs = []
    client.chat.completions.create(model="alias", messages=MESSAGES)
    costs.append(price(mock, 15, 60))
    client.responses.create(model="smart", input="Say something about the sea.")
    costs.append(price(mock))
    client.embeddings.create(model="vectors", input="A text. " * 30)
    costs.append(price(mock, 2, 0))
    client.images.generate(model="pictures", prompt="The sea", n=2)
    costs.append(Decimal("0.08"))
    assert ledger.charges() == costs
    time.sleep(1)  # the hooks that come later
    assert ledger.charges() == costs
    assert ledger.holds() == ["settled"] * 4


def test_streams_are_charged_once_at_their_end(
    client: openai.OpenAI, ledger: Ledger, mock: Mock
) -> None:
    costs = []
    for options in ({}, {"stream_options": {"include_usage": True}}):
        stream: Any = client.chat.completions.with_raw_response.create(
            model="smart", messages=MESSAGES, stream=True, extra_body=options
        )
        assert stream.headers["x-model"] == "gpt-4o"
        assert Decimal(stream.headers["x-wallet-balance"]) > 99
        for _ in stream.parse():
            pass
        costs.append(price(mock))
    for _ in client.responses.create(model="smart", input="And the sky?", stream=True):
        pass
    costs.append(price(mock))
    for _ in client.chat.completions.create(model="claude", messages=MESSAGES, stream=True):
        pass
    costs.append(price(mock, 300, 1500))
    eventually(lambda: len(ledger.charges()) == 4)
    time.sleep(1)
    assert ledger.charges() == costs
    assert ledger.holds() == ["settled"] * 4


def test_anthropics_own_form_is_charged(proxy: str, name: str, ledger: Ledger, mock: Mock) -> None:
    with anthropic.Anthropic(base_url=proxy, api_key=f"sk-{name}", max_retries=0) as client:
        request: Any = {"model": "claude", "max_tokens": 100, "messages": MESSAGES}
        raw = client.messages.with_raw_response.create(**request)
        cost = price(mock, 300, 1500)
        assert Decimal(raw.headers["x-usage-cost"]) == cost
        with client.messages.stream(**request) as stream:
            assert "".join(stream.text_stream)
    eventually(lambda: len(ledger.charges()) == 2)
    assert ledger.charges() == [cost, cost]


def test_refusals_reach_the_client(
    client: openai.OpenAI, proxy: str, ledger: Ledger, mock: Mock
) -> None:
    def refused(model: str = "smart", **options: Any) -> openai.APIStatusError:
        with pytest.raises(openai.APIStatusError) as error:
            client.with_options(**options).chat.completions.create(model=model, messages=MESSAGES)
        return error.value

    ledger.one("SELECT wallet.set_limit(%s, 0.01, 'minute')", ledger.name)
    error = refused()
    assert error.status_code == 429
    assert f'minute limit exceeded for wallet "{ledger.name}"' in error.message
    assert 0 < int(error.response.headers["retry-after"]) <= 61
    drop = "SELECT wallet.drop_limit(wallet, limit_id) FROM wallet.limits_status WHERE wallet = %s"
    ledger.one(drop, ledger.name)
    ledger.one("SELECT cost FROM wallet.charge(%s, amount => 99.999)", ledger.name)
    error = refused()
    assert error.status_code == 402
    assert f'insufficient funds in wallet "{ledger.name}"' in error.message
    assert refused("unpriced").status_code == 400
    assert refused(api_key="sk-nosuchwallet").status_code == 403
    ledger.one("SELECT status FROM wallet.freeze_wallet(%s)", ledger.name)
    assert refused().status_code == 403
    assert mock.recorder.log == []


def test_retries_and_fallbacks_are_one_call_priced_by_who_answered(
    client: openai.OpenAI, ledger: Ledger, mock: Mock
) -> None:
    mock.faults.fail(500, times=2)
    client.chat.completions.create(model="smart", messages=MESSAGES)
    costs = [price(mock)]
    client.chat.completions.create(model="broken", messages=MESSAGES)
    costs.append(price(mock))
    for _ in client.chat.completions.create(model="broken", messages=MESSAGES, stream=True):
        pass
    costs.append(price(mock))
    eventually(lambda: len(ledger.charges()) == 3)
    time.sleep(1)
    assert ledger.charges() == costs
    assert ledger.holds() == ["settled"] * 3


def test_a_call_that_fails_for_good_is_released(
    client: openai.OpenAI, ledger: Ledger, mock: Mock
) -> None:
    with pytest.raises(openai.APIStatusError):
        client.chat.completions.create(model="dead", messages=MESSAGES)
    with pytest.raises(openai.APIStatusError):
        client.chat.completions.create(model="no-such-model", messages=MESSAGES)
    eventually(lambda: "open" not in ledger.holds())
    assert ledger.holds() == ["voided"]
    assert ledger.charges() == []


def test_a_broken_stream_is_settled_with_what_came(
    client: openai.OpenAI, ledger: Ledger, mock: Mock
) -> None:
    mock.faults.disconnect(after_chunks=4, times=None)
    with pytest.raises(openai.APIError):
        for _ in client.chat.completions.create(model="smart", messages=MESSAGES, stream=True):
            pass
    eventually(lambda: ledger.holds() == ["settled"])
    assert len(ledger.charges()) == 1
    assert 0 < ledger.charges()[0] < Decimal("0.001")


def test_a_client_that_leaves_is_charged_for_what_came(
    client: openai.OpenAI, ledger: Ledger, mock: Mock
) -> None:
    mock.faults.pace(50)
    try:
        with client.chat.completions.create(
            model="smart", messages=MESSAGES, stream=True
        ) as stream:
            for number, _ in enumerate(stream):
                if number == 3:
                    break
        eventually(lambda: ledger.holds() == ["settled"])
        assert 0 < ledger.charges()[0] < Decimal("0.001")
        # Without a stream: LiteLLM goes on, and the provider bills.
        mock.faults.delay(1.0)
        with pytest.raises(openai.APITimeoutError):
            client.with_options(timeout=0.5).chat.completions.create(
                model="smart", messages=MESSAGES
            )
        eventually(lambda: "open" not in ledger.holds())
        assert len(ledger.charges()) == ledger.holds().count("settled")
    finally:
        mock.faults.pace(0)


def test_a_call_id_that_is_used_twice_is_paid_twice(
    client: openai.OpenAI, ledger: Ledger, mock: Mock
) -> None:
    # The client chooses the header: it must not be a way to a call for nothing.
    for _ in range(2):
        client.chat.completions.create(
            model="smart", messages=MESSAGES, extra_headers={"x-litellm-call-id": "mine"}
        )
    assert ledger.charges() == [price(mock)] * 2


def test_a_client_cannot_pass_for_the_call_of_another(
    client: openai.OpenAI, ledger: Ledger, mock: Mock
) -> None:
    """The mark of a running call, which its entry has as the key, is no ticket."""
    client.chat.completions.create(model="smart", messages=MESSAGES)
    sql = "SELECT idempotency_key FROM wallet.entries WHERE wallet = %s AND kind = 'charge' LIMIT 1"
    mark = str(ledger.one(sql, ledger.name)).removeprefix("litellm/")
    for body in ({"pg_wallet_call": mark}, {"proxy_server_request": {"pg_wallet_call": mark}}):
        client.chat.completions.create(model="smart", messages=MESSAGES, extra_body=body)
        client.chat.completions.create(
            model="smart", messages=MESSAGES, extra_body={**body, "metadata": body}
        )
    assert ledger.holds() == ["settled"] * 5
    assert len(ledger.charges()) == 5


def test_a_client_cannot_choose_its_price_or_leave_the_log(
    client: openai.OpenAI, ledger: Ledger, mock: Mock
) -> None:
    """Members of a request that LiteLLM gives a meaning to."""
    cheap = {"model_info": {"wallet_model": "gpt-4o-mini", "base_model": "gpt-4o-mini"}}
    tricks: list[dict[str, Any]] = [
        cheap,
        {"metadata": cheap, "litellm_metadata": cheap},
        {"litellm_params": cheap, "base_model": "gpt-4o-mini"},
        {"input_cost_per_token": 0, "output_cost_per_token": 0},
        {"no-log": True},
        {"custom_llm_provider": "none"},
    ]
    costs = []
    for trick in tricks:
        for stream in (False, True):
            count = len(mock.recorder.log)
            try:
                found: Any = client.chat.completions.create(
                    model="smart", messages=MESSAGES, stream=stream, extra_body=trick
                )
                if stream:
                    list(found)
            except openai.APIStatusError:
                assert len(mock.recorder.log) == count, trick  # refused before it was forwarded
            else:
                costs.append(price(mock))
    eventually(lambda: "open" not in ledger.holds())
    assert sorted(ledger.charges()) == sorted(costs)


@pytest.mark.long
async def test_many_calls_with_clients_that_leave(
    proxy: str, name: str, ledger: Ledger, mock: Mock
) -> None:
    """Each call at most once, each complete one exactly once, and no hold is left."""
    complete = 0
    async with openai.AsyncOpenAI(
        base_url=proxy, api_key=f"sk-{name}", max_retries=0, timeout=30
    ) as client:

        async def call(number: int) -> None:
            nonlocal complete
            messages: Any = [{"role": "user", "content": f"Tell me about sea number {number}."}]
            stream: Any = await client.chat.completions.create(
                model="smart",
                messages=messages,
                stream=number % 2 == 0,  # type: ignore[call-overload,unused-ignore]
                extra_headers={"x-test-id": str(number)},
            )
            if number % 2 == 0:
                count = 0
                async for _ in stream:
                    count += 1
                    if number % 4 == 0 and count == 2:
                        await stream.close()
                        return
            complete += 1

        for start in range(0, 120, 20):
            await asyncio.gather(*(call(n) for n in range(start, start + 20)))
    eventually(lambda: "open" not in ledger.holds(), 60)
    assert len(ledger.holds()) == 120
    assert len(ledger.charges()) == ledger.holds().count("settled")
    assert ledger.held() == 0
    # What the provider has reported is booked to the last digit, as the mock has it in its log.
    sql = (
        "SELECT -amount FROM wallet.entries WHERE wallet = %s AND kind = 'charge' "
        "AND metadata ->> 'usage' IS NULL"
    )
    exact = Counter(cost for (cost,) in ledger.db.execute(sql, (name,)))
    logged = Counter(
        (Decimal((entry.input_tokens or 0) * 250) + entry.output_tokens * 1000) / 100_000_000
        for entry in mock.recorder.log
        if entry.reported
    )
    assert exact <= logged
    assert exact.total() >= complete


@pytest.mark.long
def test_a_proxy_that_is_killed_books_nothing_twice_and_leaves_no_hold(
    conninfo: str, name: str, ledger: Ledger, mock: Mock, tmp_path: Path
) -> None:
    environment = {**environment_of(mock), "WALLET_LITELLM_TTL": "3"}
    with proxied(PROXY / "config.yaml", tmp_path / "log", environment) as url:
        with openai.OpenAI(base_url=url, api_key=f"sk-{name}", max_retries=0) as client:
            client.chat.completions.create(model="smart", messages=MESSAGES)
            mock.faults.pace(200)
            try:
                stream = client.chat.completions.create(
                    model="smart", messages=MESSAGES, stream=True
                )
                next(stream)
                os.kill(int(environment["PROXY_PID"]), signal.SIGKILL)
                with pytest.raises((openai.APIError, httpx2.HTTPError)):
                    list(stream)
            finally:
                mock.faults.pace(0)
    assert ledger.holds() == ["settled", "open"]
    eventually(lambda: ledger.held() == 0)
    assert len(ledger.charges()) == 1
    assert ledger.holds() == ["settled", "expired"]


async def test_a_limit_on_open_holds_bounds_what_the_proxy_sends(
    proxy: str, name: str, ledger: Ledger, mock: Mock
) -> None:
    limit(ledger)
    mock.recorder.service_time = 0.1
    async with openai.AsyncOpenAI(base_url=proxy, api_key=f"sk-{name}", max_retries=0) as client:
        proxied = client.with_options(timeout=60)
        refused = await asyncio.gather(
            *(admitted(proxied, f"proxy-{n}", "smart") for n in range(24))
        )
    assert sum(refused) > 0
    assert mock.recorder.peak == PLACES
    assert len(ledger.charges()) == len(mock.recorder.log) == 24
    assert ledger.held() == 0


def test_a_call_that_waits_for_approval_is_answered_with_403(
    client: openai.OpenAI, ledger: Ledger, mock: Mock
) -> None:
    sql = "SELECT wallet.set_limit(%s, 0.001, 'request', mode => 'approve')"
    ledger.db.execute(sql, (ledger.name,))
    ask: Any = {"model": "smart", "messages": MESSAGES, "max_tokens": 200}
    ask["extra_headers"] = {"X-Wallet-Idempotency-Key": "k"}
    for _ in range(2):
        with pytest.raises(openai.PermissionDeniedError, match="waits for approval"):
            client.chat.completions.create(**ask)
    assert (mock.recorder.log, ledger.holds()) == ([], ["waiting"])
    hold_id = ledger.one("SELECT hold_id FROM wallet.holds WHERE wallet = %s", ledger.name)
    ledger.db.execute("SELECT wallet.approve_hold(%s, %s)", (ledger.name, hold_id))
    client.chat.completions.create(**ask)
    with pytest.raises(openai.ConflictError):
        client.chat.completions.create(**ask)
    assert (ledger.charges(), ledger.holds()) == ([price(mock)], ["settled"])
    assert len(mock.recorder.log) == 1
