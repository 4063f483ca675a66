"""What a wrapped call costs: `scripts/test-integrations.sh overhead`.

Times the same call with and without the wallet, one after the other, against the mock provider.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import openai
import psycopg
from conftest import PRICES
from llmock.testing import LLMockServer
from psycopg_pool import ConnectionPool

from pg_wallet import Wallet, wrap

DATABASE = "wallet_overhead"
MESSAGES: Any = [{"role": "user", "content": "Say something about the sea, please. " * 50}]


def medians(*calls: Callable[[], Any], times: int = 300) -> list[float]:
    """Milliseconds of each, measured in turns so that all meet the same machine."""
    found: list[list[float]] = [[] for _ in calls]
    for _ in range(times):
        for times_of, call in zip(found, calls, strict=True):
            begun = time.perf_counter()
            call()
            times_of.append((time.perf_counter() - begun) * 1000)
    return [statistics.median(one) for one in found]


def main() -> None:
    with psycopg.connect("dbname=postgres", autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0 ENCODING 'UTF8'")
        with psycopg.connect(f"dbname={DATABASE}", autocommit=True) as db:
            db.execute("CREATE EXTENSION wallet")
            db.execute(PRICES)
            db.execute("SELECT wallet.create_wallet('acme')")
            db.execute("SELECT wallet.fund('acme', 1000)")
        with (
            LLMockServer() as server,
            ConnectionPool(f"dbname={DATABASE}", open=True) as pool,
            openai.OpenAI(base_url=server.base_url("openai"), api_key="x") as plain,
        ):
            wallet = Wallet(pool, "acme")
            wrapped = wrap(plain, wallet)

            def ask(client: openai.OpenAI) -> Any:
                return client.chat.completions.create(model="gpt-4o", messages=MESSAGES)

            def request() -> None:
                with wallet.request(amount="0.01") as r:
                    r.settle(amount="0.01")

            calls = (lambda: ask(plain), lambda: ask(wrapped), request)
            medians(*calls, times=50)
            without, within, alone = medians(*calls)
            print(f"a call without the wallet   {without:6.2f} ms")
            print(f"a wrapped call              {within:6.2f} ms")
            print(f"hold and settle alone       {alone:6.2f} ms")
        admin.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


if __name__ == "__main__":
    main()
