"""The SQL of every call: text, parameters, and how its rows are read. Nothing here does I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar

from . import exact, results
from .results import Row

T = TypeVar("T")

_TYPES = {
    "usage": "jsonb",
    "tags": "jsonb",
    "metadata": "jsonb",
    "amount": "numeric",
    "ttl": "interval",
    "hold_id": "uuid",
    "entry_id": "uuid",
    "event_at": "timestamptz",
    "at": "timestamptz",
    "client_ip": "inet",
    "allow_partial": "boolean",
    "final": "boolean",
    "for_hold": "boolean",
    "models": "text[]",
}

_CHARGE = "entry_id, cost, currency, balance, model, total_tokens, lines::text, replayed"
_HOLD = "hold_id, amount, balance, expires_at, replayed, affordable_tokens, status"
_LIMITS = (
    "limit_id, scope, subject, period, metric, mode, max, used, held, remaining, resets_at, "
    "allowed, reason, max_per_request"
)
_MODELS = "model, cost, allowed, reason, remaining, chosen"
_FUNCTIONS: dict[str, tuple[str, Callable[[Sequence[Row]], Any]]] = {
    "charge": (_CHARGE, results.charge),
    "settle": (_CHARGE, results.charge),
    "hold": (_HOLD, results.hold),
    "void": (_HOLD, results.hold),
    "extend_hold": (_HOLD, results.hold),
    "approve_hold": (_HOLD, results.hold),
    "deny_hold": (_HOLD, results.hold),
    "check_limits": (_LIMITS, results.limit_checks),
    "choose_model": (_MODELS, results.model_choices),
    "price_usage": ("cost, currency, model, total_tokens, lines::text", results.price),
    "usage_headers": ("name, value", results.headers),
}

# What a function takes of a wallet's own user, team and so on.
_ATTRIBUTION = ("user_id", "team", "service", "tags", "key", "client_ip", "device")
CONTEXT: dict[str, tuple[str, ...]] = {
    "charge": (*_ATTRIBUTION, "actor"),
    "hold": (*_ATTRIBUTION, "actor"),
    "check_limits": _ATTRIBUTION,
    "choose_model": _ATTRIBUTION,
    "settle": ("actor",),
    "void": ("actor",),
    "extend_hold": ("actor",),
    "approve_hold": ("actor",),
    "deny_hold": ("actor",),
}


@dataclass(frozen=True)
class Statement(Generic[T]):
    """One call of a function of the wallet."""

    function: str
    arguments: Mapping[str, Any]
    sql: str
    parameters: tuple[Any, ...]
    read: Callable[[Sequence[Row]], T]

    @property
    def wallet(self) -> str:
        return str(self.arguments.get("wallet"))


def call(function: str, arguments: Mapping[str, Any]) -> Statement[Any]:
    """A call with those of the arguments that are not None, by name."""
    columns, read = _FUNCTIONS[function]
    given = {name: value for name, value in arguments.items() if value is not None}
    named = ", ".join(f"{name} => %s::{_TYPES.get(name, 'text')}" for name in given)
    sql = f"SELECT {columns} FROM wallet.{function}({named})"
    parameters = tuple(_parameter(name, value) for name, value in given.items())
    return Statement(function, given, sql, parameters, read)


def _parameter(name: str, value: Any) -> Any:
    kind = _TYPES.get(name)
    if kind == "jsonb":
        return exact.dumps(value)
    if name == "amount":
        # A float is written as it reads, not with all its binary digits.
        return value if not isinstance(value, float) else repr(value)
    if name == "ttl" and isinstance(value, (int, float)):
        return timedelta(seconds=value)
    if kind in ("inet", "uuid"):
        return str(value)
    return value


def balance(wallet: str) -> Statement[results.Balance | None]:
    sql = (
        "SELECT wallet, currency, balance, held, available, credit_limit, debt, status "
        "FROM wallet.balances WHERE wallet = %s"
    )
    return Statement("balance", {"wallet": wallet}, sql, (wallet,), results.balance)


def hold_state(wallet: str, hold_id: str) -> Statement[results.HoldState | None]:
    sql = (
        "SELECT status, amount, expires_at, approved "
        "FROM wallet.holds WHERE wallet = %s AND hold_id = %s::uuid"
    )
    arguments = {"wallet": wallet, "hold_id": hold_id}
    return Statement("holds", arguments, sql, (wallet, hold_id), results.hold_state)
