"""The keys of the proxy in the tests: `sk-WALLET` or `sk-WALLET-USER`."""

from typing import Any

from litellm.proxy._types import UserAPIKeyAuth


async def user_api_key_auth(request: Any, api_key: str) -> Any:
    _, wallet, *user = api_key.split("-")
    return UserAPIKeyAuth(
        api_key=api_key,
        user_id=user[0] if user else None,
        team_id="research",
        metadata={"wallet": wallet, "tags": ["env:test"]},
    )
