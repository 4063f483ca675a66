"""Audio, images and the SDKs' helpers for streams, through a local endpoint.

The mock provider from PyPI has no audio and no edits of images. `Media` answers as documented,
over HTTP, and says what it bills.
"""

from __future__ import annotations

import contextlib
import io
import json
import struct
import threading
import time
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest
import uvicorn
from conftest import Ledger, Mock
from recorder import Logged
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from pg_wallet import AsyncWallet, Wallet, wrap

# Some calls are deprecated and cost money all the same.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
PRICES = """
SELECT wallet.set_price(m, meter, unit, per => 1000000, effective_from => '2024-01-01')
  FROM (VALUES ('gpt-image-1', 'input_tokens', 5), ('gpt-image-1', 'input_image_tokens', 10),
               ('gpt-image-1', 'output_tokens', 40), ('gpt-image-1', 'output_image_tokens', 40),
               ('gpt-4o-transcribe', 'input_tokens', 2), ('gpt-4o-transcribe', 'output_tokens', 10),
               ('gpt-4o-transcribe', 'input_audio_tokens', 6),
               ('gpt-4o-mini-tts', 'input_tokens', 1),
               ('gpt-4o-mini-tts', 'output_tokens', 12),
               ('gpt-4o-mini-tts', 'output_audio_tokens', 12)) AS v (m, meter, unit);
SELECT wallet.set_price('dall-e-2', 'images', 0.02, effective_from => '2024-01-01');
"""
IMAGES = {
    "input_tokens": 400,
    "output_tokens": 1000,
    "total_tokens": 1400,
    "input_tokens_details": {"text_tokens": 100, "image_tokens": 300},
}
COST_OF_IMAGES = Decimal("0.0435")  # 100 * 5 + 300 * 10 + 1000 * 40, by the million
SOUND = {
    "type": "tokens",
    "input_tokens": 200,
    "output_tokens": 50,
    "total_tokens": 250,
    "input_token_details": {"audio_tokens": 200, "text_tokens": 0},
}
COST_OF_SOUND = Decimal("0.0017")
SPEECH = {"input_tokens": 10, "output_tokens": 100, "total_tokens": 110}
COST_OF_SPEECH = Decimal("0.00121")


def events(*given: dict[str, Any], ends: bool = True) -> Response:
    async def lines() -> AsyncIterator[str]:
        for event in given:
            yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
        if not ends:
            raise ConnectionError("the provider breaks the stream")

    return StreamingResponse(lines(), media_type="text/event-stream")


class Media:
    """OpenAI's endpoints for audio and images, as documented."""

    def __init__(self) -> None:
        self.breaks = False
        names = ("speech", "transcriptions", "translations")
        routes = [Route(f"/v1/audio/{n}", getattr(self, n), methods=["POST"]) for n in names]
        names = ("generations", "edits", "variations")
        routes += [Route(f"/v1/images/{n}", self.images, methods=["POST"]) for n in names]
        self.app = Starlette(routes=routes)

    async def speech(self, request: Request) -> Response:
        body = await request.json()
        if body.get("stream_format") == "sse":
            return events(
                {"type": "speech.audio.delta", "audio": "UklGRg=="},
                {"type": "speech.audio.done", "usage": SPEECH},
            )
        return Response(b"RIFF" * 1000, media_type="audio/mpeg")

    async def transcriptions(self, request: Request) -> Response:
        async with request.form() as form:
            said = {name: str(form[name]) for name in ("model", "response_format") if name in form}
            stream = form.get("stream") == "true"
        if said.get("response_format") in ("text", "srt", "vtt"):
            return PlainTextResponse(
                "1\n00:00:00,000 --> 00:00:12,500\nHello\n\n2\n00:00:12,500 --> 00:01:00,250\nSea\n"
                if said["response_format"] == "srt"
                else "Hello, sea!\n"
            )
        if stream:
            given: list[dict[str, Any]] = [{"type": "transcript.text.delta", "delta": "Hello"}]
            if self.breaks:
                return events(*given, ends=False)
            return events(*given, {"type": "transcript.text.done", "text": "Hello", "usage": SOUND})
        if said["model"] == "whisper-1":
            verbose = {"duration": 90.5, "language": "en"}
            usage = {"usage": {"type": "duration", "seconds": 91}}
            told = verbose if "response_format" in said else usage
            return JSONResponse({"text": "Hello", **told})
        return JSONResponse({"text": "Hello", "usage": SOUND})

    async def translations(self, request: Request) -> Response:
        async with request.form() as form:
            verbose = form.get("response_format") == "verbose_json"
        told = {"duration": 90.5, "language": "english"} if verbose else {}
        return JSONResponse({"text": "Hello", **told})

    async def images(self, request: Request) -> Response:
        if request.headers["content-type"].startswith("multipart"):
            async with request.form() as form:
                body = {name: str(value) for name, value in form.items()}
        else:
            body = await request.json()
        kind = "image_edit" if request.url.path.endswith("edits") else "image_generation"
        if str(body.get("stream")).lower() == "true":
            partial = {"type": f"{kind}.partial_image", "b64_json": "AA=="}
            if self.breaks:
                return events(partial, ends=False)
            whole = {"type": f"{kind}.completed", "b64_json": "AA==", "usage": IMAGES}
            return events(partial, whole)
        data = [{"b64_json": "AA=="}] * int(body.get("n", 1))
        usage = {"usage": IMAGES} if body["model"] == "gpt-image-1" else {}
        return JSONResponse({"created": 1, "data": data, **usage})


