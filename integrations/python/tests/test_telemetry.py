"""Spans of the application's tracer."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import pg_wallet
from pg_wallet import Wallet


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


def test_a_request_is_two_spans_within_the_callers(
    exporter: InMemorySpanExporter, wallet: Wallet
) -> None:
    exporter.clear()
    with trace.get_tracer("app").start_as_current_span("answer") as outer:
        with wallet.request(amount=1) as r:
            r.settle(amount="0.5")
        with pytest.raises(pg_wallet.InsufficientFunds):
            wallet.charge(amount=1000)
    hold, settle, charge, answer = exporter.get_finished_spans()
    assert [one.name for one in (hold, settle, charge)] == [
        "wallet.hold",
        "wallet.settle",
        "wallet.charge",
    ]
    for one in (hold, settle, charge):
        assert one.parent is not None
        assert one.parent.span_id == outer.get_span_context().span_id
    assert settle.attributes is not None
    assert settle.attributes["wallet.cost"] == "0.50"
    assert settle.attributes["wallet.name"] == wallet.wallet
    assert charge.status.status_code is trace.StatusCode.ERROR
    assert answer.status.status_code is trace.StatusCode.UNSET
