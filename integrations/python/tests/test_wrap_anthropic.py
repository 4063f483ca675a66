"""The official client of Anthropic, wrapped, with a mock provider."""

from __future__ import annotations

import contextlib
from decimal import Decimal
from typing import Any

import anthropic
import pytest
from conftest import Ledger, Mock

import pg_wallet
from pg_wallet import AsyncWallet, Wallet, wrap

MODEL = "claude-sonnet-5"
REQUEST: Any = {
    "model": MODEL,
    "max_tokens": 500,
    "system": "You are brief.",
    "messages": [{"role": "user", "content": "Say something about the sea, please."}],
}


def price(mock: Mock) -> Decimal:
    """What the mock's own log says the last call costs."""
    entry = mock.recorder.log[-1]
    assert entry.input_tokens is not None
    return (Decimal(entry.input_tokens) * 3 + entry.output_tokens * 15) / 1_000_000


def test_messages_are_held_and_settled(
    anthropic_client: anthropic.Anthropic, wallet: Wallet, ledger: Ledger, mock: Mock
) -> None:
    client = wrap(anthropic_client, wallet)
    answer: Any = client.messages.create(**REQUEST)
    assert answer.wallet.cost == price(mock)
    assert "wallet" not in answer.model_dump()
    stream: Any = client.messages.create(**REQUEST, stream=True)
    assert [event.type for event in stream][-1] == "message_stop"
    assert stream.wallet.cost == price(mock)
    with client.messages.stream(**REQUEST) as helper:
        assert "".join(helper.text_stream)
        assert helper.get_final_message().content
    beta: Any = client.beta.messages.create(**REQUEST)
    assert beta.wallet.cost == price(mock)
    raw: Any = client.messages.with_raw_response.create(**REQUEST)
    assert raw.parse().wallet.cost == price(mock)
    assert ledger.charges() == [price(mock)] * 5
    assert ledger.holds() == ["settled"] * 5


def test_what_a_broken_stream_delivered_is_settled(
    anthropic_client: anthropic.Anthropic, wallet: Wallet, ledger: Ledger, mock: Mock
) -> None:
    client = wrap(anthropic_client, wallet)
    for fault in ("disconnect", "truncate"):
        getattr(mock.faults, fault)(after_chunks=6)
        stream: Any = client.messages.create(**REQUEST, stream=True)
        # A stream that ends without its end is no error for the SDK.
        with pytest.raises(Exception) if fault == "disconnect" else contextlib.nullcontext():  # noqa: PT011
            list(stream)
        # The provider has said what the input is; the output is counted.
        input_line = stream.wallet.charge.lines[0]
        assert input_line.quantity == mock.recorder.log[-1].input_tokens
        assert 0 < stream.wallet.cost < price(mock) * 50
    with client.messages.stream(**REQUEST) as helper:
        for _ in helper.text_stream:
            break
    assert ledger.holds() == ["settled"] * 3
    mock.faults.fail(529)
    with pytest.raises(anthropic.APIStatusError):
        client.messages.create(**REQUEST)
    assert ledger.holds()[-1] == "voided"


def test_a_refused_call_does_not_reach_the_provider(
    anthropic_client: anthropic.Anthropic, wallet: Wallet, mock: Mock
) -> None:
    client = wrap(anthropic_client, wallet.bind(key="wk-unknown"))
    with pytest.raises(pg_wallet.NotPermitted):
        client.messages.create(**REQUEST)
    assert mock.recorder.log == []


async def test_the_async_client_does_the_same(
    aanthropic_client: anthropic.AsyncAnthropic, awallet: AsyncWallet, ledger: Ledger, mock: Mock
) -> None:
    client = wrap(aanthropic_client, awallet)
    answer: Any = await client.messages.create(**REQUEST)
    assert answer.wallet.cost == price(mock)
    stream: Any = await client.messages.create(**REQUEST, stream=True)
    async for _ in stream:
        pass
    assert stream.wallet.cost == price(mock)
    async with client.messages.stream(**REQUEST) as helper:
        await helper.get_final_message()
    async with client.messages.stream(**REQUEST) as helper:
        async for _ in helper.text_stream:
            break
    assert ledger.holds() == ["settled"] * 4