@pytest.fixture(scope="module")
def _media() -> Iterator[tuple[Media, str]]:
    media = Media()
    config = uvicorn.Config(media.app, port=0, log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield media, f"http://127.0.0.1:{port}/v1"
    server.should_exit = True
    thread.join(20)


@pytest.fixture
def media(_media: tuple[Media, str], ledger: Ledger) -> Media:
    if ledger.one("SELECT count(*) FROM wallet.prices WHERE model = 'gpt-image-1'") == 0:
        ledger.db.execute(PRICES)
    _media[0].breaks = False
    return _media[0]


@pytest.fixture
def client(media: Media, _media: tuple[Media, str], wallet: Wallet) -> Iterator[Any]:
    with openai.OpenAI(base_url=_media[1], api_key="x", max_retries=0) as plain:
        yield wrap(plain, wallet)


@pytest.fixture
async def aclient(
    media: Media, _media: tuple[Media, str], awallet: AsyncWallet
) -> AsyncIterator[Any]:
    async with openai.AsyncOpenAI(base_url=_media[1], api_key="x", max_retries=0) as plain:
        yield wrap(plain, awallet)


def sound(seconds: int = 60) -> io.BytesIO:
    """A WAV file of 8,000 bytes to the second."""
    size = seconds * 8000
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8)
    head = struct.pack("<4sI4s", b"RIFF", 36 + size, b"WAVE") + form
    file = io.BytesIO(head + struct.pack("<4sI", b"data", size) + bytes(size))
    file.name = "sea.wav"
    return file


def test_speech_is_charged_by_the_character_or_by_its_events(client: Any, ledger: Ledger) -> None:
    spoken = client.audio.speech.create(model="tts-1", voice="alloy", input="Hello, sea!")
    assert spoken.wallet.cost == Decimal("0.000165")
    assert len(spoken.content) == 4000
    told = client.audio.speech.create(
        model="gpt-4o-mini-tts", voice="alloy", input="Hello, sea!", stream_format="sse"
    )
    assert told.wallet.cost == COST_OF_SPEECH
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input="Hello, sea!"
    ) as streamed:
        assert sum(len(part) for part in streamed.iter_bytes()) == 4000
    raw = client.audio.speech.with_raw_response.create(model="tts-1", voice="alloy", input="Hi")
    assert raw.wallet.cost == Decimal("0.00003")
    assert ledger.holds() == ["settled"] * 4


def test_transcriptions_are_charged_in_every_format(client: Any, ledger: Ledger) -> None:
    create = client.audio.transcriptions.create
    assert create(model="whisper-1", file=sound()).wallet.cost == Decimal("0.0091")
    verbose = create(model="whisper-1", file=sound(), response_format="verbose_json")
    assert verbose.wallet.cost == Decimal("0.00905")
    assert create(model="gpt-4o-transcribe", file=sound()).wallet.cost == COST_OF_SOUND
    # A text says nothing of its use: subtitles end with the sound, a WAV file says its length.
    assert "Sea" in create(model="whisper-1", file=sound(), response_format="srt")
    assert "sea" in create(model="whisper-1", file=sound(90), response_format="text")
    with create(model="gpt-4o-transcribe", file=sound(), stream=True) as stream:
        assert [event.type for event in stream][-1] == "transcript.text.done"
    assert stream.wallet.cost == COST_OF_SOUND
    assert ledger.charges()[3:] == [Decimal("0.006025"), Decimal("0.0091"), COST_OF_SOUND]
    assert ledger.holds() == ["settled"] * 6


