"""What is known of one kind of call of a provider: estimate, usage, the usage of a stream."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from . import read
from .options import WrapOptions

Usage = dict[str, Any]
UsageOrStream = Usage | list[Any]
# What a stream has used, and whether the provider has said so. Without a usage it has used
# something that cannot be counted.
Metered = tuple[UsageOrStream | None, bool]


class Meter(Protocol):
    """Follows a stream."""

    def see(self, event: Any) -> bool:
        """Notes what an event says. False: the consumer did not ask for it and does not see it."""

    def usage(self) -> Metered | None:
        """What has been used so far; None for nothing."""


@dataclass
class Prepared:
    """A request before it is sent: its body, and estimates in the order of preference.

    An estimate that has no price gives way to the next: some models are priced by the image or
    character, and others by the token.
    """

    model: str
    body: dict[str, Any]
    estimates: list[Usage]
    meter: Meter | None = None
    # Where the request has its maximum of tokens, for `lower`.
    maximum: str | None = None
    service_tier: str | None = None
    # For answers that say nothing: what the request alone tells, one for each estimate. Without
    # it the estimate counts.
    counted: list[Usage] | None = None
    # Tokens of the prompt, as a broken stream counts them.
    prompt: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)

    def told(self, number: int) -> Usage:
        """What the request tells of its use, in the way of the estimate of that number."""
        return dict((self.counted or self.estimates)[number])

    def lowered(self, tokens: int) -> None:
        assert self.maximum is not None
        self.body[self.maximum] = tokens


class Endpoint(Protocol):
    """One kind of call."""

    def prepare(self, body: dict[str, Any], files: Any, stream: bool) -> Prepared: ...

    def used(self, prepared: Prepared, response: Any) -> UsageOrStream | None:
        """What a response says was used; None where it says nothing."""

    def count(self, prepared: Prepared, response: Any) -> Usage | None:
        """What can be counted of a response that says nothing; None where that is no more than
        the request tells."""


class Base:
    """What endpoints share."""

    def __init__(self, options: WrapOptions, provider: str) -> None:
        self.options = options
        self.provider = options.provider or provider

    def model(self, body: Mapping[str, Any], default: str = "") -> str:
        name = str(body.get("model") or default)
        return self.options.model(name) if self.options.model else name

    def count(self, prepared: Prepared, response: Any) -> Usage | None:
        return None

    def estimate(self, **meters: int | str) -> Usage:
        return {"provider": self.provider, **meters}

    def input_text(self, *parts: Any) -> list[Any]:
        return [part for part in parts if part is not None]


class LastMeter:
    """The last event says what was used. Without it, what the request tells is counted."""

    def __init__(self) -> None:
        self.said: Usage | None = None
        self.began = False

    def see(self, event: Any) -> bool:
        self.began = True
        self.said = read.usage_of(event) or self.said
        return True

    def usage(self) -> Metered | None:
        if self.said is not None:
            return self.said, True
        return (None, False) if self.began else None


# A file of 25 MB is the largest that providers take.
_LARGEST = 25 * 1024 * 1024


def contents(files: Any) -> list[Any]:
    """The contents of the files of a request."""
    if files is None:
        return []
    values = files.values() if isinstance(files, Mapping) else [item[-1] for item in files]
    # A file is a content, or a tuple of a name, a content and more.
    return [one[1] if isinstance(one, tuple) and len(one) > 1 else one for one in values]


def size_of(content: Any) -> tuple[bytes, int]:
    """The first bytes of a content and their number, as far as reading it leaves no trace."""
    if isinstance(content, str):
        content = content.encode()
    if isinstance(content, (bytes, bytearray)):
        return bytes(content[:64]), len(content)
    if isinstance(content, os.PathLike):
        with open(content, "rb") as file:
            return file.read(64), os.fstat(file.fileno()).st_size
    try:
        here = content.tell()
        head = content.read(64)
        size = content.seek(0, 2) - here
        content.seek(here)
    except (AttributeError, OSError):
        return b"", _LARGEST
    return head if isinstance(head, bytes) else b"", size


def counted(prepared: Prepared, options: WrapOptions, texts: list[Any]) -> Usage:
    """The prompt, and an answer of these texts, in tokens that the client counts."""
    tokens = sum(options.used_tokens(text) for text in texts if isinstance(text, str))
    return {"input_tokens": prepared.prompt, "output_tokens": max(1, tokens)}


def whole(body: Mapping[str, Any], name: str) -> int | None:
    """A whole number of a request; None where there is none."""
    value = body.get(name)
    if isinstance(value, str) and value.isdecimal():
        return int(value)  # some servers take it
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
