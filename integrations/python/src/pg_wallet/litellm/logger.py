"""`WalletLogger`: the callback of LiteLLM's proxy that holds, settles and releases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import litellm
from litellm.integrations.custom_logger import CustomLogger
from litellm.proxy._types import ProxyException
from psycopg_pool import AsyncConnectionPool

from ..aio import AsyncWallet
from ..aio_request import AsyncRequest
from ..calls import new_key
from ..errors import InvalidUsage, PriceNotFound, WalletError
from ..lifetime import RequestOptions
from ..results import plain
from ..wrap import anthropic, openai, read
from ..wrap.endpoint import Endpoint, UsageOrStream
from ..wrap.options import WrapOptions
from ..wrap.paths import not_metered
from . import kinds
from .config import Origin, Settings
from .refusals import refusal
from .tracked import Tracked

# Where a request carries the name under which it is tracked: LiteLLM hands these to the hooks.
_MARK = "pg_wallet_call"


class WalletLogger(CustomLogger):  # type: ignore[misc,unused-ignore]
    """Use it as `callbacks: pg_wallet.litellm.handler` in the proxy's config.yaml."""

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__()
        self._settings = settings
        self._wallet: AsyncWallet | None = None
        self._opening = asyncio.Lock()
        self._endpoints: Mapping[str, Endpoint] = {}
        self._calls: dict[str, Tracked] = {}

    @property
    def settings(self) -> Settings:
        if self._settings is None:
            given = getattr(litellm, "wallet_params", None)
            self._settings = Settings.from_environment(given)
        return self._settings

    async def _opened(self) -> AsyncWallet:
        """The wallet's client; its pool is opened by the first request."""
        async with self._opening:
            if self._wallet is None:
                settings = self.settings
                pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
                    settings.database,
                    min_size=1,
                    max_size=settings.pool_size,
                    timeout=settings.timeout,
                    open=False,
                )
                await pool.open()
                self._wallet = AsyncWallet(
                    pool, "", fail=settings.fail, spool=settings.spool, actor="litellm"
                )
                options = WrapOptions(output_tokens=settings.output_tokens)
                self._endpoints = {
                    **openai.endpoints(options, "openai"),
                    **anthropic.endpoints(options, "anthropic"),
                }
            return self._wallet

    async def close(self) -> None:
        """Closes the pool."""
        if self._wallet is not None:
            await self._wallet.pool.close()
            self._wallet = None

    # Before the call.

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> dict[str, Any] | None:
        """Holds the estimate; a refusal reaches the client."""
        data.pop(_MARK, None)  # a client's own word must not name the call of another one
        kind = str(getattr(call_type, "value", call_type))
        path = kinds.endpoint(kind)
        if _tracked_by(data) in self._calls:
            return None
        if path is None:
            if self.settings.unmetered == "refuse" and not kinds.is_free(kind):
                raise refusal(not_metered(f'"{kind}"'))
            return None
        base = await self._opened()
        origin = Origin(user_api_key_dict, data)
        settings = self.settings
        name = origin.text(settings.wallet)
        if name is None:
            if settings.unmapped == "pass":
                return None
            raise ProxyException(
                message="no wallet for this key", type="wallet_not_found", param=None, code=403
            )
        wallet = base.bind(
            wallet=name,
            user_id=origin.text(settings.user),
            team=origin.text(settings.team),
            key=origin.text(settings.key) if settings.key else None,
            service=origin.text(settings.service) if settings.service else None,
            tags=origin.tags(settings.tags),
        )
        try:
            key = origin.text(settings.idempotency_key)
            if key is not None:
                # Clients choose it: each user has keys of its own.
                key = f"{wallet.attribution.user_id or ''}/{key}"
            await self._hold(wallet, self._endpoints[path], data, key)
        except WalletError as error:
            raise refusal(error) from error
        return None

    async def _hold(
        self, wallet: AsyncWallet, endpoint: Endpoint, data: dict[str, Any], key: str | None
    ) -> None:
        settings = self.settings
        files = {"file": data["file"]} if data.get("file") is not None else None
        try:
            prepared = endpoint.prepare(dict(data), files, bool(data.get("stream")))
        except ValueError as error:
            raise InvalidUsage(str(error)) from error
        options = RequestOptions(
            ttl=settings.ttl,
            longest=settings.longest,
            on_expiry=settings.on_expiry,
            approval=settings.approval,
            poll=settings.poll,
        )
        mark = new_key()
        context: Any = {
            "idempotency_key": f"litellm/{key or mark}",
            "metadata": {"litellm_call_id": str(data.get("litellm_call_id"))},
        }
        priced = self._asked(data)
        for number, estimate in enumerate(prepared.estimates, 1):
            meters = {n: v for n, v in estimate.items() if n != "provider"}
            held = {**meters, **priced}
            request: AsyncRequest = wallet.request(held, options=options, **context)
            try:
                await request.open()
            except PriceNotFound:
                if number == len(prepared.estimates):
                    raise
                continue
            break
        tracked = Tracked(
            wallet,
            request,
            endpoint,
            prepared,
            held,
            settings.grace,
            lambda: self._forget_later(mark),
        )
        self._calls[mark] = tracked
        _mark(data, mark)
        # A request of which no hook ever says what became of it.
        tracked.release_later(settings.longest)

    def _forget_later(self, mark: str) -> None:
        """Hooks that come late still find the call, for a while."""
        asyncio.get_running_loop().call_later(60, self._calls.pop, mark, None)

    # After it.

    async def async_post_call_success_hook(
        self, data: dict[str, Any], user_api_key_dict: Any, response: Any
    ) -> Any:
        """The answer to a request that is no stream: settled here, its headers have the cost."""
        tracked = self._calls.get(_tracked_by(data))
        if tracked is not None and not _is_stream(response):
            details = getattr(data.get("litellm_logging_obj"), "model_call_details", {})
            await tracked.succeeded(self._usage(tracked, response, details))

    async def async_log_success_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        tracked = self._calls.get(_tracked_by(kwargs))
        if tracked is not None:
            await tracked.succeeded(self._usage(tracked, response_obj, kwargs))

    async def async_log_failure_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """An attempt has failed. Another may follow: the hold waits for it."""
        tracked = self._calls.get(_tracked_by(kwargs))
        if tracked is not None:
            tracked.release_later(max(120.0, self.settings.grace))

    async def async_post_call_failure_hook(
        self,
        request_data: dict[str, Any],
        original_exception: Exception,
        user_api_key_dict: Any,
        traceback_str: str | None = None,
    ) -> None:
        """The request has failed, after all retries and fallbacks."""
        tracked = self._calls.get(_tracked_by(request_data))
        if tracked is not None:
            await tracked.failed(original_exception)

    async def async_post_call_streaming_iterator_hook(
        self, user_api_key_dict: Any, response: Any, request_data: dict[str, Any]
    ) -> AsyncGenerator[Any, None]:
        """Follows a stream: what it has delivered is settled however it ends."""
        tracked = self._calls.get(_tracked_by(request_data))
        if tracked is None:
            async for chunk in response:
                yield chunk
            return
        tracked.streams = True
        error: BaseException | None = None
        try:
            async for chunk in response:
                for event in _events(chunk):
                    if tracked.meter is not None:
                        tracked.meter.see(event)
                yield chunk
        except BaseException as raised:
            error = raised
            raise
        finally:
            await tracked.stream_ended(error)

    async def async_post_call_response_headers_hook(
        self,
        data: dict[str, Any],
        user_api_key_dict: Any,
        response: Any,
        request_headers: dict[str, str] | None = None,
        litellm_call_info: dict[str, Any] | None = None,
    ) -> dict[str, str] | None:
        tracked = self._calls.get(_tracked_by(data))
        if tracked is None or response is None:
            return None
        if tracked.charge is not None:
            return tracked.charge.headers()
        # A stream: its cost is known at its end, after the headers.
        headers = {"X-Model": str(tracked.estimate["model"])}
        if tracked.request.hold is not None:
            headers["X-Wallet-Balance"] = plain(tracked.request.hold.balance)
        return headers

    # Models and usage.

    def _asked(self, data: Mapping[str, Any]) -> dict[str, str]:
        """Model and provider by which the request is priced before it is known who answers it."""
        asked = str(data.get("model") or "")
        deployments = _deployments(asked)
        if not deployments:
            return {"model": asked}
        info = deployments[0].get("model_info") or {}
        parameters = deployments[0].get("litellm_params") or {}
        model, provider = _split(str(parameters.get("model") or asked))
        name = asked if self.settings.model == "group" else str(info.get("wallet_model") or model)
        return {"model": name, **self._provider(provider)}

    def _answered(self, tracked: Tracked, details: Mapping[str, Any]) -> dict[str, str]:
        """Model and provider by which the answer is priced."""
        name = str(tracked.estimate["model"])
        if self.settings.model != "group":
            info = (details.get("litellm_params") or {}).get("model_info") or {}
            model = _split(str(details.get("model") or name))[0]
            name = str(info.get("wallet_model") or model)
        return {"model": name, **self._provider(details.get("custom_llm_provider"))}

    def _provider(self, provider: Any) -> dict[str, str]:
        if self.settings.provider == "none" or not provider:
            return {}
        return {"provider": str(provider)}

    def _usage(
        self, tracked: Tracked, response: Any, details: Mapping[str, Any]
    ) -> UsageOrStream | None:
        usage = tracked.endpoint.used(tracked.prepared, response) or read.usage_of(response)
        if not isinstance(usage, dict):
            return None
        usage = {**usage, **self._answered(tracked, details)}
        said = usage.get("usage")
        if isinstance(said, dict):
            # The cost is the wallet's, not LiteLLM's.
            usage["usage"] = {name: value for name, value in said.items() if name != "cost"}
            if "prompt_tokens" in said:
                # LiteLLM writes the usage of every provider as that of a chat.
                usage = {n: v for n, v in usage.items() if n not in ("object", "output", "type")}
        return usage


