"""When a call is made again, and after which pause. Nothing here sleeps."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from .errors import TransactionConflict, WalletUnreachable


@dataclass(frozen=True)
class Retry:
    """At most `attempts` times, with pauses of a random length below `base`, `2 * base`, …, `cap`.

    A broken connection is tried `reconnects` times more: the key of the call makes that safe.
    """

    attempts: int = 10
    base: float = 0.01
    cap: float = 1.0
    reconnects: int = 1


@dataclass
class Attempts:
    """The attempts of one call."""

    retry: Retry
    made: int = 0
    broken: int = field(default=0)

    def pause_after(self, error: BaseException) -> float | None:
        """Seconds to wait before the next attempt, or None where there is none."""
        self.made += 1
        if isinstance(error, TransactionConflict):
            if self.made >= self.retry.attempts:
                return None
        elif isinstance(error, WalletUnreachable) and error.sent:
            self.broken += 1
            if self.broken > self.retry.reconnects:
                return None
        else:
            return None
        longest = min(self.retry.cap, self.retry.base * 2.0 ** (self.made - 1))
        return random.uniform(0, longest)
