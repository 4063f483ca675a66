"""The official client of OpenAI, wrapped, with a mock provider."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import logging
import time
from decimal import Decimal
from typing import Any

import httpx2
import openai
import pytest
from conftest import Ledger, Mock

import pg_wallet
from pg_wallet import AsyncWallet, RequestOptions, Wallet, WrapOptions, wrap

MESSAGES: Any = [{"role": "user", "content": "Say something about the sea, please."}]
SECRET = "the-prompt-that-nobody-may-see"


def price(mock: Mock, model: str = "gpt-4o") -> Decimal:
    """What the mock's own log says the last call costs."""
    prices = {"gpt-4o": (250, 1000), "gpt-4o-mini": (15, 60)}
    entry = mock.recorder.log[-1]
    assert entry.input_tokens is not None
    into, out = prices[model]
    return (Decimal(entry.input_tokens * into) + entry.output_tokens * out) / 100_000_000


def test_chat_is_held_and_settled(
    openai_client: openai.OpenAI, wallet: Wallet, ledger: Ledger, mock: Mock
) -> None:
    client = wrap(openai_client, wallet)
    assert isinstance(client, openai.OpenAI)
    answer: Any = client.chat.completions.create(model="gpt-4o", messages=MESSAGES, max_tokens=500)
    assert answer.choices[0].message.content
    assert answer.wallet.cost == price(mock)
    assert answer.wallet.balance == ledger.balance()
    assert answer.wallet.headers == wallet.usage_headers(answer.wallet.entry_id)
    assert "wallet" not in answer.model_dump()
    assert (ledger.charges(), ledger.holds()) == ([price(mock)], ["settled"])


def test_the_client_given_is_left_alone(
    openai_client: openai.OpenAI, wallet: Wallet, ledger: Ledger
) -> None:
    client = wrap(openai_client, wallet)
    openai_client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    client.models.list()
    assert ledger.holds() == []
    client.with_options(timeout=5).chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert ledger.holds() == ["settled"]


