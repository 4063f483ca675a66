"""How wrapped clients estimate, hold and settle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from .. import choices
from ..lifetime import RequestOptions


@dataclass(frozen=True)
class WrapOptions:
    """How a wrapped client works.

    request: how its requests hold and settle.
    output_tokens: the estimate of a request that names no maximum of its own.
    lower: where the money does not pay for the maximum, holds what there is and lowers the
        request's maximum to the tokens that this pays for.
    count: counts the tokens of a text. Without it a hold counts two bytes of UTF-8 as a token,
        which is more than any tokenizer makes of ordinary text, and a broken stream four.
    media_tokens: the estimate of an image, a sound or a file of the input.
    provider: the provider whose prices count; None is the client's own.
    model: the name by which the wallet knows a model, from the request's.
    unmetered: what becomes of calls that cost something which their answers do not say, such as
        batches, videos and realtime sessions: "refuse" with NotMetered, or "pass" uncharged.
    """

    request: RequestOptions = field(default_factory=RequestOptions)
    output_tokens: int = 4096
    lower: bool = False
    count: Callable[[str], int] | None = None
    media_tokens: int = 1600
    provider: str | None = None
    model: Callable[[str], str] | None = None
    unmetered: Literal["refuse", "pass"] = "refuse"

    def __post_init__(self) -> None:
        choices.check(self)

    def held_tokens(self, text: str) -> int:
        """Tokens of a text, for a hold: rather too many."""
        if self.count is not None:
            return self.count(text)
        return -(-len(text.encode("utf-8", "replace")) // 2)

    def used_tokens(self, text: str) -> int:
        """Tokens of a text of which the provider did not say how many it has."""
        if self.count is not None:
            return self.count(text)
        return -(-len(text.encode("utf-8", "replace")) // 4)
