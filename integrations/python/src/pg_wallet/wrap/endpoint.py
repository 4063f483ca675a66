"""What is known of one kind of call of a provider: estimate, usage, the usage of a stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from .options import WrapOptions

Usage = dict[str, Any]
UsageOrStream = Usage | list[Any]


class Meter(Protocol):
    """Follows a stream."""

    def see(self, event: Any) -> bool:
        """Notes what an event says. False: the consumer did not ask for it and does not see it."""

    def usage(self) -> tuple[UsageOrStream, bool] | None:
        """What has been used so far, and whether the provider has said so; None for nothing."""


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
    # For responses that say nothing: what the request alone tells.
    known: Usage | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def lowered(self, tokens: int) -> None:
        assert self.maximum is not None
        self.body[self.maximum] = tokens


class Endpoint(Protocol):
    """One kind of call."""

    def prepare(self, body: dict[str, Any], files: Any, stream: bool) -> Prepared: ...

    def used(self, prepared: Prepared, response: Any) -> UsageOrStream | None:
        """What a response says was used; None where it says nothing."""


class Base:
    """What endpoints share."""

    def __init__(self, options: WrapOptions, provider: str) -> None:
        self.options = options
        self.provider = options.provider or provider

    def model(self, body: Mapping[str, Any], default: str = "") -> str:
        name = str(body.get("model") or default)
        return self.options.model(name) if self.options.model else name

    def estimate(self, **meters: int | str) -> Usage:
        return {"provider": self.provider, **meters}

    def input_text(self, *parts: Any) -> list[Any]:
        return [part for part in parts if part is not None]


def size_of(files: Any) -> int:
    """Bytes of the files of a request, as far as they can be known without reading them."""
    if files is None:
        return 0
    total = 0
    values = files.values() if isinstance(files, Mapping) else [item[-1] for item in files]
    for value in values:
        content = value[1] if isinstance(value, tuple) and len(value) > 1 else value
        if isinstance(content, (bytes, bytearray, str)):
            total += len(content)
        elif hasattr(content, "seek") and hasattr(content, "tell"):
            here = content.tell()
            total += content.seek(0, 2)
            content.seek(here)
    return total


def whole(body: Mapping[str, Any], name: str) -> int | None:
    """A whole number of a request; None where there is none."""
    value = body.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
