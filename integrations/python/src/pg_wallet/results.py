"""What the calls return: frozen, with exact decimals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

Row = Sequence[Any]
UNKNOWN = Decimal("NaN")


@dataclass(frozen=True)
class Line:
    """How a part of a cost came about."""

    meter: str
    quantity: Decimal
    unit_price: Decimal
    per: Decimal
    amount: Decimal
    price_id: str | None


@dataclass(frozen=True)
class Charge:
    """What was booked.

    With `spooled` nothing is booked yet: the usage is in the local spool, `entry_id` is None, and
    `cost` and `balance` are NaN.
    """

    entry_id: UUID | None
    cost: Decimal
    currency: str
    balance: Decimal
    model: str | None
    total_tokens: int | None
    lines: tuple[Line, ...]
    replayed: bool
    spooled: bool = False

    def headers(self) -> dict[str, str]:
        """The headers of `usage_headers()` without those of limits, and without a round trip."""
        if self.spooled:
            return {}
        headers = {
            "X-Usage-Cost": plain(self.cost),
            "X-Usage-Currency": self.currency,
        }
        if self.total_tokens is not None:
            headers["X-Total-Tokens"] = str(self.total_tokens)
        if self.model is not None:
            headers["X-Model"] = self.model
        headers["X-Wallet-Balance"] = plain(self.balance)
        return headers


SPOOLED = Charge(None, UNKNOWN, "", UNKNOWN, None, None, (), replayed=False, spooled=True)


@dataclass(frozen=True)
class Hold:
    """What is set aside. `affordable_tokens` is how many output tokens of the estimate it pays."""

    hold_id: UUID
    amount: Decimal
    balance: Decimal
    expires_at: datetime
    replayed: bool
    affordable_tokens: int | None
    status: str


@dataclass(frozen=True)
class LimitCheck:
    """What the balance or one limit would say to a request."""

    limit_id: UUID | None
    scope: str
    subject: str
    period: str | None
    metric: str | None
    mode: str | None
    max: Decimal | None
    used: Decimal | None
    held: Decimal | None
    remaining: Decimal | None
    resets_at: datetime | None
    allowed: bool
    reason: str | None
    max_per_request: Decimal | None


@dataclass(frozen=True)
class ModelChoice:
    """What a charge with one of several models would say. At most one of them is `chosen`."""

    model: str
    cost: Decimal | None
    allowed: bool
    reason: str | None
    remaining: Decimal | None
    chosen: bool


@dataclass(frozen=True)
class HoldState:
    """A hold as it is now. `approved` is that it waited for approval and was approved."""

    status: str
    amount: Decimal
    expires_at: datetime
    approved: bool


@dataclass(frozen=True)
class Price:
    """What a usage would cost."""

    cost: Decimal
    currency: str
    model: str | None
    total_tokens: int | None
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Balance:
    """A wallet's money."""

    wallet: str
    currency: str
    balance: Decimal
    held: Decimal
    available: Decimal
    credit_limit: Decimal
    debt: Decimal
    status: str


def plain(number: Decimal) -> str:
    """A decimal as PostgreSQL writes it: without an exponent."""
    return f"{number:f}"


def lines(text: str | None) -> tuple[Line, ...]:
    """The lines of a charge, from JSON, without a float on the way."""
    found = json.loads(text, parse_float=Decimal, parse_int=Decimal) if text else []
    return tuple(
        Line(
            meter=str(line.get("meter")),
            quantity=Decimal(line["quantity"]),
            unit_price=Decimal(line["unit_price"]),
            per=Decimal(line["per"]),
            amount=Decimal(line["amount"]),
            price_id=line.get("price_id"),
        )
        for line in found
    )


def charge(rows: Sequence[Row]) -> Charge:
    entry_id, cost, currency, balance, model, total_tokens, text, replayed = rows[0]
    return Charge(entry_id, cost, currency, balance, model, total_tokens, lines(text), replayed)


def hold(rows: Sequence[Row]) -> Hold:
    return Hold(*rows[0])


def limit_checks(rows: Sequence[Row]) -> tuple[LimitCheck, ...]:
    return tuple(LimitCheck(*row) for row in rows)


def model_choices(rows: Sequence[Row]) -> tuple[ModelChoice, ...]:
    return tuple(ModelChoice(*row) for row in rows)


def hold_state(rows: Sequence[Row]) -> HoldState | None:
    return HoldState(*rows[0]) if rows else None


def price(rows: Sequence[Row]) -> Price:
    cost, currency, model, total_tokens, text = rows[0]
    return Price(cost, currency, model, total_tokens, lines(text))


def balance(rows: Sequence[Row]) -> Balance | None:
    return Balance(*rows[0]) if rows else None


def headers(rows: Sequence[Row]) -> dict[str, str]:
    return {name: value for name, value in rows}  # noqa: C416 - rows are sequences, not pairs
