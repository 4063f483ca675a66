"""A call of a wrapped client, without I/O: what is held, what is settled, who gets to see it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from ..lifetime import Lifetime
from ..results import Charge
from . import anthropic, openai, paths
from .endpoint import Endpoint, Prepared, UsageOrStream
from .options import WrapOptions

_RAW = "x-stainless-raw-response"


class Receipt:
    """`response.wallet`: what the call cost. Of a stream it is filled in when the stream ends."""

    def __init__(self, request: Lifetime) -> None:
        self._request = request

    @property
    def charge(self) -> Charge | None:
        """What was booked; None before that, and where nothing was used."""
        return self._request.charge

    @property
    def cost(self) -> Any:
        return self.charge.cost if self.charge else None

    @property
    def balance(self) -> Any:
        return self.charge.balance if self.charge else None

    @property
    def entry_id(self) -> Any:
        return self.charge.entry_id if self.charge else None

    @property
    def headers(self) -> dict[str, str]:
        return self._request.headers()

    def __repr__(self) -> str:
        return f"Receipt({self.charge!r})"


class Provider:
    """The endpoints of a client."""

    def __init__(self, client: Any, options: WrapOptions) -> None:
        self.options = options
        self.module = next(
            (
                cls.__module__.split(".")[0]
                for cls in type(client).__mro__
                if cls.__module__.split(".")[0] in ("openai", "anthropic")
            ),
            None,
        )
        if self.module is None:
            raise TypeError(f"{type(client).__name__} is no client of openai or anthropic")
        self.endpoints: Mapping[str, Endpoint]
        if self.module == "openai":
            azure = "Azure" in type(client).__name__
            self.endpoints = openai.endpoints(options, "azure" if azure else "openai")
        else:
            self.endpoints = anthropic.endpoints(options, "anthropic")

    def endpoint(self, path: str) -> Endpoint | None:
        """The endpoint of a POST; None for one that goes through. Others are refused."""
        found = self.endpoints.get(path.split("?")[0])
        if found is None:
            self.check(path)
        return found

    def check(self, path: str) -> None:
        """Refuses a POST that costs something which its answer does not say."""
        assert self.module is not None
        if self.options.unmetered == "refuse" and not paths.is_free(self.module, path):
            raise paths.not_metered(f'"{path}"')


class Call:
    """One call, from its arguments to its settlement."""

    def __init__(
        self, provider: Provider, endpoint: Endpoint, path: str, arguments: dict[str, Any]
    ) -> None:
        self.options = provider.options
        self.endpoint = endpoint
        self.arguments = arguments
        given = arguments.get("body")
        options = dict(arguments.get("options") or {})
        # The SDK sends the members of `extra_body` with the others, which they replace.
        extra = options.pop("extra_json", None)
        parts = [part for part in (given, extra) if isinstance(part, Mapping)]
        merged = {name: value for part in parts for name, value in part.items()}
        body = {name: value for name, value in merged.items() if _is_given(value)}
        self.streams = bool(arguments.get("stream"))
        self.headers = {
            str(name).lower(): value for name, value in (options.get("headers") or {}).items()
        }
        self.raw = self.headers.get(_RAW)
        if self.raw == "stream" and not self.streams and path != "/audio/speech":
            raise paths.not_metered("with_streaming_response without stream=True")
        if bool(body.get("stream")) != self.streams:
            raise paths.not_metered("a stream that only extra_body asks for")
        self.prepared: Prepared = endpoint.prepare(body, arguments.get("files"), self.streams)
        if not self.prepared.model:
            raise paths.not_metered("a call that names no model")
        self.arguments.update(body=self.prepared.body, options=options)
        self._next = 0

    def context(self) -> dict[str, Any]:
        """What the hold says of the request."""
        context: dict[str, Any] = {"model": self.prepared.model}
        tier = self.prepared.service_tier
        if isinstance(tier, str) and tier not in ("auto", "default"):
            context["service_tier"] = tier
        key = self.headers.get("idempotency-key")
        if isinstance(key, str):
            context["idempotency_key"] = key
        if self.options.lower and self.prepared.maximum is not None:
            context["allow_partial"] = True
        return context

    def next_estimate(self) -> tuple[dict[str, Any], bool]:
        """An estimate, and whether there is another if this one has no price."""
        estimate = self.prepared.estimates[self._next]
        self._next += 1
        return estimate, self._next < len(self.prepared.estimates)

    def affordable(self, request: Lifetime) -> bool:
        """Lowers the maximum to what the hold pays for; False where that is nothing."""
        hold = request.hold
        if not self.options.lower or hold is None or self.prepared.maximum is None:
            return True
        tokens = hold.affordable_tokens
        wanted = self.prepared.estimates[self._next - 1]["output_tokens"]
        if tokens is None or tokens >= wanted:
            return True
        if tokens < 1:
            return False
        self.prepared.lowered(int(tokens))
        return True

    def used(self, response: Any) -> tuple[UsageOrStream, bool]:
        """What to settle with, and whether the provider has said so."""
        said = self.endpoint.used(self.prepared, response)
        if said is not None:
            return said, True
        counted = self.endpoint.count(self.prepared, response)
        return (self.told() if counted is None else counted), False

    def told(self) -> UsageOrStream:
        """What the request alone tells of its use."""
        return self.prepared.told(self._next - 1)

    def was_answered(self, error: BaseException) -> bool:
        """Whether an error is about an answer that the provider has given, and bills."""
        status = getattr(getattr(error, "response", None), "status_code", None)
        return (isinstance(status, int) and 200 <= status < 300) or isinstance(
            error, json.JSONDecodeError
        )

    def ended(self) -> tuple[UsageOrStream, bool] | None:
        """What a stream has used when it ends in any way; None for nothing."""
        assert self.prepared.meter is not None
        found = self.prepared.meter.usage()
        if found is None:
            return None
        usage, exact = found
        return (self.told(), False) if usage is None else (usage, exact)


def counted(exact: bool) -> dict[str, str] | None:
    """The metadata of an entry whose numbers are not the provider's."""
    return None if exact else {"usage": "counted by the client"}


def attach(response: Any, receipt: Receipt) -> None:
    """Sets `response.wallet`, past pydantic: no dump of the response has it."""
    with contextlib.suppress(AttributeError, TypeError):  # a text has no attributes
        object.__setattr__(response, "wallet", receipt)


def _is_given(value: Any) -> bool:
    return type(value).__name__ not in ("NotGiven", "Omit")
