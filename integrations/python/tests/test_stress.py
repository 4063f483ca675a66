"""Many calls at once, clients that leave, processes that are killed.

The log of the mock provider is what must have been billed. WALLET_TEST_SCALE makes it longer.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from decimal import Decimal
from typing import Any

import openai
import pytest
from conftest import DATABASE, Ledger, Mock
from genai_prices import Usage, calc_price
from psycopg_pool import AsyncConnectionPool

from pg_wallet import AsyncWallet, wrap

SCALE = float(os.environ.get("WALLET_TEST_SCALE", "1"))
SEED = int(os.environ.get("WALLET_SEED", random.randrange(10**9)))


def price(input_tokens: int, output_tokens: int) -> Decimal:
    """By a calculator that nobody here wrote, with prices of its own."""
    usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens)
    return calc_price(usage, "gpt-4o", provider_id="openai").total_price


def verified(ledger: Ledger) -> bool:
    """Whether the wallet's balance, limits and chain agree with its entries."""
    return bool(ledger.one("SELECT bool_and(ok) FROM wallet.verify(%s)", ledger.name))


def booked(ledger: Ledger) -> dict[str, tuple[Decimal, bool]]:
    """Cost and whether the provider has reported the usage, by the key of the call."""
    rows = ledger.db.execute(
        "SELECT idempotency_key, -amount, metadata ->> 'usage' IS NULL FROM wallet.entries "
        "WHERE wallet = %s AND kind = 'charge'",
        (ledger.name,),
    ).fetchall()
    found = {key: (cost, exact) for key, cost, exact in rows}
    assert len(found) == len(rows)
    return found


@pytest.mark.long
async def test_the_ledger_is_the_providers_log(
    apool: AsyncConnectionPool[Any], name: str, ledger: Ledger, mock: Mock
) -> None:
    print(f"WALLET_SEED={SEED}")
    dice = random.Random(SEED)
    count = int(1000 * SCALE)
    ledger.db.execute("SELECT wallet.set_lanes(%s, 8)", (name,))
    outcomes: Counter[str] = Counter()

    async def call(client: openai.AsyncOpenAI, number: int, fate: str) -> None:
        key = f"call-{number}"
        text = f"Tell me about sea number {number}, please."
        request: Any = {
            "model": "gpt-4o",
            "messages": [{"role": "user", "content": text}],
            "max_tokens": 200,
            "extra_headers": {"Idempotency-Key": key, "x-test-id": key},
        }
        if fate == "whole":
            await client.chat.completions.create(**request)
        elif fate == "cancelled":
            task = asyncio.create_task(client.chat.completions.create(**request))
            await asyncio.sleep(dice.uniform(0, 0.1))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        else:
            stream: Any = await client.chat.completions.create(**request, stream=True)
            left = dice.randrange(1, 6) if fate == "left" else 10**9
            async for _ in stream:
                left -= 1
                if left == 0:
                    break
            await stream.close()
        outcomes[fate] += 1

    async with openai.AsyncOpenAI(
        base_url=mock.base_url("openai"), api_key="x", max_retries=0
    ) as plain:
        client = wrap(plain, AsyncWallet(apool, name))
        fates = dice.choices(["whole", "stream", "left", "cancelled"], [4, 4, 3, 2], k=count)
        for start in range(0, count, 40):
            await asyncio.gather(
                *(
                    call(client, start + offset, fate)
                    for offset, fate in enumerate(fates[start : start + 40])
                )
            )

    assert ledger.held() == 0
    assert "open" not in ledger.holds()
    entries = booked(ledger)
    for number, fate in enumerate(fates):
        key = f"call-{number}"
        logged = mock.recorder.of(key)
        assert len(logged) <= 1
        if fate in ("whole", "stream"):
            # What the provider has billed is booked once, to the last digit.
            assert entries[key] == (
                price(logged[0].input_tokens or 0, logged[0].output_tokens),
                True,
            )
        elif fate == "left" and not entries[key][1]:
            assert 0 < entries[key][0] < price(100, 200)
        elif key in entries:
            assert logged
    assert set(entries) <= {f"call-{number}" for number in range(count)}
    assert len(entries) >= outcomes["whole"] + outcomes["stream"] + outcomes["left"]
    assert ledger.balance() == 100 - sum(cost for cost, _ in entries.values())
    assert verified(ledger)


WORKER = """
import asyncio, sys, openai
from psycopg_pool import AsyncConnectionPool
from pg_wallet import AsyncWallet, RequestOptions, WrapOptions, wrap

async def main(conninfo, name, url, worker):
    async with AsyncConnectionPool(conninfo, max_size=8, open=False) as pool:
        options = WrapOptions(request=RequestOptions(ttl=3))
        client = wrap(openai.AsyncOpenAI(base_url=url, api_key="x", max_retries=0),
                      AsyncWallet(pool, name), options)
        async def one(number):
            key = f"{worker}-{number}"
            headers = {"Idempotency-Key": key, "x-test-id": key}
            await client.chat.completions.create(
                model="gpt-4o", max_tokens=200, extra_headers=headers,
                messages=[{"role": "user", "content": "Tell me about the sea."}])
        print("ready", flush=True)
        for start in range(0, 10**9, 10):
            await asyncio.gather(*(one(start + n) for n in range(10)))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.long
def test_processes_that_are_killed_book_at_most_once_and_leave_no_hold(
    name: str, ledger: Ledger, mock: Mock
) -> None:
    dice = random.Random(SEED)
    for worker in range(int(6 * SCALE)):
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                WORKER,
                f"dbname={DATABASE}",
                name,
                mock.base_url("openai"),
                f"worker{worker}",
            ],
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(dice.uniform(0.3, 1.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
    # Calls that were under way: their holds end by themselves.
    for _ in range(100):
        if ledger.held() == 0:
            break
        time.sleep(0.1)
    assert ledger.held() == 0
    entries = booked(ledger)
    assert entries
    for key, (cost, exact) in entries.items():
        (logged,) = mock.recorder.of(key)
        assert exact
        assert cost == price(logged.input_tokens or 0, logged.output_tokens)
    assert ledger.balance() == 100 - sum(cost for cost, _ in entries.values())
    assert verified(ledger)
