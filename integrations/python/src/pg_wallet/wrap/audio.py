"""Speech, transcriptions and translations of OpenAI's SDK."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from . import read
from .endpoint import Base, LastMeter, Prepared, Usage, UsageOrStream, contents, size_of

# Compressed sounds have at least this many bytes to the second (16 kbit/s), and usually these
# (128 kbit/s).
_FEWEST_BYTES = 2000
_USUAL_BYTES = 16_000
# The last time of a subtitle: `00:01:30,500` of SRT, `01:30.500` of WebVTT.
_END = re.compile(r"--> *(?:(\d+):)?(\d+):(\d+)[,.](\d+)")


class Speech(Base):
    """/audio/speech: the answer is a sound, and what it costs is in the request."""

    def prepare(self, body: dict[str, Any], files: Any, stream: bool) -> Prepared:
        text = str(body.get("input") or "")
        said = text + str(body.get("instructions") or "")
        by_character = self.estimate(input_characters=max(1, len(text)))
        # A minute of speech has about 1,200 tokens and 800 characters.
        by_token = self.estimate(
            input_tokens=max(1, self.options.held_tokens(said)), output_audio_tokens=2 * len(text)
        )
        prepared = Prepared(self.model(body), body, [by_character, by_token])
        prepared.meter = LastMeter() if stream else None
        prepared.facts = {"events": body.get("stream_format") == "sse"}
        return prepared

    def used(self, prepared: Prepared, response: Any) -> UsageOrStream | None:
        if not prepared.facts.get("events"):
            return None
        # Events in the place of a sound: the last one says what was used.
        lines = _text(response).splitlines()
        found = (read.usage_of(event) for line in lines if (event := read.event_of(line)))
        return next((usage for usage in found if usage is not None), None)


class Transcriptions(Base):
    """/audio/transcriptions and /audio/translations."""

    def prepare(self, body: dict[str, Any], files: Any, stream: bool) -> Prepared:
        longest, usual = seconds_of(files, _FEWEST_BYTES), seconds_of(files, _USUAL_BYTES)
        prepared = Prepared(
            self.model(body), body, self._estimates(longest), counted=self._estimates(usual)
        )
        prepared.meter = LastMeter() if stream else None
        return prepared

    def _estimates(self, seconds: int) -> list[Usage]:
        by_second = self.estimate(audio_seconds=seconds)
        # Ten tokens of sound and at most five of text to the second.
        by_token = self.estimate(input_audio_tokens=10 * seconds, output_tokens=5 * seconds)
        return [by_second, by_token]

    def used(self, prepared: Prepared, response: Any) -> UsageOrStream | None:
        usage = read.usage_of(response)
        if usage is not None:
            return usage
        # Of `verbose_json`: whisper bills by the second.
        duration = read.get(response, "duration")
        if duration is None and isinstance(response, str):
            duration = _last_second(response)
        return None if duration is None else {"audio_seconds": float(duration)}


def seconds_of(files: Any, rate: int) -> int:
    """Seconds of the sounds of a request; `rate` is the bytes to a second where none is said."""
    total = 0
    for content in contents(files):
        head, size = size_of(content)
        total += max(1, -(-size // (_rate_of_wave(head) or rate)))
    return max(1, total)


def _rate_of_wave(head: bytes) -> int:
    """The bytes to a second of a WAV file; 0 of others."""
    if len(head) < 32 or head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return 0
    return int.from_bytes(head[28:32], "little")


def _last_second(text: str) -> float | None:
    """When the last subtitle ends. Nothing else is taken from the text."""
    last: Iterator[float] = (
        int(found[1] or 0) * 3600
        + int(found[2]) * 60
        + int(found[3])
        + int(found[4]) / 10 ** len(found[4])
        for found in _END.finditer(text)
    )
    return max(last, default=None)


def _text(response: Any) -> str:
    content = getattr(response, "content", b"")
    return content.decode("utf-8", "replace") if isinstance(content, bytes) else ""
