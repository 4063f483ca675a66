"""Which wallet, user, team and tags a request to the proxy has: from the environment.

A source is a list of paths, separated by commas; the first that leads to something counts.

    key.user_id          an attribute of the proxy's key (UserAPIKeyAuth)
    key.metadata.wallet  a member of its metadata
    request.user         a member of the request, which the client has written
    header.x-app         a header of the request, which the client has written
    =acme                these words

`WALLET_LITELLM_WALLET=key.metadata.wallet,key.team_id` takes the wallet from the key's metadata, or
the wallet of its team where it names none.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from .. import choices

_PREFIX = "WALLET_LITELLM_"


@dataclass(frozen=True)
class Settings:
    """The settings of `WalletLogger`; each has an environment variable `WALLET_LITELLM_…`.

    database: the connection string; empty means PGHOST, PGDATABASE and so on.
    wallet, user, team, key, service, tags: sources. Tags are `name=source` pairs with semicolons
        between them, or one source of a list of texts such as `env:prod`.
    model: whose name is priced: that of the "deployment" that answered, or of the "group" that
        was asked for. `model_info.wallet_model` of a deployment comes first.
    provider: "deployment" says the deployment's provider, so that prices of one provider alone
        count for it; "none" says none, and prices of any provider count.
    unmapped: what becomes of a request that no wallet is found for: "refuse" or "pass".
    unmetered: what becomes of kinds of calls that are not charged and cost something, such as
        batches, videos and realtime sessions: "refuse" or "pass".
    fail, spool: as of `AsyncWallet`.
    ttl, longest, on_expiry, approval, poll: as of `RequestOptions`.
    idempotency_key: source of the key of hold and settlement. A request whose hold waited for
        approval goes on with the same key. Without one every request is a new one.
    grace: seconds to wait for LiteLLM's own count of a stream that broke.
    output_tokens: the estimate of a request without a maximum.
    """

    database: str = ""
    pool_size: int = 16
    wallet: str = "key.metadata.wallet,key.team_metadata.wallet,key.team_id,key.user_id"
    user: str = "key.user_id"
    team: str = "key.team_id"
    key: str = ""
    service: str = ""
    tags: str = "key.metadata.tags"
    model: Literal["deployment", "group"] = "deployment"
    provider: Literal["none", "deployment"] = "none"
    unmapped: Literal["refuse", "pass"] = "refuse"
    unmetered: Literal["refuse", "pass"] = "refuse"
    fail: Literal["closed", "open"] = "closed"
    spool: str | None = None
    ttl: float = 600
    longest: float = 3600
    on_expiry: Literal["release", "charge"] = "release"
    approval: Literal["raise", "wait"] = "raise"
    poll: float = 2
    idempotency_key: str = "header.x-wallet-idempotency-key"
    grace: float = 10
    output_tokens: int = 4096
    timeout: float = 10

    def __post_init__(self) -> None:
        choices.check(self)
        if self.on_expiry == "charge" and self.fail == "open":
            raise ValueError('on_expiry "charge" needs fail "closed"')

    @classmethod
    def from_environment(cls, given: Mapping[str, Any] | None = None) -> Settings:
        """From `WALLET_LITELLM_…`. `given` is `litellm_settings.wallet_params` and comes first."""
        unknown = set(given or {}) - set(vars(cls()))
        if unknown:
            raise ValueError(f"wallet_params has no {', '.join(sorted(unknown))}")
        found: dict[str, Any] = {}
        for name, default in vars(cls()).items():
            value = (given or {}).get(name, os.environ.get(_PREFIX + name.upper()))
            if value is not None:
                kind = type(default) if default is not None else str
                found[name] = kind(value)
        return cls(**found)


@dataclass(frozen=True)
class Origin:
    """Where sources lead into."""

    key: Any
    request: Mapping[str, Any]

    def find(self, source: str) -> Any:
        """What the first path that leads to something leads to; None for none."""
        for path in source.split(","):
            found = self._follow(path.strip())
            if found not in (None, "", [], {}):
                return found
        return None

    def text(self, source: str) -> str | None:
        found = self.find(source)
        return None if found is None else str(found)

    def tags(self, source: str) -> dict[str, str] | None:
        """`name=source` pairs, or a source of a list or an object."""
        found: dict[str, str] = {}
        for part in filter(None, (one.strip() for one in source.split(";"))):
            name, equals, path = part.partition("=")
            if equals and name:
                value = self.text(path)
                if value is not None:
                    found[name] = value
            else:
                found.update(_named(self.find(part)))
        return found or None

    def _follow(self, path: str) -> Any:
        if path.startswith("="):
            return path[1:]
        head, _, rest = path.partition(".")
        if head == "header":
            headers = _member(_member(self.request, "proxy_server_request"), "headers")
            return _member(headers, rest.lower())
        value: Any = {"key": self.key, "request": self.request}.get(head)
        for name in filter(None, rest.split(".")):
            value = _member(value, name)
        return value


def _member(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return cast("Any", value.get(name))
    return getattr(value, name, None)


def _named(value: Any) -> dict[str, str]:
    """LiteLLM's tags are texts: `env:prod` is the tag env, `beta` the tag beta."""
    if isinstance(value, Mapping):
        return {str(name): str(item) for name, item in value.items()}
    if isinstance(value, str):
        value = [value]
    found = {}
    for one in value if isinstance(value, (list, tuple)) else ():
        name, colon, rest = str(one).partition(":")
        found[name] = rest if colon else "true"
    return found
