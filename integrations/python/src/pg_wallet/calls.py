"""The calls of one wallet as statements: shared by the sync and the async client."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, cast

from .attribution import Amount, Attribution, HoldId, Usage
from .results import Charge, Hold, LimitCheck, ModelChoice, Price
from .statements import CONTEXT, Statement, call

Options = Mapping[str, Any]


def new_key() -> str:
    return str(uuid.uuid4())


class Calls:
    """Builds the statements of a wallet. Does no I/O."""

    def __init__(self, wallet: str, attribution: Attribution) -> None:
        self.wallet = wallet
        self.attribution = attribution
        self._given = {name: v for name, v in asdict(attribution).items() if v is not None}

    def _call(self, function: str, options: Options, **arguments: Any) -> Statement[Any]:
        context = {n: self._given[n] for n in CONTEXT.get(function, ()) if n in self._given}
        return call(function, {"wallet": self.wallet, **context, **arguments, **options})

    def _write(self, function: str, options: Options, **arguments: Any) -> Statement[Any]:
        # A call without a key gets one, so that it can be made again.
        key = options.get("idempotency_key") or new_key()
        return self._call(function, {**options, "idempotency_key": key}, **arguments)

    def charge(
        self, usage: Usage | None, amount: Amount | None, options: Options
    ) -> Statement[Charge]:
        return self._write("charge", options, usage=usage, amount=amount)

    def hold(self, usage: Usage | None, amount: Amount | None, options: Options) -> Statement[Hold]:
        return self._write("hold", options, usage=usage, amount=amount)

    def settle(
        self, hold_id: HoldId, usage: Usage | None, amount: Amount | None, options: Options
    ) -> Statement[Charge]:
        return self._write("settle", options, hold_id=str(hold_id), usage=usage, amount=amount)

    def void(self, hold_id: HoldId, reason: str | None, options: Options) -> Statement[Hold]:
        return self._write("void", options, hold_id=str(hold_id), reason=reason)

    def extend(self, hold_id: HoldId, ttl: Any, options: Options) -> Statement[Hold]:
        return self._write("extend_hold", options, hold_id=str(hold_id), ttl=ttl)

    def approve(self, hold_id: HoldId, options: Options) -> Statement[Hold]:
        return self._write("approve_hold", options, hold_id=str(hold_id))

    def deny(self, hold_id: HoldId, reason: str | None, options: Options) -> Statement[Hold]:
        return self._write("deny_hold", options, hold_id=str(hold_id), reason=reason)

    def choose_model(
        self, usage: Usage, models: Sequence[str], options: Options
    ) -> Statement[tuple[ModelChoice, ...]]:
        return self._call("choose_model", options, usage=usage, models=list(models))

    def check_limits(
        self, usage: Usage | None, amount: Amount | None, options: Options
    ) -> Statement[tuple[LimitCheck, ...]]:
        return self._call("check_limits", options, usage=usage, amount=amount)

    def price_usage(self, usage: Usage, options: Options) -> Statement[Price]:
        return self._call("price_usage", options, usage=usage)

    def usage_headers(self, entry_id: HoldId) -> Statement[dict[str, str]]:
        return cast(
            "Statement[dict[str, str]]", self._call("usage_headers", {}, entry_id=str(entry_id))
        )