def test_resources_that_exist_before_are_charged_too(
    openai_client: openai.OpenAI,
    wallet: Wallet,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Older SDKs make them with the client."""
    eager = openai_client.copy()
    assert eager.chat.completions
    raw = eager.chat.completions.with_raw_response
    monkeypatch.setattr(openai_client, "copy", lambda: eager)
    client = wrap(openai_client, wallet)
    assert client.chat is eager.chat
    client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    raw.create(model="gpt-4o", messages=MESSAGES)
    assert ledger.holds() == ["settled"] * 2


def test_a_stream_is_settled_with_its_usage_which_nobody_sees_who_did_not_ask(
    openai_client: openai.OpenAI, wallet: Wallet, ledger: Ledger, mock: Mock
) -> None:
    client = wrap(openai_client, wallet)
    stream: Any = client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True)
    chunks = list(stream)
    assert all(chunk.choices for chunk in chunks)
    assert stream.wallet.cost == price(mock)
    asked: Any = client.chat.completions.create(
        model="gpt-4o", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    assert [chunk.usage is not None for chunk in asked][-1]
    assert ledger.charges() == [price(mock)] * 2


def test_helpers_of_the_sdk_are_charged_too(
    openai_client: openai.OpenAI, wallet: Wallet, ledger: Ledger, mock: Mock
) -> None:
    client = wrap(openai_client, wallet)
    with client.chat.completions.stream(model="gpt-4o", messages=MESSAGES) as helper:
        for _ in helper:
            pass
        assert helper.get_final_completion().choices[0].message.content
    raw: Any = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=MESSAGES)
    assert raw.parse().wallet.cost == raw.wallet.cost == price(mock)
    raw = client.chat.completions.with_raw_response.create(
        model="gpt-4o", messages=MESSAGES, stream=True
    )
    for _ in raw.parse():
        pass
    assert raw.wallet.cost == price(mock)
    with pytest.raises(pg_wallet.NotMetered):
        client.chat.completions.with_streaming_response.create(
            model="gpt-4o", messages=MESSAGES
        ).__enter__()
    with client.chat.completions.stream(model="gpt-4o", messages=MESSAGES) as helper:
        next(iter(helper))
    assert ledger.holds() == ["settled"] * 4


def test_responses_embeddings_and_images_are_charged(
    openai_client: openai.OpenAI, wallet: Wallet, ledger: Ledger, mock: Mock
) -> None:
    client = wrap(openai_client, wallet)
    answer: Any = client.responses.create(model="gpt-4o", input="Say something about the sea.")
    assert answer.wallet.cost == price(mock)
    stream: Any = client.responses.create(model="gpt-4o", input="And the sky?", stream=True)
    assert [event.type for event in stream][-1] == "response.completed"
    assert stream.wallet.cost == price(mock)
    with client.responses.stream(model="gpt-4o", input="And the wind?") as helper:
        helper.until_done()
    vector: Any = client.embeddings.create(model="text-embedding-3-small", input="A text " * 50)
    tokens = mock.recorder.log[-1].input_tokens
    assert tokens is not None
    assert vector.wallet.cost == Decimal(tokens) * 2 / 100_000_000
    image: Any = client.images.generate(model="dall-e-3", prompt="The sea", n=2, quality="hd")
    assert image.wallet.cost == Decimal("0.08")
    assert ledger.holds() == ["settled"] * 5
    assert len(ledger.charges()) == 5
    with pytest.raises(pg_wallet.NotMetered, match="background"):
        client.responses.create(model="gpt-4o", input="Later", background=True)


def sounds(request: httpx2.Request) -> httpx2.Response:
    """Answers of the audio endpoints, as documented: no mock on PyPI has them."""
    if request.url.path.endswith("/speech"):
        return httpx2.Response(200, content=b"RIFF")
    usage = {"type": "duration", "seconds": 30}
    return httpx2.Response(200, json={"text": "Hello", "usage": usage})


def test_audio_is_charged_by_character_and_second(wallet: Wallet, ledger: Ledger) -> None:
    http = httpx2.Client(transport=httpx2.MockTransport(sounds))
    client = wrap(openai.OpenAI(api_key="x", base_url="http://x/v1", http_client=http), wallet)
    sound: Any = client.audio.speech.create(model="tts-1", voice="alloy", input="Hello, sea!")
    assert sound.content == b"RIFF"
    assert sound.wallet.cost == Decimal("0.000165")
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input="Hello, sea!"
    ) as streamed:
        assert streamed.read() == b"RIFF"
    file = io.BytesIO(b"x" * 100_000)
    file.name = "sea.mp3"
    text: Any = client.audio.transcriptions.create(model="whisper-1", file=file)
    assert text.wallet.cost == Decimal("0.003")
    assert ledger.charges() == [Decimal("0.000165"), Decimal("0.000165"), Decimal("0.003")]
    assert ledger.holds() == ["settled"] * 3


def test_what_a_broken_stream_delivered_is_settled(
    openai_client: openai.OpenAI, wallet: Wallet, ledger: Ledger, mock: Mock
) -> None:
    client = wrap(openai_client, wallet)
    for fault in ("disconnect", "truncate", "corrupt"):
        getattr(mock.faults, fault)(after_chunks=4)
        stream: Any = client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True)
        try:
            got = len(list(stream))
        except (openai.APIConnectionError, json.JSONDecodeError):
            got = 4
        assert got >= 3
        assert 0 < stream.wallet.cost < Decimal("0.001")
        assert stream.wallet.charge.total_tokens == stream.wallet.charge.lines[0].quantity + (
            stream.wallet.charge.lines[1].quantity
        )
    assert ledger.holds() == ["settled"] * 3
    sql = (
        "SELECT DISTINCT metadata ->> 'usage' FROM wallet.entries "
        "WHERE wallet = %s AND kind = 'charge'"
    )
    assert ledger.one(sql, ledger.name) == "counted by the client"


def test_a_stream_left_early_is_settled(
    openai_client: openai.OpenAI, wallet: Wallet, ledger: Ledger
) -> None:
    client = wrap(openai_client, wallet)

    def first() -> None:
        for _ in client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True):
            break

    first()
    gc.collect()
    with client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True) as stream:
        for _ in stream:
            break
    # Nobody began to read: the provider may have begun, but nothing came.
    client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True).close()
    client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True)
    gc.collect()
    # What nobody holds any more is ended in the background.
    for _ in range(200):
        if "open" not in ledger.holds():
            break
        time.sleep(0.02)
    assert ledger.holds() == ["settled", "settled", "voided", "voided"]


def test_a_stalled_stream_times_out_and_is_settled(
    openai_client: openai.OpenAI, wallet: Wallet, ledger: Ledger, mock: Mock
) -> None:
    mock.faults.stall(seconds=3, after_chunks=3)
    client = wrap(openai_client.with_options(timeout=0.5), wallet)
    stream = client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True)
    with pytest.raises(openai.APITimeoutError):
        list(stream)
    assert ledger.holds() == ["settled"]


def test_a_stream_beyond_its_hold_stops_or_goes_on(
    openai_client: openai.OpenAI, wallet: Wallet, ledger: Ledger, mock: Mock
) -> None:
    for beyond in ("stop", "continue"):
        mock.faults.stall(seconds=0.6, after_chunks=3)
        options = RequestOptions(ttl=0.3, extend=False, beyond=beyond)
        client = wrap(openai_client, wallet, WrapOptions(request=options))
        stream = client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True)
        if beyond == "stop":
            with pytest.raises(pg_wallet.HoldExpired):
                list(stream)
        else:
            list(stream)
    # The mock's stall breaks the stream: both count what came.
    assert len(ledger.charges()) == 2
    assert ledger.held() == 0


def test_an_error_of_the_provider_releases_and_a_retry_is_one_call(
    openai_client: openai.OpenAI, wallet: Wallet, ledger: Ledger, mock: Mock
) -> None:
    client = wrap(openai_client, wallet)
    mock.faults.fail(500)
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    mock.faults.rate_limit(times=2, retry_after=0.1)
    again = client.with_options(max_retries=3)
    answer: Any = again.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert answer.wallet.cost == price(mock)
    assert len(mock.recorder.log) == 4
    assert ledger.holds() == ["voided", "settled"]


def test_a_refused_call_does_not_reach_the_provider(
    openai_client: openai.OpenAI, wallet: Wallet, ledger: Ledger, mock: Mock
) -> None:
    ledger.one("SELECT wallet.set_limit(%s, 0.001, 'day')", ledger.name)
    client = wrap(openai_client, wallet)
    with pytest.raises(pg_wallet.LimitExceeded) as refused:
        client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert refused.value.resets_at is not None
    with pytest.raises(pg_wallet.PriceNotFound):
        client.chat.completions.create(model="unheard-of", messages=MESSAGES)
    assert mock.recorder.log == []


def test_the_maximum_is_lowered_to_what_the_money_pays_for(
    openai_client: openai.OpenAI, wallet: Wallet, ledger: Ledger, mock: Mock
) -> None:
    ledger.one("SELECT cost FROM wallet.charge(%s, amount => 99.99)", ledger.name)
    client = wrap(openai_client, wallet, WrapOptions(lower=True))
    with pytest.raises(pg_wallet.InsufficientFunds):
        wrap(openai_client, wallet).chat.completions.create(model="gpt-4o", messages=MESSAGES)
    client.chat.completions.create(model="gpt-4o", messages=MESSAGES, max_tokens=4000)
    (request,) = mock.server.state.journal.records()
    assert 900 < request.body["max_tokens"] < 1000
    ledger.one("SELECT cost FROM wallet.charge(%s, amount => 0.0095)", ledger.name)
    long: Any = [{"role": "user", "content": "x" * 2000}]
    with pytest.raises(pg_wallet.InsufficientFunds):
        client.chat.completions.create(model="gpt-4o", messages=long)
    assert ledger.holds()[-1] in ("voided", "settled")
    assert ledger.held() == 0


def test_an_idempotency_key_of_the_caller_runs_once(
    openai_client: openai.OpenAI, wallet: Wallet, ledger: Ledger, mock: Mock
) -> None:
    client = wrap(openai_client, wallet)
    headers = {"Idempotency-Key": "answer-7"}
    client.chat.completions.create(model="gpt-4o", messages=MESSAGES, extra_headers=headers)
    with pytest.raises(pg_wallet.HoldNotOpen):
        client.chat.completions.create(model="gpt-4o", messages=MESSAGES, extra_headers=headers)
    assert len(mock.recorder.log) == 1
    assert len(ledger.charges()) == 1


def test_no_prompt_and_no_answer_is_stored_or_logged(
    openai_client: openai.OpenAI, wallet: Wallet, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="pg_wallet")
    client = wrap(openai_client, wallet)
    messages: Any = [{"role": "user", "content": SECRET}]
    answers: list[str] = []
    answer = client.chat.completions.create(model="gpt-4o", messages=messages)
    answers.append(answer.choices[0].message.content or "")
    for chunk in client.chat.completions.create(model="gpt-4o", messages=messages, stream=True):
        answers.append(chunk.choices[0].delta.content or "")
    client.responses.create(model="gpt-4o", input=SECRET)
    with pytest.raises(pg_wallet.PriceNotFound):
        client.chat.completions.create(model="unheard-of", messages=messages)
    stored = ""
    for table in ("entries", "holds"):
        sql = f"SELECT string_agg(t::text, ' ') FROM wallet.{table} t WHERE wallet = %s"
        stored += ledger.one(sql, ledger.name)
    assert "gpt-4o" in stored
    for text in (SECRET, answers[0]):
        assert text not in stored
        assert text not in caplog.text


async def test_the_async_client_does_the_same(
    aopenai_client: openai.AsyncOpenAI, awallet: AsyncWallet, ledger: Ledger, mock: Mock
) -> None:
    client = wrap(aopenai_client, awallet)
    answer: Any = await client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert answer.wallet.cost == price(mock)
    stream: Any = await client.chat.completions.create(
        model="gpt-4o", messages=MESSAGES, stream=True
    )
    assert all([chunk.choices async for chunk in stream])
    assert stream.wallet.cost == price(mock)
    async with client.chat.completions.stream(model="gpt-4o", messages=MESSAGES) as helper:
        await helper.get_final_completion()
    raw: Any = await client.chat.completions.with_raw_response.create(
        model="gpt-4o", messages=MESSAGES, stream=True
    )
    async for _ in raw.parse():
        pass
    assert raw.wallet.cost == price(mock)
    await client.responses.create(model="gpt-4o", input="The sea")
    mock.faults.disconnect(after_chunks=3)
    stream = await client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True)
    with pytest.raises(openai.APIConnectionError):
        async for _ in stream:
            pass
    assert ledger.holds() == ["settled"] * 6


async def test_a_cancelled_async_call_releases_and_a_cancelled_stream_settles(
    aopenai_client: openai.AsyncOpenAI, awallet: AsyncWallet, ledger: Ledger, mock: Mock
) -> None:
    client = wrap(aopenai_client, awallet)
    mock.faults.delay(2)

    async def call() -> None:
        await client.chat.completions.create(model="gpt-4o", messages=MESSAGES)

    async def read() -> None:
        async for _ in await client.chat.completions.create(
            model="gpt-4o", messages=MESSAGES, stream=True
        ):
            pass

    for work in (call, read):
        task = asyncio.create_task(work())
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        mock.faults.stall(seconds=3, after_chunks=3)
    assert ledger.holds() == ["voided", "settled"]


def test_clients_and_wallets_must_fit(
    openai_client: openai.OpenAI, aopenai_client: openai.AsyncOpenAI, wallet: Wallet
) -> None:
    with pytest.raises(TypeError):
        wrap(aopenai_client, wallet)
    with pytest.raises(TypeError):
        wrap(object(), wallet)
    with pytest.raises(ValueError, match="unmetered"):
        WrapOptions(unmetered="no")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="beyond"):
        RequestOptions(beyond="end")  # type: ignore[arg-type]
