"""The hooks of the LiteLLM callback, in every order and any number of times."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import DATABASE, Ledger
from litellm.proxy._types import ProxyException
from litellm.types.utils import CallTypes
from psycopg_pool import AsyncConnectionPool

from pg_wallet import AsyncWallet, WalletUnreachable
from pg_wallet.litellm import Settings, WalletLogger, kinds, tracked
from pg_wallet.litellm.config import Origin

USAGE = {"prompt_tokens": 1000, "completion_tokens": 1500, "total_tokens": 2500}
RESPONSE = {"object": "chat.completion", "model": "gpt-4o-2024-08-06", "usage": USAGE}
COST = Decimal("0.0175")


class Call:
    """One request as the proxy hands it to the hooks."""

    def __init__(self, logger: WalletLogger, wallet: str, stream: bool = False) -> None:
        self.logger = logger
        self.key = SimpleNamespace(
            metadata={"wallet": wallet}, team_id=None, user_id="alice", team_metadata=None
        )
        self.details: dict[str, Any] = {"model": "gpt-4o"}
        self.data: dict[str, Any] = {
            "model": "gpt-4o",
            "messages": [{"role": "user", "content": "Hello"}],
            "litellm_call_id": "id",
            "litellm_logging_obj": SimpleNamespace(model_call_details=self.details),
            "stream": stream,
        }

    async def pre(self) -> None:
        await self.logger.async_pre_call_hook(self.key, None, self.data, "acompletion")

    async def success(self) -> None:
        await self.logger.async_log_success_event(self.details, RESPONSE, None, None)

    async def post_success(self) -> None:
        await self.logger.async_post_call_success_hook(self.data, self.key, RESPONSE)

    async def failure(self) -> None:
        await self.logger.async_log_failure_event(self.details, None, None, None)

    async def post_failure(self) -> None:
        data = {n: v for n, v in self.data.items() if n != "litellm_logging_obj"}
        await self.logger.async_post_call_failure_hook(data, ValueError("x"), self.key)

    async def headers(self) -> dict[str, str] | None:
        return await self.logger.async_post_call_response_headers_hook(
            self.data, self.key, RESPONSE
        )

    async def stream(self, chunks: int, end: BaseException | None = None) -> None:
        async def source() -> AsyncIterator[Any]:
            for _ in range(chunks):
                yield {"choices": [{"delta": {"content": "word "}}]}
            if end is not None:
                raise end

        iterator = self.logger.async_post_call_streaming_iterator_hook(
            self.key, source(), self.data
        )
        try:
            async for _ in iterator:
                pass
        except (ValueError, asyncio.CancelledError):
            pass


@pytest.fixture
async def logger(conninfo: str) -> AsyncIterator[WalletLogger]:
    logger = WalletLogger(Settings(database=f"dbname={DATABASE}", grace=0.2))
    yield logger
    await logger.close()


async def test_hooks_in_every_order_book_once(
    logger: WalletLogger, name: str, ledger: Ledger
) -> None:
    hooks = ("success", "post_success", "failure", "post_failure")
    expected = 0
    for count in range(1, 5):
        for order in itertools.permutations(hooks, count):
            call = Call(logger, name)
            await call.pre()
            for hook in order:
                await getattr(call, hook)()
                await getattr(call, hook)()
            succeeded = "success" in order or "post_success" in order
            expected += succeeded
            if order == ("failure",):
                await call.post_failure()
            assert ledger.charges() == [COST] * expected, order
            assert "open" not in ledger.holds(), order
            if succeeded:
                headers = await call.headers()
                assert headers is not None
                assert headers["X-Usage-Cost"] == "0.0175"


async def test_hooks_at_the_same_time_book_once(
    logger: WalletLogger, name: str, ledger: Ledger
) -> None:
    calls = [Call(logger, name) for _ in range(30)]
    await asyncio.gather(*(call.pre() for call in calls))
    hooks: list[Any] = [call.success() for call in calls for _ in range(3)]
    hooks += [call.post_success() for call in calls]
    hooks += [call.post_failure() for call in calls]
    random.shuffle(hooks)
    await asyncio.gather(*hooks)
    assert ledger.charges() == [COST] * 30
    assert ledger.held() == 0


async def test_streams_book_once_whatever_comes_first(
    logger: WalletLogger, name: str, ledger: Ledger
) -> None:
    first = Call(logger, name, stream=True)
    await first.pre()
    await asyncio.gather(first.stream(3), first.success())
    await first.success()
    assert ledger.charges() == [COST]
    broken = Call(logger, name, stream=True)
    await broken.pre()
    await broken.stream(3, ValueError("the provider"))
    await broken.post_failure()
    left = Call(logger, name, stream=True)
    await left.pre()
    await left.stream(3, asyncio.CancelledError())
    await asyncio.sleep(0.5)  # nobody else says what was used
    assert ledger.holds() == ["settled"] * 3
    counted = left.logger._calls  # the calls are still found by late hooks
    assert len(counted) == 3
    await left.success()
    await broken.success()
    assert len(ledger.charges()) == 3


async def test_a_stream_that_nobody_reads_is_released(
    logger: WalletLogger, name: str, ledger: Ledger
) -> None:
    call = Call(logger, name, stream=True)
    await call.pre()
    await call.stream(0, asyncio.CancelledError())
    await asyncio.sleep(0.5)
    assert (ledger.holds(), ledger.charges()) == (["voided"], [])


@pytest.mark.parametrize("after_void", [False, True])
async def test_a_settlement_that_is_not_delivered_is_tried_again(
    logger: WalletLogger,
    name: str,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    after_void: bool,
) -> None:
    monkeypatch.setattr(tracked, "_PAUSES", (0.05, 0.05, 0.05, 0.05))
    run, left = AsyncWallet._run, [3]

    async def broken(self: AsyncWallet, statement: Any, *arguments: Any) -> Any:
        if statement.function in ("settle", "charge") and left[0] > 0:
            left[0] -= 1
            raise WalletUnreachable("no connection", sent=False)
        return await run(self, statement, *arguments)

    call = Call(logger, name)
    await call.pre()
    monkeypatch.setattr(AsyncWallet, "_run", broken)
    if after_void:
        await call.post_failure()
    await call.success()
    await call.post_failure()  # comes too late to release
    for _ in range(100):
        if ledger.charges():
            break
        await asyncio.sleep(0.05)
    await call.success()
    assert ledger.charges() == [COST]
    assert ledger.holds() == ["voided" if after_void else "settled"]


async def test_a_settlement_that_is_never_delivered_leaves_its_hold(
    logger: WalletLogger, name: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracked, "_PAUSES", (0.05,))
    call = Call(logger, name)
    await call.pre()
    run = AsyncWallet._run

    async def broken(self: AsyncWallet, statement: Any, *arguments: Any) -> Any:
        if statement.function == "settle":
            raise WalletUnreachable("no connection", sent=False)
        return await run(self, statement, *arguments)

    monkeypatch.setattr(AsyncWallet, "_run", broken)
    await call.success()
    await asyncio.sleep(0.3)
    # It was not released: the provider has been paid.
    assert (ledger.holds(), ledger.charges()) == (["open"], [])


async def test_hooks_of_streams_in_every_order_book_once(
    logger: WalletLogger, name: str, ledger: Ledger
) -> None:
    """A stream that ends, breaks or is left, and the other hooks before and after it."""
    hooks = ("stream", "success", "failure", "post_failure")
    calls = []
    for end in (None, ValueError("the provider"), asyncio.CancelledError()):
        for order in itertools.permutations(hooks):
            call = Call(logger, name, stream=True)
            calls.append((order, end))
            await call.pre()
            for hook in order:
                await (call.stream(3, end) if hook == "stream" else getattr(call, hook)())
            await call.success()
            await call.post_failure()
    await asyncio.sleep(0.5)
    assert "open" not in ledger.holds()
    # LiteLLM has said of each what was used, and each is booked once, whoever came first.
    assert len(ledger.charges()) == len(calls)
    assert ledger.held() == 0


async def test_refusals_have_the_status_of_their_kind(
    logger: WalletLogger, name: str, ledger: Ledger
) -> None:
    ledger.one("SELECT wallet.set_limit(%s, 0.001, 'hour')", name)
    with pytest.raises(ProxyException) as refused:
        await Call(logger, name).pre()
    assert (str(refused.value.code), refused.value.type) == ("429", "limit_exceeded")
    assert int(refused.value.headers["Retry-After"]) <= 3601
    with pytest.raises(ProxyException) as refused:
        await Call(logger, "no-such-wallet").pre()
    assert str(refused.value.code) == "403"
    call = Call(logger, "")
    call.key.user_id = None
    with pytest.raises(ProxyException, match="no wallet"):
        await call.pre()


async def test_without_the_database_calls_are_refused_or_spooled(
    conninfo: str, name: str, tmp_path: Path, ledger: Ledger
) -> None:
    nowhere = f"host={tmp_path} dbname=none"
    closed = WalletLogger(Settings(database=nowhere, timeout=0.2))
    with pytest.raises(ProxyException) as refused:
        await Call(closed, name).pre()
    assert str(refused.value.code) == "503"
    await closed.close()
    spool = str(tmp_path / "spool")
    opened = WalletLogger(Settings(database=nowhere, timeout=0.2, fail="open", spool=spool))
    call = Call(opened, name)
    await call.pre()
    await call.post_success()
    await call.success()
    assert await call.headers() == {}
    await opened.close()
    async with AsyncConnectionPool(conninfo, open=False) as pool:
        wallet = AsyncWallet(pool, "any", fail="open", spool=spool)
        assert (await wallet.flush_spool()).booked == 1
    assert ledger.charges() == [COST]
    sql = "SELECT user_id FROM wallet.entries WHERE wallet = %s AND kind = 'charge'"
    assert ledger.one(sql, name) == "alice"


async def test_the_provider_of_the_deployment_can_choose_the_price(
    conninfo: str, name: str, ledger: Ledger
) -> None:
    for provider, unit in (("azure", 2), ("openai", 1)):
        for meter in ("input_tokens", "output_tokens"):
            ledger.one(
                "SELECT wallet.set_price('twice', %s, %s, per => 1000000, provider => %s, "
                "effective_from => '2024-01-01')",
                meter,
                unit,
                provider,
            )
    logger = WalletLogger(Settings(database=f"dbname={DATABASE}", provider="deployment"))
    for provider in ("azure", "openai"):
        call = Call(logger, name)
        call.data["model"] = call.details["model"] = "twice"
        call.details["custom_llm_provider"] = provider
        await call.pre()
        await call.success()
    await logger.close()
    assert ledger.charges() == [Decimal("0.005"), Decimal("0.0025")]


# Kinds that start work whose use the answer does not say.
REFUSED = """
    rerank search decisions systemone _arealtime _aresponses_websocket create_batch
    pass_through_endpoint run_thread run_thread_stream create_fine_tuning_job create_video
    video_generation video_remix video_create_character video_edit video_extension
    vector_store_file_create vector_store_create vector_store_search ingest query
    create_interaction create_container create_sandbox run_code code_interpreter_tool
    llm_passthrough_route generate_content generate_content_stream ocr send_message
