"""The life of a request: a hold, then one settlement or one release. Does no I/O."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal

from . import choices, statements, telemetry
from .attribution import Amount, Usage
from .base import BaseWallet
from .calls import new_key
from .errors import (
    UNDELIVERED,
    ApprovalRequired,
    HoldExpired,
    HoldNotOpen,
    WalletError,
    WalletUnreachable,
)
from .results import Charge, Hold, HoldState, plain
from .retry import Attempts
from .statements import Statement


@dataclass(frozen=True)
class RequestOptions:
    """How a request holds and settles.

    ttl: seconds that the hold lasts, and that each extension adds.
    extend: extends the hold in the background while the request runs.
    longest: seconds after which the hold is not extended any more; None without end.
    beyond: what a request does whose hold has ended: "continue" and settle late, or "stop":
        `check()` and streams raise HoldExpired, and the body of an `async with` is cancelled.
    over: what becomes of use that costs more than is held, as in `settle`. "debt" books it
        whatever the balance is, because the provider has been paid.
    on_expiry: what becomes of the hold of a process that died: "release", or "charge" what is held,
        because the provider may have been paid. A settlement that comes later corrects the charge.
    resume: goes on with an open hold of the same key, in a job that died and runs again. Without
        it such a request is refused: another one may be using the hold.
    approval: what a request does whose hold waits for approval: "raise" ApprovalRequired and leave
        the hold, or "wait" until it is approved, denied, voided or expired.
    poll: seconds between two looks at a hold that is waited for.
    """

    ttl: float = 600
    extend: bool = True
    longest: float | None = None
    beyond: Literal["continue", "stop"] = "continue"
    over: Literal["charge", "cap", "debt"] = "debt"
    on_expiry: Literal["release", "charge"] = "release"
    resume: bool = False
    approval: Literal["raise", "wait"] = "raise"
    poll: float = 2

    def __post_init__(self) -> None:
        choices.check(self)


class Lifetime:
    """What is known of a request, and the statements that move it on."""

    def __init__(
        self,
        wallet: BaseWallet,
        estimate: Usage | None,
        amount: Amount | None,
        options: RequestOptions,
        context: Mapping[str, Any],
    ) -> None:
        self.options = options
        self.estimate = estimate
        self._own_key = not context.get("idempotency_key")
        self.key = context.get("idempotency_key") or new_key()
        self.hold: Hold | None = None
        self.charge: Charge | None = None
        self.offline = False
        self._wallet_name = wallet.wallet
        self._calls = wallet.calls
        self._clock = wallet.clock
        self._amount = amount
        self._context = {**context, "idempotency_key": self.key}
        self._ttl = self._context.pop("ttl", options.ttl)
        self._on_expiry = self._context.pop("on_expiry", options.on_expiry)
        if self._on_expiry == "charge" and wallet.fail == "open":
            # A hold whose answer got lost would be charged beside the usage in the spool.
            raise ValueError('on_expiry="charge" needs a wallet with fail="closed"')
        self._used: tuple[Usage | None, Amount | None, Mapping[str, Any] | None] | None = None
        self._lock = threading.Lock()
        self._claimed = self._voided = self._rejected = self._undelivered = False
        self._taken: Hold | None = None
        self._seen_at = time.monotonic()
        self._began = self._ends = time.monotonic()
        self._began_at = wallet.clock.now()

    @property
    def closed(self) -> bool:
        """Whether the request is settled or released, or is being so."""
        return self._claimed

    def headers(self) -> dict[str, str]:
        """The X-Usage headers of the settlement; empty before it."""
        return self.charge.headers() if self.charge else {}

    def check(self) -> None:
        """Raises HoldExpired where the hold has ended and `beyond` is "stop"."""
        if self.options.beyond == "stop" and time.monotonic() >= self._ends:
            raise HoldExpired("the request outlived its hold", hint="Raise ttl or longest.")

    def use(
        self,
        usage: Usage | None = None,
        amount: Amount | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Notes what has been used so far: it is settled where the request ends without more."""
        if (usage is None) == (amount is None):
            raise TypeError("give a usage or an amount")
        self._used = (usage, amount, metadata)

    # The hold.

    def _opening(self) -> Statement[Hold]:
        options = {**self._context, "ttl": self._ttl}
        if self._on_expiry != "release":
            options["on_expiry"] = self._on_expiry
        return self._calls.hold(self.estimate, self._amount, options)

    def _is_mine(self, hold: Hold, attempts: Attempts) -> bool:
        """Whether this request made the hold, or goes on with it."""
        # A connection that broke may have made the hold before it was made again.
        goes_on = attempts.broken > 0 or (self.options.resume and hold.status == "open")
        return not hold.replayed or goes_on

    def _opened(self, hold: Hold, attempts: Attempts) -> None:
        if self._taken is not None:
            hold = replace(hold, expires_at=self._taken.expires_at, status=self._taken.status)
            self._began = time.monotonic()
        elif hold.replayed and not (hold.status == "open" and self._is_mine(hold, attempts)):
            self._claimed = True
            raise self._refused(hold.status)
        elif not hold.replayed:
            self._clock.saw(hold.expires_at - timedelta(seconds=self._seconds()))
        self.hold = hold
        self._lasts()

    def _refused(self, status: str) -> HoldNotOpen:
        return HoldNotOpen(
            f'the request with the key "{self.key}" is {status}',
            hint="Wait for it, or go on with RequestOptions(resume=True) if it has died."
            if status == "open"
            else "Use its stored answer, or begin again with another key.",
        )

    # The approval. A hold that waits is never extended: it ends by itself.

    def _needs_look(self, hold: Hold) -> bool:
        """Whether the hold waits for approval, or may have waited before this request."""
        return hold.status == "waiting" or (hold.replayed and hold.status == "open")

    def _looking(self, hold: Hold) -> Statement[HoldState | None]:
        return statements.hold_state(self._wallet_name, str(hold.hold_id))

    def _look(self, hold: Hold, state: HoldState | None) -> float | None:
        """Seconds until the next look; None for an open hold. Raises where there is no use."""
        self._seen_at = time.monotonic()
        status = "gone" if state is None else state.status
        if status == "open":
            return None
        if state is None or status != "waiting":
            raise self._refused(status)
        if self.options.approval == "raise":
            raise ApprovalRequired(
                f"hold {hold.hold_id} of {plain(state.amount)} waits for approval",
                hold_id=hold.hold_id,
                amount=state.amount,
                expires_at=state.expires_at,
                idempotency_key=self.key,
                hint="Repeat the request with the same idempotency key once it is approved.",
            )
        return self.options.poll

    def _unseen(self) -> float:
        """Seconds until the next look after one that failed; raises what is being handled."""
        waits = self.options.approval == "wait"
        if not waits or time.monotonic() - self._seen_at > self._seconds():
            raise
        return self.options.poll

    def _taking(self, hold: Hold) -> Statement[Hold]:
        """Gives an approved hold its time again. Of all requests with its key one gets it."""
        key = f"approved/{hold.hold_id}"
        return self._calls.extend(hold.hold_id, self._ttl, {"idempotency_key": key})

    def _took(self, taken: Hold, attempts: Attempts) -> None:
        if taken.replayed and attempts.broken == 0 and not self.options.resume:
            raise self._refused("open")
        self._taken = taken

    def _lets_go(self, hold: Hold, attempts: Attempts, error: BaseException) -> bool:
        """Whether a request that ends before its hold was approved releases the hold.

        One that asks for approval leaves it, so that it can be approved.
        """
        if self._taken is None and not self._is_mine(hold, attempts):
            left = True
        else:
            left = isinstance(error, (ApprovalRequired, HoldNotOpen))
        if not left:
            self.hold = hold
        else:
            self._claimed = True
        return not left

    def _lasts(self) -> None:
        self._ends = time.monotonic() + self._seconds()

    def _seconds(self) -> float:
        ttl = self._ttl
        return ttl.total_seconds() if isinstance(ttl, timedelta) else float(ttl)

    def _next_extension(self) -> float | None:
        """When the hold is to be extended; None where it is not."""
        if not self.options.extend or self.hold is None or self.closed:
            return None
        due = self._ends - self._seconds() / 2
        if self.options.longest is not None and due > self._began + self.options.longest:
            return None
        return due

    def _extension(self) -> Statement[Hold] | None:
        if self.closed or self.hold is None:
            return None
        return self._calls.extend(self.hold.hold_id, self._ttl, {})

    def _not_extended(self, error: WalletError) -> float | None:
        """When to try again; None where that is of no use."""
        if self.closed:
            return None
        telemetry.log(
            logging.WARNING, "hold not extended", name=self._wallet_name, error=str(error)
        )
        left = self._ends - time.monotonic()
        if not isinstance(error, WalletUnreachable) or left < 0.1:
            return None
        return time.monotonic() + left / 2

    # The end.

    def _claim(self) -> bool:
        """True once: whoever gets it settles or releases."""
        with self._lock:
            if self._claimed:
                return False
            self._claimed = True
            return True

    def _settling(self) -> Statement[Charge]:
        assert self._used is not None
        usage, amount, metadata = self._used
        if self.hold is None:
            return self._charging(usage, amount, metadata)
        options = {**self._ending(metadata), "over": self.options.over}
        return self._calls.settle(self.hold.hold_id, usage, amount, options)

    def _charging(
        self, usage: Usage | None, amount: Amount | None, metadata: Mapping[str, Any] | None
    ) -> Statement[Charge]:
        """A charge that says what the hold said, or would have said."""
        context = {n: v for n, v in self._context.items() if n != "allow_partial"}
        context.setdefault("event_at", self._began_at)
        options = {**context, **self._ending(metadata)}
        return self._calls.charge(self._completed(usage), amount, options)

    def _ending(self, metadata: Mapping[str, Any] | None) -> dict[str, Any]:
        options: dict[str, Any] = {"idempotency_key": self.key}
        given = {**(self._context.get("metadata") or {}), **(metadata or {})}
        if given:
            options["metadata"] = given
        if "actor" in self._context:
            options["actor"] = self._context["actor"]
        return options

    def _completed(self, usage: Usage | None) -> Usage | None:
        """The usage with the names and conditions of the estimate that it does not say itself."""
        if not isinstance(usage, Mapping) or not isinstance(self.estimate, Mapping):
            return usage
        said = {n: v for n, v in self.estimate.items() if isinstance(v, (str, bool))}
        return {**said, **usage}

    def _settle_failed(self, error: BaseException) -> None:
        """Lets the end be tried again where trying helps."""
        if isinstance(error, WalletError):
            self._rejected = True
            self._undelivered = isinstance(error, UNDELIVERED)
        if isinstance(error, Exception):
            assert self._used is not None
            telemetry.log(
                logging.ERROR,
                "usage not booked",
                name=self._wallet_name,
                key=self.key,
                hold_id=self.hold.hold_id if self.hold else None,
                usage=self._used[0],
                amount=self._used[1],
                sqlstate=getattr(error, "sqlstate", None),
                error=str(error),
            )
        self._claimed = False

    def _must_settle(self) -> bool:
        return self._used is not None and not self._rejected

    def _left(self) -> bool:
        """Whether the hold is left to end by itself, because its use could not be delivered.

        The provider has been paid: a release would give it away.
        """
        return self._undelivered and self._used is not None and self._claim()

    def _voiding(self, reason: str | None) -> Statement[Hold] | None:
        self._voided = True
        if self.hold is None:
            return None
        return self._calls.void(self.hold.hold_id, reason, {"idempotency_key": self.key})

    def _not_voided(self, error: WalletError) -> None:
        """A hold that cannot be released ends by itself."""
        level = logging.WARNING if isinstance(error, WalletUnreachable) else logging.INFO
        telemetry.log(level, "hold not released", name=self._wallet_name, error=str(error))

    def _again(self) -> Charge:
        """The answer to a second settlement."""
        if self.charge is None:
            raise HoldNotOpen("the request was released" if self._voided else "it is being settled")
        return self.charge

    @staticmethod
    def _reason(error: BaseException | None) -> str:
        # The name alone: a message may repeat the prompt.
        return type(error).__name__ if error is not None else "nothing used"
