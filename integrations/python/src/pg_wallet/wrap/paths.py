"""What becomes of a POST to a provider: it is charged, costs nothing by itself, or is refused.

A path that is in no list is refused: a newer SDK may have calls that nobody here knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..errors import WalletError


class NotMetered(WalletError):
    """The call has no usage to settle with, so a wrapped client does not make it.

    Make it with the client that was given to `wrap`, and charge what it costs yourself, or wrap
    with `WrapOptions(unmetered="pass")`.
    """


# Calls that start no work of a model, by provider; `{…}` is one part of a path, and `**` the rest.
_FREE = {
    "openai": """
        /moderations /responses/input_tokens /responses/{id}/cancel /chat/completions/{id}
        /conversations /conversations/{id} /conversations/{id}/items
        /files /uploads /uploads/{id}/cancel /uploads/{id}/complete /uploads/{id}/parts
        /batches/{id}/cancel /evals /evals/{id} /evals/{id}/runs/{id}/cancel
        /fine_tuning/alpha/graders/validate /fine_tuning/jobs/{id}/cancel
        /fine_tuning/jobs/{id}/pause /fine_tuning/checkpoints/{id}/permissions
        /vector_stores/{id} /vector_stores/{id}/files/{id}
        /vector_stores/{id}/file_batches/{id}/cancel
        /assistants /assistants/{id} /threads /threads/{id} /threads/{id}/messages
        /threads/{id}/messages/{id} /threads/{id}/runs/{id} /threads/{id}/runs/{id}/cancel
        /containers/{id}/files /skills /skills/{id} /skills/{id}/versions
        /audio/voice_consents /audio/voice_consents/{id}
        /realtime/calls/{id}/hangup /realtime/calls/{id}/refer /realtime/calls/{id}/reject
        /live/sessions/{id}/hangup /live/sessions/{id}/refer /live/sessions/{id}/reject
        /chatkit/sessions/{id}/cancel /agents/automations/{id}/pause
        /vaults /vaults/** /webhook_endpoints /webhook_endpoints/** /organization/** /projects/**
    """,
    "anthropic": """
        /v1/messages/count_tokens /v1/messages/batches/{id}/cancel
        /v1/files /v1/skills /v1/skills/** /v1/agents /v1/agents/**
        /v1/environments /v1/environments/** /v1/memory_stores /v1/memory_stores/**
        /v1/deployments/{id}/archive /v1/deployments/{id}/pause
        /v1/dreams/{id}/archive /v1/dreams/{id}/cancel
        /v1/sessions/{id}/archive /v1/sessions/{id}/threads/{id}/archive
        /v1/user_profiles /v1/user_profiles/** /v1/vaults /v1/vaults/**
        /v1/tunnels /v1/tunnels/** /v1/compliance/** /v1/organizations/**
    """,
}


# An id has a digit, "-" or "_" in it: `/threads/runs` is no thread.
_ID = r"[^/]*[-_\d][^/]*"


def _pattern(path: str) -> str:
    parts = re.split(r"(\{\w+\}|\*\*)", path)
    return "".join(
        _ID if part.startswith("{") else ".+" if part == "**" else re.escape(part) for part in parts
    )


def _any_of(paths: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(_pattern(path) for path in paths))


_PATTERNS = {name: _any_of(paths.split()) for name, paths in _FREE.items()}


def is_free(module: str, path: str) -> bool:
    """Whether a POST to the path of the provider's API costs nothing by itself."""
    return _PATTERNS[module].fullmatch(path.split("?")[0]) is not None


def not_metered(what: str) -> NotMetered:
    """The error for a call that cannot be charged."""
    return NotMetered(
        f"{what} is not metered: its answer does not say what it costs",
        hint='Use the client that was wrapped, or WrapOptions(unmetered="pass").',
    )
