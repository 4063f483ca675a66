"""On whose account a wallet is used, and the options of the calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, TypedDict
from uuid import UUID

Amount = Decimal | int | float | str
Usage = Mapping[str, Any] | list[Any]
Fail = Literal["closed", "open"]


@dataclass(frozen=True)
class Attribution:
    """What every call of a wallet says of its user, team, program and origin."""

    user_id: str | None = None
    team: str | None = None
    key: str | None = field(default=None, repr=False)
    service: str | None = None
    tags: Mapping[str, str] | None = None
    client_ip: str | None = None
    device: str | None = None
    actor: str | None = None


class Common(TypedDict, total=False):
    """Options of calls that write."""

    idempotency_key: str
    actor: str
    metadata: Mapping[str, Any]


class Context(TypedDict, total=False):
    """What is said of a request; what is left out is the wallet's `Attribution`."""

    user_id: str
    team: str
    key: str
    service: str
    tags: Mapping[str, str]
    client_ip: str
    device: str
    model: str
    region: str
    service_tier: str
    event_at: datetime


class ChargeOptions(Common, Context, total=False):
    cost_from: Literal["prices", "provider"]


class HoldOptions(Common, Context, total=False):
    ttl: timedelta | float
    allow_partial: bool
    on_expiry: Literal["release", "charge"]


class SettleOptions(Common, total=False):
    final: bool
    over: Literal["charge", "cap", "debt"]
    event_at: datetime
    cost_from: Literal["prices", "provider"]


class CheckOptions(Context, total=False):
    cost_from: Literal["prices", "provider"]
    for_hold: bool


class ChooseOptions(TypedDict, total=False):
    user_id: str
    team: str
    key: str
    service: str
    tags: Mapping[str, str]
    client_ip: str
    device: str
    region: str
    service_tier: str
    event_at: datetime
    cost_from: Literal["prices", "provider"]
    for_hold: bool


class PriceOptions(TypedDict, total=False):
    model: str
    region: str
    service_tier: str
    at: datetime
    cost_from: Literal["prices", "provider"]
    currency: str


HoldId = UUID | str