def test_a_file_by_its_path_is_not_held_as_nothing(
    client: Any, ledger: Ledger, tmp_path: Path
) -> None:
    path = tmp_path / "sea.mp3"
    path.write_bytes(b"x" * 1_000_000)
    client.audio.transcriptions.create(model="whisper-1", file=path, response_format="text")
    held = ledger.one("SELECT amount FROM wallet.holds WHERE wallet = %s", ledger.name)
    assert held == Decimal("0.05")  # 500 seconds, if it has few bytes to the second
    assert ledger.charges() == [Decimal("0.0063")]  # 63 seconds, as most files have


def test_translations_are_charged(client: Any, ledger: Ledger) -> None:
    create = client.audio.translations.create
    assert create(model="whisper-1", file=sound()).wallet.cost == Decimal("0.0061")
    verbose = create(model="whisper-1", file=sound(), response_format="verbose_json")
    assert verbose.wallet.cost == Decimal("0.00905")
    assert ledger.holds() == ["settled"] * 2


def test_images_are_generated_edited_and_varied(client: Any, ledger: Ledger) -> None:
    picture = ("sea.png", b"PNG", "image/png")
    made = client.images.generate(model="gpt-image-1", prompt="The sea", n=2)
    assert made.wallet.cost == COST_OF_IMAGES
    edited = client.images.edit(model="gpt-image-1", image=[picture, picture], prompt="Waves")
    assert edited.wallet.cost == COST_OF_IMAGES
    varied = client.images.create_variation(model="dall-e-2", image=picture, n=3)
    assert varied.wallet.cost == Decimal("0.06")
    stream = client.images.edit(model="gpt-image-1", image=picture, prompt="Waves", stream=True)
    assert [event.type for event in stream] == ["image_edit.partial_image", "image_edit.completed"]
    assert stream.wallet.cost == COST_OF_IMAGES
    for _ in client.images.generate(model="gpt-image-1", prompt="The sea", stream=True):
        pass
    assert len(ledger.charges()) == 5
    assert ledger.holds() == ["settled"] * 5


def test_streams_of_media_that_break_are_settled(client: Any, media: Media, ledger: Ledger) -> None:
    media.breaks = True
    streams = [
        client.images.generate(model="gpt-image-1", prompt="The sea", stream=True),
        client.audio.transcriptions.create(model="gpt-4o-transcribe", file=sound(), stream=True),
    ]
    for stream in streams:
        with contextlib.suppress(openai.APIConnectionError, httpx2.HTTPError):
            list(stream)
        assert stream.wallet.cost > 0
    sql = (
        "SELECT array_agg(DISTINCT metadata ->> 'usage') FROM wallet.entries "
        "WHERE wallet = %s AND kind = 'charge'"
    )
    assert ledger.one(sql, ledger.name) == ["counted by the client"]
    assert ledger.holds() == ["settled"] * 2


async def test_the_async_client_does_the_same(aclient: Any, media: Media, ledger: Ledger) -> None:
    spoken = await aclient.audio.speech.create(model="tts-1", voice="alloy", input="Hello, sea!")
    assert spoken.wallet.cost == Decimal("0.000165")
    text = await aclient.audio.transcriptions.create(model="whisper-1", file=sound())
    assert text.wallet.cost == Decimal("0.0091")
    stream = await aclient.audio.transcriptions.create(
        model="gpt-4o-transcribe", file=sound(), stream=True
    )
    async for _ in stream:
        pass
    assert stream.wallet.cost == COST_OF_SOUND
    picture = ("sea.png", b"PNG", "image/png")
    edited = await aclient.images.edit(model="gpt-image-1", image=picture, prompt="Waves")
    assert edited.wallet.cost == COST_OF_IMAGES
    varied = await aclient.images.create_variation(model="dall-e-2", image=picture)
    assert varied.wallet.cost == Decimal("0.02")
    translated = await aclient.audio.translations.create(model="whisper-1", file=sound())
    assert translated.wallet.cost == Decimal("0.0061")
    assert ledger.holds() == ["settled"] * 6


