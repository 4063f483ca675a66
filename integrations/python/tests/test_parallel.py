"""A limit on open holds bounds what the provider serves at a time, by the provider's own count."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import openai
from conftest import DATABASE, Ledger, Mock
from psycopg_pool import AsyncConnectionPool

from pg_wallet import AsyncWallet, LimitExceeded, wrap

PLACES = 4
CLIENTS = 60
TTL = 3.0

# A client that is killed while the provider works for it: its hold ends by itself.
VICTIM = """
import asyncio, sys, openai
from psycopg_pool import AsyncConnectionPool
from pg_wallet import AsyncWallet, LimitExceeded, RequestOptions, WrapOptions, wrap

async def main(conninfo, name, url, key, ttl):
    async with AsyncConnectionPool(conninfo, min_size=1, max_size=1, open=False) as pool:
        options = WrapOptions(request=RequestOptions(ttl=float(ttl)))
        client = wrap(openai.AsyncOpenAI(base_url=url, api_key="x", max_retries=0),
                      AsyncWallet(pool, name), options)
        while True:
            try:
                await client.chat.completions.create(
                    model="gpt-4o", max_tokens=200, extra_headers={"x-test-id": key},
                    messages=[{"role": "user", "content": "Tell me about the sea."}])
            except LimitExceeded:
                await asyncio.sleep(0.05)

asyncio.run(main(*sys.argv[1:]))
"""


async def admitted(client: openai.AsyncOpenAI, key: str, model: str = "gpt-4o") -> int:
    """Asks until the limit has a place; how often it had none."""
    for refused in range(10_000):
        try:
            await client.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": "Tell me about the sea."}],
                max_tokens=200,
                extra_headers={"x-test-id": key},
            )
        except (LimitExceeded, openai.RateLimitError) as error:
            if "limit of requests in open holds exceeded" not in str(error):
                raise
        else:
            return refused
        await asyncio.sleep(random.uniform(0.01, 0.05))
    raise AssertionError(f"{key} was never admitted")


async def until(condition: Callable[[], Any], seconds: float = 30) -> None:
    end = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < end, "it did not happen"
        await asyncio.sleep(0.005)


def limit(ledger: Ledger, places: int = PLACES) -> None:
    sql = "SELECT wallet.set_limit(%s, %s, 'open', metric => 'requests')"
    ledger.db.execute(sql, (ledger.name, places))


async def remaining(wallet: AsyncWallet) -> list[Any]:
    checks = await wallet.check_limits(amount=1, for_hold=True)
    return [(one.remaining, one.allowed) for one in checks if one.period == "open"]


async def test_the_provider_never_serves_more_than_the_limit(
    apool: AsyncConnectionPool[Any], ledger: Ledger, mock: Mock
) -> None:
    limit(ledger)
    mock.recorder.service_time = 0.1
    wallet = AsyncWallet(apool, ledger.name)
    url = mock.base_url("openai")
    async with openai.AsyncOpenAI(base_url=url, api_key="x", max_retries=0) as plain:
        client = wrap(plain, wallet)

        async def leaves(key: str) -> None:
            task = asyncio.create_task(admitted(client, key))
            await until(lambda: mock.recorder.of(key))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert task.cancelled()

        async def dies(key: str) -> None:
            arguments = ["-c", VICTIM, f"dbname={DATABASE}", ledger.name, url, key, str(TTL)]
            victim = await asyncio.create_subprocess_exec(sys.executable, *arguments)
            await until(lambda: mock.recorder.of(key))
            victim.kill()
            await victim.wait()

        lives = CLIENTS * 9 // 10
        calls: list[Awaitable[Any]] = [admitted(client, f"lives-{n}") for n in range(lives)]
        calls += [leaves(f"leaves-{n}") for n in range(4)] + [dies(f"dies-{n}") for n in range(2)]
        assert len(calls) == CLIENTS
        outcomes = await asyncio.gather(*calls)
        assert sum(refused or 0 for refused in outcomes) > 0
        assert mock.recorder.peak == PLACES
        assert len(ledger.charges()) == lives

        # The holds of those that were killed end with their time, and nothing else has to run.
        await asyncio.sleep(TTL)
        assert await remaining(wallet) == [(PLACES, True)]
        assert ledger.held() == 0
        mock.recorder.peak = 0
        assert (
            await asyncio.gather(*(admitted(client, f"again-{n}") for n in range(PLACES)))
            == [0] * PLACES
        )
        assert mock.recorder.peak == PLACES
    assert bool(ledger.one("SELECT bool_and(ok) FROM wallet.verify(%s)", ledger.name))
