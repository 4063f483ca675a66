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


def median(call: Callable[[], Any], times: int = 300) -> float:
    """Milliseconds."""
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        found.append((time.perf_counter() - begun) * 1000)
    return statistics.median(found)


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

            for client in (plain, wrapped):
                median(lambda client=client: ask(client), 50)  # type: ignore[misc]
            without = median(lambda: ask(plain))
            within = median(lambda: ask(wrapped))
            print(f"a call without the wallet   {without:6.2f} ms")
            print(f"a wrapped call              {within:6.2f} ms")
            print(f"hold and settle alone       {median(request):6.2f} ms")
        admin.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


if __name__ == "__main__":
    main()