def test_an_answer_that_cannot_be_read_is_settled(wallet: Wallet, ledger: Ledger) -> None:
    """The provider has answered, and bills."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        json_type = {"content-type": "application/json"}
        return httpx2.Response(200, content=b"{no json", headers=json_type)

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    plain = openai.OpenAI(api_key="x", base_url="http://x/v1", http_client=http, max_retries=0)
    messages: Any = [{"role": "user", "content": "Hello"}]
    with pytest.raises(ValueError):  # noqa: PT011
        wrap(plain, wallet).chat.completions.create(
            model="gpt-4o", messages=messages, max_tokens=100
        )
    assert ledger.holds() == ["settled"]
    assert len(ledger.charges()) == 1


def test_an_answer_without_usage_is_counted(wallet: Wallet, ledger: Ledger) -> None:
    """Some servers that speak the API of OpenAI say nothing of their use."""
    answers: list[dict[str, Any]] = [
        {"object": "chat.completion", "choices": [{"message": {"content": "word " * 100}}]},
        {"object": "response", "output": [{"content": [{"text": "word " * 100}]}]},
        {"object": "list", "data": [{"embedding": [0.1]}]},
    ]

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json=answers.pop(0))

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    plain = openai.OpenAI(api_key="x", base_url="http://x/v1", http_client=http, max_retries=0)
    client: Any = wrap(plain, wallet)
    text = "Say something about the sea, please. " * 10
    messages: Any = [{"role": "user", "content": text}]
    charges = [
        client.chat.completions.create(model="gpt-4o", messages=messages).wallet.charge,
        client.responses.create(model="gpt-4o", input=text).wallet.charge,
        client.embeddings.create(model="text-embedding-3-small", input=text).wallet.charge,
    ]
    for charge in charges:
        # Four bytes to a token, and not the maximum of the hold.
        assert 90 <= charge.lines[0].quantity <= 115
    assert [charge.lines[1].quantity for charge in charges[:2]] == [125, 125]
    sql = "SELECT count(*) FROM wallet.entries WHERE wallet = %s AND metadata ->> 'usage' <> ''"
    assert ledger.one(sql, ledger.name) == 3


MESSAGES: Any = [{"role": "user", "content": "Say something about the sea, please."}]


def test_helpers_for_streams_settle_at_the_end_and_when_they_are_left(
    openai_client: openai.OpenAI,
    anthropic_client: anthropic.Anthropic,
    wallet: Wallet,
    ledger: Ledger,
    mock: Mock,
) -> None:
    client: Any = wrap(openai_client, wallet)
    claude: Any = wrap(anthropic_client, wallet)
    asked: dict[str, Any] = {"model": "gpt-4o", "messages": MESSAGES}
    told: dict[str, Any] = {"model": "claude-sonnet-5", "max_tokens": 100, "messages": MESSAGES}
    begun: list[Any] = [
        lambda: client.chat.completions.stream(**asked),
        lambda: client.chat.completions.stream(**asked, stream_options={"include_usage": True}),
        lambda: client.responses.stream(model="gpt-4o", input="The sea"),
        lambda: claude.messages.stream(**told),
        lambda: claude.beta.messages.stream(**told),
    ]
    for begin in begun:
        with begin() as stream:
            for _ in stream:
                pass
        with begin() as stream:
            for _ in stream:
                break
    costs = [cost_of(entry) for entry in mock.recorder.log[::2]]
    assert ledger.charges()[::2] == costs
    assert ledger.holds() == ["settled"] * 10


def cost_of(entry: Logged) -> Decimal:
    """What the mock's own log says a call costs."""
    into, out = (300, 1500) if "messages" in entry.path else (250, 1000)
    return Decimal((entry.input_tokens or 0) * into + entry.output_tokens * out) / 100_000_000


async def test_async_helpers_for_streams_settle_at_the_end_and_when_they_are_left(
    aopenai_client: openai.AsyncOpenAI,
    aanthropic_client: anthropic.AsyncAnthropic,
    awallet: AsyncWallet,
    ledger: Ledger,
    mock: Mock,
) -> None:
    client: Any = wrap(aopenai_client, awallet)
    claude: Any = wrap(aanthropic_client, awallet)
    asked: dict[str, Any] = {"model": "gpt-4o", "messages": MESSAGES}
    told: dict[str, Any] = {"model": "claude-sonnet-5", "max_tokens": 100, "messages": MESSAGES}
    begun: list[Any] = [
        lambda: client.chat.completions.stream(**asked),
        lambda: client.responses.stream(model="gpt-4o", input="The sea"),
        lambda: claude.messages.stream(**told),
    ]
    for begin in begun:
        async with begin() as stream:
            async for _ in stream:
                pass
        async with begin() as stream:
            async for _ in stream:
                break
    costs = [cost_of(entry) for entry in mock.recorder.log[::2]]
    assert ledger.charges()[::2] == costs
    assert ledger.holds() == ["settled"] * 6