def _mark(data: dict[str, Any], mark: str) -> None:
    details = getattr(data.get("litellm_logging_obj"), "model_call_details", None)
    if details is not None:
        details[_MARK] = mark
    # The proxy takes the logging object out of a request that has failed.
    request = data.setdefault("proxy_server_request", {})
    if isinstance(request, dict):
        request[_MARK] = mark


def _tracked_by(data: Mapping[str, Any]) -> str:
    """The mark of a request, or of the details of one of its attempts."""
    details = getattr(data.get("litellm_logging_obj"), "model_call_details", None) or {}
    request = data.get("proxy_server_request") or {}
    return str(data.get(_MARK) or details.get(_MARK) or request.get(_MARK) or "")


def _is_stream(response: Any) -> bool:
    return hasattr(response, "__aiter__") or hasattr(response, "__anext__")


def _deployments(model: str) -> list[dict[str, Any]]:
    try:
        from litellm.proxy.proxy_server import llm_router
    except ImportError:
        return []
    if llm_router is None:
        return []
    return [dict(one) for one in llm_router.get_model_list(model_name=model) or []]


def _split(model: str) -> tuple[str, str | None]:
    """A model without LiteLLM's prefix for the provider, and the provider."""
    try:
        name, provider, *_ = litellm.get_llm_provider(model)
        return str(name), str(provider)
    except Exception:  # of a name that LiteLLM does not know
        return model, None


def _events(chunk: Any) -> list[Any]:
    """The events of a chunk: an object, or lines of a stream as the provider sent them."""
    if isinstance(chunk, bytes):
        chunk = chunk.decode("utf-8", "replace")
    if not isinstance(chunk, str):
        return [chunk]
    return [event for line in chunk.splitlines() if (event := read.event_of(line)) is not None]


handler = WalletLogger()
