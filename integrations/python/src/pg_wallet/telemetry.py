"""Structured logs, and spans where the application has OpenTelemetry.

No prompt, no answer and no key is in either: wallet, function, numbers and ids are.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

logger = logging.getLogger("pg_wallet")

try:
    from opentelemetry import trace as _trace
except ImportError:  # the application has no tracer
    _trace = None  # type: ignore[assignment,unused-ignore]


def log(level: int, event: str, **fields: Any) -> None:
    """One line; its fields are attributes of the record: `wallet_function`, `wallet_cost`, …"""
    if logger.isEnabledFor(level):
        given = {f"wallet_{name}": value for name, value in fields.items() if value is not None}
        shown = " ".join(f"{name[7:]}={value}" for name, value in given.items())
        logger.log(level, "%s %s", event, shown, extra={"wallet_event": event, **given})


@contextmanager
def span(function: str, wallet: str) -> Iterator[dict[str, Any]]:
    """A span around a call. What is put into the dictionary becomes its attributes."""
    found: dict[str, Any] = {}
    if _trace is None:
        yield found
        return
    tracer = _trace.get_tracer("pg_wallet")
    attributes = {"db.system.name": "postgresql", "wallet.name": wallet}
    with tracer.start_as_current_span(
        f"wallet.{function}", kind=_trace.SpanKind.CLIENT, attributes=attributes
    ) as current:
        try:
            yield found
        finally:
            for name, value in found.items():
                if value is not None:
                    current.set_attribute(f"wallet.{name}", str(value))


def facts(result: object) -> dict[str, Any]:
    """What a log line or a span says of a result."""
    names = ("entry_id", "hold_id", "cost", "amount", "balance", "model", "replayed", "status")
    return {name: getattr(result, name) for name in names if hasattr(result, name)}