"""


def test_every_kind_of_call_of_litellm_is_charged_free_or_refused() -> None:
    refused = set(REFUSED.split())
    found = {"acreate_realtime_client_secret", "arealtime_calls", "acreate_run"}
    found |= {one.value for one in CallTypes}
    unknown = set()
    for kind in found:
        if kinds.endpoint(kind) is None and not kinds.is_free(kind):
            if not {kind, kind.removeprefix("a")} & refused:
                unknown.add(kind)
        else:
            assert kind not in refused
    assert unknown == {"acreate_realtime_client_secret", "arealtime_calls", "acreate_run"}


async def test_a_kind_that_is_not_metered_is_refused(
    logger: WalletLogger, name: str, ledger: Ledger
) -> None:
    call = Call(logger, name)
    for kind in ("acreate_batch", "_aresponses_websocket", "a_kind_of_the_future"):
        with pytest.raises(ProxyException) as refused:
            await logger.async_pre_call_hook(call.key, None, call.data, kind)
        assert (str(refused.value.code), refused.value.type) == ("400", "not_metered")
    await logger.async_pre_call_hook(call.key, None, call.data, "aretrieve_batch")
    generous = WalletLogger(Settings(unmetered="pass"))
    await generous.async_pre_call_hook(call.key, None, call.data, "acreate_batch")
    assert ledger.holds() == []


def test_settings_come_from_the_environment_and_the_proxys_config(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WALLET_LITELLM_WALLET", "=acme")
    monkeypatch.setenv("WALLET_LITELLM_GRACE", "3")
    settings = Settings.from_environment({"ttl": 60})
    assert (settings.wallet, settings.grace, settings.ttl) == ("=acme", 3.0, 60.0)
    assert settings.spool is None
    with pytest.raises(ValueError, match="has no walet"):
        Settings.from_environment({"walet": "=acme"})
    with pytest.raises(ValueError, match="on_expiry"):
        Settings(fail="open", spool="s", on_expiry="charge")
    with pytest.raises(ValueError, match="unmetered is 'pas'; it can be 'refuse', 'pass'"):
        Settings(unmetered="pas")  # type: ignore[arg-type]


def test_sources_lead_to_keys_requests_headers_and_words() -> None:
    key = SimpleNamespace(metadata={"wallet": "w", "tags": ["env:prod", "beta"]}, team_id="t")
    request = {"user": "u", "proxy_server_request": {"headers": {"x-app": "chat"}}}
    origin = Origin(key, request)
    assert origin.text("key.metadata.none, key.team_id") == "t"
    assert origin.text("header.X-App") == "chat"
    assert origin.text("request.user") == "u"
    assert origin.text("key.none.none") is None
    assert origin.text("=acme") == "acme"
    assert origin.tags("key.metadata.tags") == {"env": "prod", "beta": "true"}
    assert origin.tags("app=header.x-app; who=request.user") == {"app": "chat", "who": "u"}
