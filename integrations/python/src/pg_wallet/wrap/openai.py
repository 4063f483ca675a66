"""Chat, completions, responses, embeddings and images of OpenAI's SDK."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import paths, read
from .audio import Speech, Transcriptions
from .endpoint import (
    Base,
    Endpoint,
    LastMeter,
    Prepared,
    Usage,
    UsageOrStream,
    contents,
    counted,
    whole,
)
from .options import WrapOptions

# A large image of best quality.
_IMAGE_TOKENS = 6240


class Chat(Base):
    """/chat/completions and /completions."""

    def prepare(self, body: dict[str, Any], files: Any, stream: bool) -> Prepared:
        count, media = self.options.held_tokens, self.options.media_tokens
        prompt = self.input_text(
            body.get("messages"), body.get("prompt"), body.get("tools"), body.get("functions")
        )
        names = ("max_completion_tokens", "max_tokens")
        maximum = next((name for name in names if whole(body, name) is not None), None)
        output = whole(body, maximum or "") or self.options.output_tokens
        choices = whole(body, "n") or 1
        estimate = self.estimate(
            input_tokens=3 + read.input_tokens(prompt, count, media), output_tokens=output * choices
        )
        hidden = False
        if stream:
            asked = body.get("stream_options")
            asked = dict(asked) if isinstance(asked, dict) else {}
            hidden = not asked.get("include_usage")
            body["stream_options"] = {**asked, "include_usage": True}
        used = 3 + read.input_tokens(prompt, self.options.used_tokens, media)
        return Prepared(
            model=self.model(body),
            body=body,
            estimates=[estimate],
            meter=ChatMeter(self.options, used, hidden) if stream else None,
            # With several answers each has the maximum.
            maximum=(maximum or names[0]) if choices == 1 and "messages" in body else None,
            service_tier=body.get("service_tier"),
            prompt=used,
        )

    def used(self, prepared: Prepared, response: Any) -> UsageOrStream | None:
        return read.usage_of(response)

    def count(self, prepared: Prepared, response: Any) -> Usage | None:
        choices = read.get(response, "choices")
        if not choices:
            return None
        texts = [text for choice in choices for text in _texts(choice, "message")]
        return counted(prepared, self.options, texts)


def _texts(choice: Any, name: str) -> list[Any]:
    """The texts of an answer, or of a part of one."""
    message = read.get(choice, name)
    names = ("content", "refusal", "reasoning_content")
    texts = [read.get(message, name) for name in names] + [read.get(choice, "text")]
    calls = read.get(message, "tool_calls") or []
    return texts + [read.get(read.get(call, "function"), "arguments") for call in calls]


class ChatMeter:
    """The last chunk says what was used. Without it, the chunks are counted."""

    def __init__(self, options: WrapOptions, prompt: int, hidden: bool) -> None:
        self.options = options
        self.prompt = prompt
        self.hidden = hidden
        self.said: Usage | None = None
        self.began = False
        self.chunks = 0
        self.tokens = 0

    def see(self, event: Any) -> bool:
        self.began = True
        usage = read.usage_of(event)
        if usage is not None:
            self.said = usage
        choices = read.get(event, "choices") or []
        for choice in choices:
            self._count(_texts(choice, "delta"))
        return not (self.hidden and usage is not None and not choices)

    def _count(self, texts: list[Any]) -> None:
        given = [text for text in texts if isinstance(text, str) and text]
        if given:
            # A chunk is a token, or several.
            self.chunks += 1
            self.tokens += max(1, sum(self.options.used_tokens(text) for text in given))

    def usage(self) -> tuple[UsageOrStream, bool] | None:
        if self.said is not None:
            return self.said, True
        if not self.began:
            return None
        return {"input_tokens": self.prompt, "output_tokens": max(1, self.tokens)}, False


class Responses(Base):
    """/responses."""

    def prepare(self, body: dict[str, Any], files: Any, stream: bool) -> Prepared:
        if body.get("background"):
            raise paths.not_metered("a response in the background")
        count, media = self.options.held_tokens, self.options.media_tokens
        prompt = self.input_text(body.get("input"), body.get("instructions"), body.get("tools"))
        output = whole(body, "max_output_tokens") or self.options.output_tokens
        estimate = self.estimate(
            input_tokens=3 + read.input_tokens(prompt, count, media), output_tokens=output
        )
        used = 3 + read.input_tokens(prompt, self.options.used_tokens, media)
        return Prepared(
            model=self.model(body),
            body=body,
            estimates=[estimate],
            meter=ResponsesMeter(self.options, used, hidden=False) if stream else None,
            maximum="max_output_tokens",
            service_tier=body.get("service_tier"),
            prompt=used,
        )

    def used(self, prepared: Prepared, response: Any) -> UsageOrStream | None:
        return read.usage_of(response)

    def count(self, prepared: Prepared, response: Any) -> Usage | None:
        items = read.get(response, "output")
        if not items:
            return None
        parts = [part for item in items for part in read.get(item, "content") or []]
        texts = [read.get(part, "text") for part in parts]
        texts += [read.get(item, "arguments") for item in items]
        return counted(prepared, self.options, texts)


class ResponsesMeter(ChatMeter):
    """The event that ends the response says what was used."""

    def see(self, event: Any) -> bool:
        self.began = True
        usage = read.usage_of(read.get(event, "response"))
        if usage is not None:
            self.said = usage
        if str(read.get(event, "type")).endswith(".delta"):
            self._count([read.get(event, "delta")])
        return True


class Embeddings(Base):
    """/embeddings."""

    def prepare(self, body: dict[str, Any], files: Any, stream: bool) -> Prepared:
        given = body.get("input")
        many = given if isinstance(given, list) else [given]
        held, used = self.options.held_tokens, self.options.used_tokens
        return Prepared(
            self.model(body),
            body,
            [self.estimate(input_tokens=_tokens_of(many, held))],
            counted=[self.estimate(input_tokens=_tokens_of(many, used))],
        )

    def used(self, prepared: Prepared, response: Any) -> UsageOrStream | None:
        return read.usage_of(response)


def _tokens_of(many: list[Any], count: Callable[[str], int]) -> int:
    """Tokens of texts, of lists of tokens, or of one such list."""
    sizes = (
        count(item) if isinstance(item, str) else len(item) if isinstance(item, list) else 1
        for item in many
    )
    return max(1, sum(sizes))


class Images(Base):
    """/images/generations, /images/edits and /images/variations."""

    def prepare(self, body: dict[str, Any], files: Any, stream: bool) -> Prepared:
        number = whole(body, "n") or 1
        names = {
            name: body[name]
            for name in ("size", "quality")
            if isinstance(body.get(name), str) and body[name] != "auto"
        }
        prompt = self.options.held_tokens(str(body.get("prompt") or ""))
        tokens = self.estimate(
            input_tokens=prompt + self.options.media_tokens * len(contents(files)),
            output_image_tokens=number * _IMAGE_TOKENS,
        )
        return Prepared(
            model=self.model(body),
            body=body,
            estimates=[self.estimate(images=number, **names), tokens],
            meter=LastMeter() if stream else None,
        )

    def used(self, prepared: Prepared, response: Any) -> UsageOrStream | None:
        usage = read.usage_of(response)
        if usage is not None and not read.is_zero(usage["usage"]):
            return usage
        return read.images_of(response, prepared.body)


def endpoints(options: WrapOptions, provider: str) -> dict[str, Endpoint]:
    chat = Chat(options, provider)
    images = Images(options, provider)
    transcriptions = Transcriptions(options, provider)
    return {
        "/chat/completions": chat,
        "/completions": chat,
        "/responses": Responses(options, provider),
        "/responses/compact": Responses(options, provider),
        "/embeddings": Embeddings(options, provider),
        "/images/generations": images,
        "/images/edits": images,
        "/images/variations": images,
        "/audio/speech": Speech(options, provider),
        "/audio/transcriptions": transcriptions,
        "/audio/translations": transcriptions,
    }
