"""What becomes of a kind of call of the proxy: it is charged, costs nothing by itself, or is
refused. LiteLLM calls them `call_type` or `route_type`, with or without an "a" before the name."""

from __future__ import annotations

import re

# Kinds that are charged, and the endpoint whose requests they have.
_CHARGED = {
    "completion": "/chat/completions",
    "text_completion": "/chat/completions",
    "responses": "/responses",
    "compact_responses": "/responses",
    "embedding": "/embeddings",
    "embeddings": "/embeddings",
    "image_generation": "/images/generations",
    "image_edit": "/images/edits",
    "audio_speech": "/audio/speech",
    "speech": "/audio/speech",
    "audio_transcription": "/audio/transcriptions",
    "transcription": "/audio/transcriptions",
    "anthropic_messages": "/v1/messages",
}

# Kinds that read, delete or define something, and start no work of a model.
_FREE = re.compile(
    r"""a?(
        moderation | add_message | get_.* | list_.* | delete_.* | retrieve_.* | cancel_.*
        | (file|video|vector_store_file)_content
        | .*_(retrieve|list|delete|status|retrieve_job|get_character)
        | create_(file|assistants|thread|skill|eval|agent) | update_(eval|agent)
        | vector_store_(file_)?update | upload_container_file | call_mcp_tool
    )""",
    re.VERBOSE,
)


def endpoint(kind: str) -> str | None:
    """The endpoint of a kind that is charged; None of others."""
    return _CHARGED.get(kind) or _CHARGED.get(kind.removeprefix("a"))


def is_free(kind: str) -> bool:
    """Whether a kind costs nothing by itself."""
    return _FREE.fullmatch(kind) is not None or _FREE.fullmatch(kind.removeprefix("a_")) is not None
