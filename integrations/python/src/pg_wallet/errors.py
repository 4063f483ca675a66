"""The errors of the wallet as classes, one for each SQLSTATE."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import ClassVar
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import psycopg

from .clock import Clock


class WalletError(Exception):
    """The base of every error of this package.

    `detail` has the numbers and `hint` says what to do; both are None where the server said
    neither. `resets_at` is the time from which a limit allows the request, where there is one.
    """

    sqlstate: str | None = None

    def __init__(
        self,
        message: str,
        *,
        detail: str | None = None,
        hint: str | None = None,
        sqlstate: str | None = None,
        resets_at: datetime | None = None,
        limit_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.hint = hint
        self.resets_at = resets_at
        self.limit_id = limit_id
        self.clock = Clock()
        if sqlstate is not None:
            self.sqlstate = sqlstate

    def retry_after(self, now: datetime | None = None) -> int | None:
        """Whole seconds until `resets_at`, at least one; None without such a time."""
        if self.resets_at is None:
            return None
        left = (self.resets_at - (now or self.clock.now())) / timedelta(seconds=1)
        return max(1, int(left) + 1)


class InsufficientFunds(WalletError):
    """The balance and the credit limit do not cover the amount."""

    sqlstate = "WL001"


class LimitExceeded(WalletError):
    """A limit does not allow the amount; `limit_id` and `resets_at` are the limit's."""

    sqlstate = "WL002"


class WalletNotFound(WalletError):
    """There is no wallet of that name."""

    sqlstate = "WL003"


class WalletNotActive(WalletError):
    """The wallet is frozen or closed."""

    sqlstate = "WL004"


class PriceNotFound(WalletError):
    """A meter of the model has no price at that time."""

    sqlstate = "WL005"


class IdempotencyConflict(WalletError):
    """The idempotency key was used for another request."""

    sqlstate = "WL006"


class InvalidUsage(WalletError):
    """The usage object cannot be understood or contradicts itself."""

    sqlstate = "WL007"


class HoldNotOpen(WalletError):
    """The hold was settled, voided or has expired."""

    sqlstate = "WL008"


class NotPermitted(WalletError):
    """Role, model, key, address or device is not allowed to do that."""

    sqlstate = "WL009"


class ImmutableLedger(WalletError):
    """Ledger entries are never changed and never deleted."""

    sqlstate = "WL010"


class CardDataRefused(WalletError):
    """An argument looks like card data."""

    sqlstate = "WL011"


class InvalidAmount(WalletError):
    """An amount, rate, price or limit is missing, negative, too large or too precise."""

    sqlstate = "WL012"


class FundingNotOpen(WalletError):
    """The funding or grant is not in the state that the call needs."""

    sqlstate = "WL013"


class VoucherNotValid(WalletError):
    """The voucher is unknown, expired or used up."""

    sqlstate = "WL014"


class RateNotFound(WalletError):
    """No exchange rate had begun at that time."""

    sqlstate = "WL015"


class NotInThisTree(WalletError):
    """The wallet's place in a tree of wallets does not allow the call."""

    sqlstate = "WL016"


class InvalidArgument(WalletError):
    """Another argument is missing or out of range."""

    sqlstate = "22023"


class AccessDenied(WalletError):
    """The database role was not granted the level for that wallet."""

    sqlstate = "42501"


class NotFound(WalletError):
    """There is no such hold, limit or other object."""

    sqlstate = "42704"


class AlreadyExists(WalletError):
    """An object of that name exists."""

    sqlstate = "23505"


class NotSupported(WalletError):
    """An argument asks for what this version of the extension cannot do."""

    sqlstate = "0A000"


class ExtensionOutdated(WalletError):
    """The database has another version of the extension than the server's library."""

    sqlstate = "55000"


class InternalError(WalletError):
    """A state that must not exist; please report it."""

    sqlstate = "XX000"


class TransactionConflict(WalletError):
    """Another transaction came first: run the transaction again with the same key."""

    sqlstate = "40001"


