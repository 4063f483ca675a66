"""Calls with the oldest SDKs that the package works with. `test_package.py` runs it there."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import anthropic
import httpx
import openai
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from pg_wallet import AsyncWallet, NotMetered, Wallet, wrap

MESSAGES: Any = [{"role": "user", "content": "Hello"}]
CHAT: Any = {"model": "gpt-4o", "messages": MESSAGES, "max_tokens": 20}
CLAUDE: Any = {"model": "claude-sonnet-5", "messages": MESSAGES, "max_tokens": 20}
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def answer(request: httpx.Request) -> httpx.Response:
    if request.url.path.endswith("/messages"):
        usage = {"input_tokens": 10, "output_tokens": 5}
        return httpx.Response(200, json={"type": "message", "content": [], "usage": usage})
    if json.loads(request.read()).get("stream"):
        chunks: list[Any] = [
            {"choices": [{"index": 0, "delta": {"content": "Hello"}}]},
            {"choices": [], "usage": USAGE},
        ]
        lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks] + ["data: [DONE]\n\n"]
        kind = {"content-type": "text/event-stream"}
        return httpx.Response(200, text="".join(lines), headers=kind)
    return httpx.Response(200, json={"object": "chat.completion", "choices": [], "usage": USAGE})


def synchronous(conninfo: str, name: str) -> None:
    # The transport of httpx; newer SDKs have another one.
    http: Any = httpx.Client(transport=httpx.MockTransport(answer))
    with ConnectionPool(conninfo, open=True) as pool:
        wallet = Wallet(pool, name)
        client: Any = wrap(openai.OpenAI(api_key="x", http_client=http), wallet)
        print(client.chat.completions.create(**CHAT).wallet.cost)
        stream = client.chat.completions.create(**CHAT, stream=True)
        print(len(list(stream)), stream.wallet.cost)
        claude: Any = wrap(anthropic.Anthropic(api_key="x", http_client=http), wallet)
        print(claude.messages.create(**CLAUDE).wallet.cost)
        print(claude.with_options(timeout=5).messages.create(**CLAUDE).wallet.cost)
        try:
            claude.messages.batches.create(requests=[])
        except NotMetered:
            print("refused")


async def asynchronous(conninfo: str, name: str) -> None:
    http: Any = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    async with AsyncConnectionPool(conninfo, open=False) as pool:
        wallet = AsyncWallet(pool, name)
        client: Any = wrap(openai.AsyncOpenAI(api_key="x", http_client=http), wallet)
        stream = await client.chat.completions.create(**CHAT, stream=True)
        print(len([chunk async for chunk in stream]), stream.wallet.cost)
        claude: Any = wrap(anthropic.AsyncAnthropic(api_key="x", http_client=http), wallet)
        print((await claude.messages.create(**CLAUDE)).wallet.cost)


if __name__ == "__main__":
    synchronous(*sys.argv[1:])
    asyncio.run(asynchronous(*sys.argv[1:]))
