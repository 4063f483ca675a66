"""The server's clock, as far as its answers have told it: this machine's may go wrong."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone


class Clock:
    """The time of the server. Until it has said something, that of this machine."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return local() - self.ahead

    def saw(self, server: datetime) -> None:
        """Notes what the server's clock has said a moment ago."""
        self.ahead = local() - server


def local() -> datetime:
    return datetime.now(timezone.utc)