class DeadlockDetected(TransactionConflict):
    """The transaction met a deadlock: run it again with the same key."""

    sqlstate = "40P01"


class WalletUnreachable(WalletError):
    """The database did not answer, or cannot write. The call may have been booked.

    `sent` is False where the call certainly never reached the server.
    """

    def __init__(self, message: str, *, sent: bool = True, sqlstate: str | None = None) -> None:
        super().__init__(message, sqlstate=sqlstate)
        self.sent = sent


# A settlement that failed so may succeed later: the usage itself was not refused.
UNDELIVERED = (
    WalletUnreachable,
    TransactionConflict,
    ExtensionOutdated,
    AccessDenied,
    InternalError,
)


class ApprovalRequired(WalletError):
    """The hold waits for approval: the provider must not be called.

    The hold stays. A request with the same `idempotency_key` goes on once the hold is approved.
    """

    def __init__(
        self,
        message: str,
        *,
        hold_id: UUID,
        amount: Decimal,
        expires_at: datetime,
        idempotency_key: str,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.hold_id = hold_id
        self.amount = amount
        self.expires_at = expires_at
        self.idempotency_key = idempotency_key


class HoldExpired(WalletError):
    """The request outlived its hold, and `beyond` is "stop"."""


def _subclasses(cls: type[WalletError]) -> list[type[WalletError]]:
    found = []
    for one in cls.__subclasses__():
        found += [one, *_subclasses(one)]
    return found


class _Registry:
    by_sqlstate: ClassVar[dict[str, type[WalletError]]] = {
        one.sqlstate: one for one in _subclasses(WalletError) if one.sqlstate is not None
    }


# A connection that cannot be made, broke or is shut down; a server without resources, or read-only
# for now; a statement that waited too long.
_UNREACHABLE = re.compile(r"^(08...|53...|57...|58...|25006|55P03)$")
# The server has not done it, and to try at once would wait as long again.
_WAITED = ("57014", "55P03")

# The end of DETAIL of WL002: a time in the limit's own time zone.
_RESETS_AT = re.compile(
    r"(?:It resets at|Enough of it is free at) (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (\S+)\.$"
)

_UTC = ("UTC", "Etc/UTC", "GMT", "Etc/GMT")


def resets_at(detail: str | None) -> datetime | None:
    """The time at which a limit resets, from the DETAIL of WL002."""
    found = _RESETS_AT.search(detail or "")
    if found is None:
        return None
    try:
        # Some images have no time zones; that of most limits must not need them.
        zone = timezone.utc if found[2] in _UTC else ZoneInfo(found[2])
    except (ZoneInfoNotFoundError, ValueError):
        return None
    # Of an hour that comes twice the later one: nobody is asked to come back too early.
    local = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=zone, fold=1)
    return local.astimezone(timezone.utc)


def from_psycopg(error: psycopg.Error) -> Exception:
    """The error of this package for one of the driver; others stay as they are."""
    sqlstate = error.sqlstate
    message = error.diag.message_primary or str(error) or type(error).__name__
    if sqlstate is None:
        # The server said nothing: there is no connection, or it broke.
        if isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
            return WalletUnreachable(message, sent=not _never_sent(error))
        return error
    if _UNREACHABLE.match(sqlstate):
        return WalletUnreachable(message, sqlstate=sqlstate, sent=sqlstate not in _WAITED)
    cls = _Registry.by_sqlstate.get(sqlstate)
    if cls is None:
        if not sqlstate.startswith("WL"):
            return error
        cls = WalletError
    diag = error.diag
    return cls(
        message,
        detail=diag.message_detail,
        hint=diag.message_hint,
        sqlstate=sqlstate,
        resets_at=resets_at(diag.message_detail) if sqlstate == "WL002" else None,
        limit_id=diag.constraint_name if sqlstate == "WL002" else None,
    )


def _never_sent(error: psycopg.Error) -> bool:
    """Whether no connection was had at all."""
    return isinstance(error, psycopg.errors.ConnectionTimeout) or type(error).__name__ in (
        "PoolTimeout",
        "PoolClosed",
        "TooManyRequests",
    )
