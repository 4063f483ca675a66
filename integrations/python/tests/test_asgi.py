"""The middleware and the dependency under a real server, with clients that leave."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Annotated, Any

import httpx
import pytest
import uvicorn
from conftest import Ledger
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from psycopg_pool import AsyncConnectionPool

from pg_wallet import AsyncRequest, AsyncWallet
from pg_wallet.fastapi import Charged, Hold, WalletMiddleware, add_wallet_errors, settled

ESTIMATE = {"model": "gpt-4o", "input_tokens": 1000, "output_tokens": 4000}


def charged(request: Request) -> Charged:
    wallet: AsyncWallet = request.app.state.wallet
    bound = wallet.bind(wallet=request.headers["x-wallet"])
    return Charged(bound, ESTIMATE, key=request.headers.get("idempotency-key"))


async def charged_scope(scope: Any) -> Charged | None:
    headers = dict(scope["headers"])
    if b"x-wallet" not in headers:
        return None
    wallet: AsyncWallet = scope["app"].state.wallet
    return Charged(wallet.bind(wallet=headers[b"x-wallet"].decode()), ESTIMATE)


Held = Annotated[AsyncRequest, Depends(Hold(charged))]


def application(conninfo: str) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncConnectionPool(conninfo, open=False) as pool:
            app.state.wallet = AsyncWallet(pool, "")
            yield

    app = FastAPI(lifespan=lifespan)
    add_wallet_errors(app)
    app.add_middleware(WalletMiddleware, charge=charged_scope, paths="/outer/.*")

    async def words(held: AsyncRequest, slow: float) -> AsyncIterator[str]:
        for number in range(1, 101):
            held.use({"input_tokens": 1000, "output_tokens": number})
            yield f"word {number}\n"
            await asyncio.sleep(slow)

    @app.get("/answer")
    async def answer(held: Held, response: Response) -> str:
        await settled(held, response, usage={"input_tokens": 1000, "output_tokens": 450})
        return "Hello"

    @app.get("/slow")
    async def late(held: Held) -> str:
        await asyncio.sleep(0.5)
        await held.settle({"input_tokens": 1000, "output_tokens": 450})
        return "Hello"

    @app.get("/stream")
    async def stream(held: Held, slow: float = 0) -> StreamingResponse:
        return StreamingResponse(words(held, slow))

    @app.get("/outer/stream")
    async def outer(request: Request, slow: float = 0) -> StreamingResponse:
        return StreamingResponse(words(request.state.wallet, slow))

    @app.get("/outer/nothing")
    async def nothing() -> str:
        return "free"

    @app.get("/outer/broken")
    async def broken() -> str:
        raise RuntimeError("broken")

    @app.get("/outer/sleep")
    async def sleep(request: Request) -> str:
        request.state.wallet.use({"input_tokens": 1000, "output_tokens": 1})
        await asyncio.sleep(0.5)
        return "done"

    return app


@pytest.fixture
def url(conninfo: str) -> Iterator[str]:
    config = uvicorn.Config(application(conninfo), port=0, log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(20)


def eventually(condition: Callable[[], bool]) -> None:
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen")


@pytest.mark.parametrize("path", ["/stream", "/outer/stream"])
def test_streams_settle_at_their_end_and_when_the_client_leaves(
    url: str, name: str, ledger: Ledger, path: str
) -> None:
    headers = {"x-wallet": name}
    assert httpx.get(url + path, headers=headers).text.count("word") == 100
    eventually(lambda: ledger.charges() == [Decimal("0.0035")])
    with httpx.stream("GET", f"{url}{path}?slow=0.02", headers=headers) as response:
        for line in response.iter_lines():
            if line == "word 5":
                break
    eventually(lambda: ledger.holds() == ["settled", "settled"])
    assert Decimal("0.0025") < ledger.charges()[1] < Decimal("0.0035")


def test_answers_have_headers_and_refusals_have_a_status(
    url: str, name: str, ledger: Ledger
) -> None:
    headers = {"x-wallet": name}
    answer = httpx.get(f"{url}/answer", headers={**headers, "idempotency-key": "k"})
    assert answer.headers["x-usage-cost"] == "0.007"
    again = httpx.get(f"{url}/answer", headers={**headers, "idempotency-key": "k"})
    assert again.status_code == 409
    ledger.one("SELECT wallet.set_limit(%s, 0.01, 'hour')", name)
    for path in ("/answer", "/outer/nothing"):
        refused = httpx.get(url + path, headers=headers)
        assert refused.status_code == 429
        assert 0 < int(refused.headers["retry-after"]) <= 3601
        assert refused.json()["error"]["code"] == "WL002"
    assert httpx.get(f"{url}/answer", headers={"x-wallet": "none"}).status_code == 403
    assert httpx.get(f"{url}/outer/broken").status_code == 500  # nobody is charged
    assert ledger.charges() == [Decimal("0.007")]


def test_requests_at_once_with_one_key_are_one(url: str, name: str, ledger: Ledger) -> None:
    """A client that chooses the key gets one answer for the price of one."""
    headers = {"x-wallet": name, "idempotency-key": "mine"}
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(httpx.get, f"{url}/slow", headers=headers) for _ in range(8)]
        found = sorted(one.result().status_code for one in asked)
    assert found == [200] + [409] * 7
    assert (ledger.charges(), ledger.holds()) == ([Decimal("0.007")], ["settled"])


def test_what_used_nothing_or_failed_is_released(url: str, name: str, ledger: Ledger) -> None:
    headers = {"x-wallet": name}
    assert httpx.get(f"{url}/outer/nothing", headers=headers).text == '"free"'
    assert httpx.get(f"{url}/outer/broken", headers=headers).status_code == 500
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{url}/outer/sleep", headers=headers, timeout=0.1)
    eventually(lambda: "open" not in ledger.holds())
    assert ledger.holds() == ["voided", "voided", "settled"]
