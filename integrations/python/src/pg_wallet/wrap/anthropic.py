"""Messages of Anthropic's SDK."""

from __future__ import annotations

from typing import Any

from . import read
from .endpoint import Base, Endpoint, Prepared, Usage, UsageOrStream, counted, whole
from .options import WrapOptions


class Messages(Base):
    """/v1/messages."""

    def prepare(self, body: dict[str, Any], files: Any, stream: bool) -> Prepared:
        prompt = self.input_text(body.get("system"), body.get("messages"), body.get("tools"))
        media = self.options.media_tokens
        tokens = read.input_tokens(prompt, self.options.held_tokens, media)
        output = whole(body, "max_tokens") or self.options.output_tokens
        return Prepared(
            model=self.model(body),
            body=body,
            estimates=[self.estimate(input_tokens=8 + tokens, output_tokens=output)],
            meter=MessagesMeter(self.options) if stream else None,
            maximum="max_tokens",
            prompt=8 + read.input_tokens(prompt, self.options.used_tokens, media),
        )

    def used(self, prepared: Prepared, response: Any) -> UsageOrStream | None:
        return read.usage_of(response)

    def count(self, prepared: Prepared, response: Any) -> Usage | None:
        parts = read.get(response, "content")
        if not isinstance(parts, list):
            return None
        names = ("text", "thinking")
        texts = [read.get(part, name) for part in parts for name in names]
        return counted(prepared, self.options, texts)


class MessagesMeter:
    """`message_start` has the input, `message_delta` all of the output so far."""

    def __init__(self, options: WrapOptions) -> None:
        self.options = options
        self.start: Usage | None = None
        self.delta: Usage | None = None
        self.tokens = 0

    def see(self, event: Any) -> bool:
        kind = read.get(event, "type")
        if kind == "message_start":
            self.start = read.usage_of(read.get(event, "message"))
        elif kind == "message_delta":
            self.delta = read.plain(read.get(event, "usage")) or self.delta
        elif kind == "content_block_delta":
            delta = read.get(event, "delta")
            for name in ("text", "thinking", "partial_json"):
                text = read.get(delta, name)
                if isinstance(text, str) and text:
                    self.tokens += max(1, self.options.used_tokens(text))
        return True

    def usage(self) -> tuple[UsageOrStream, bool] | None:
        if self.start is None:
            return None
        said = self.delta
        if said is None:
            # The stream ended before the output was reported.
            reported = self.start["usage"].get("output_tokens") or 0
            said = {"output_tokens": max(1, int(reported), self.tokens)}
        events = [
            {"type": "message_start", "message": self.start},
            {"type": "message_delta", "usage": said},
        ]
        return events, self.delta is not None


def endpoints(options: WrapOptions, provider: str) -> dict[str, Endpoint]:
    return {"/v1/messages": Messages(options, provider)}
