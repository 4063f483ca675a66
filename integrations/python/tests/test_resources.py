"""Every method of the SDKs' resources that costs money is charged or refused.

The paths are read from the SDKs' own source. One that is in no list here fails the test: put it
where it belongs, into `wrap/paths.py` where it costs nothing.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from conftest import Ledger
from psycopg_pool import AsyncConnectionPool

import pg_wallet
from pg_wallet import AsyncWallet, NotMetered, Wallet, WrapOptions, wrap
from pg_wallet.wrap.metered import Provider

# What starts work whose use its answer does not say.
REFUSED = {
    "openai": """
        /batches /videos /videos/characters /videos/edits /videos/extensions /videos/{id}/remix
        /decisions /content_provenance_checks /audio/voices
        /fine_tuning/jobs /fine_tuning/jobs/{id}/resume /fine_tuning/alpha/graders/run
        /evals/{id}/runs /containers
        /threads/runs /threads/{id}/runs /threads/{id}/runs/{id}/submit_tool_outputs
        /vector_stores /vector_stores/{id}/files /vector_stores/{id}/file_batches
        /vector_stores/{id}/search
        /realtime/client_secrets /realtime/translations/client_secrets
        /realtime/sessions /realtime/transcription_sessions
        /realtime/calls /realtime/calls/{id}/accept
        /live/sessions /live/sessions/{id}/accept /live/sessions/{id}/fork
        /chatkit/sessions
        /agents /agents/{id} /agents/automations /agents/automations/{id}
        /agents/automations/{id}/invocations /agents/automations/{id}/resume
        /agents/environments /agents/environments/{id}/files
        /agents/environments/templates /agents/environments/templates/{id}
        /agents/sessions /agents/sessions/{id} /agents/sessions/{id}/events
    """,
    "anthropic": """
        /v1/complete /v1/messages/batches /v1/dreams
        /v1/deployments /v1/deployments/{id} /v1/deployments/{id}/run
        /v1/deployments/{id}/unpause
        /v1/sessions /v1/sessions/{id} /v1/sessions/{id}/events
        /v1/sessions/{id}/resources /v1/sessions/{id}/resources/{id}
    """,
}
SDKS = {"openai": openai.OpenAI, "anthropic": anthropic.Anthropic}
# A call of the client: its verb and its path, which may be a template over several lines.
CALL = re.compile(
    r"self\._(post|put|patch|delete|get|get_api_list)\(\s*(.{0,40}?)\"([^\"]*)\"", re.S
)
SENDS = re.compile(r"self\._(?:post|put|patch|delete|get|get_api_list)\(")
POST = re.compile(r"self\._(?:post|put|patch)\b")
# Helpers without a path of their own call other methods, or open a web socket.
HELPERS = {
    "openai": """
        connect create_and_poll create_and_run_poll create_and_run_stream create_and_stream
        for_result parse poll prepare prepare_directory stream submit_tool_outputs_and_poll
        submit_tool_outputs_stream unwrap upload upload_and_poll upload_file_chunked
        verify_signature wait_for_processing
    """,
    "anthropic": """
        parse_unverified poller stream thread tool_runner unwrap worker
    """,
}


def modules(package: str) -> Iterator[ModuleType]:
    root = importlib.import_module(f"{package}.resources")
    for one in pkgutil.walk_packages(root.__path__, f"{package}.resources."):
        yield importlib.import_module(one.name)


def methods(package: str) -> Iterator[tuple[str, str, str]]:
    """Class, name and source of each public method of the resources."""
    for module in modules(package):
        for name, cls in vars(module).items():
            if not inspect.isclass(cls) or cls.__module__ != module.__name__:
                continue
            if not any(base.__name__.endswith("APIResource") for base in cls.__mro__):
                continue
            for method, function in vars(cls).items():
                if inspect.isfunction(function) and not method.startswith("_"):
                    yield name, method, inspect.getsource(function)


def posts(package: str) -> set[str]:
    """The paths of all POSTs, with `{id}` for each part that varies."""
    found = set()
    for name, method, source in methods(package):
        calls = CALL.findall(source)
        with_post = 'method="post"' in source
        if with_post or POST.search(source):
            assert len(calls) == len(SENDS.findall(source)), f"{name}.{method} cannot be read"
        for verb, _, path in calls:
            if verb == "post" or (verb == "get_api_list" and with_post):
                found.add(re.sub(r"\{\w+\}", "{id}", path.split("?")[0]))
    return found


@pytest.mark.parametrize("package", SDKS)
def test_every_post_of_the_sdk_is_charged_free_or_refused(package: str) -> None:
    provider = Provider(SDKS[package](api_key="x"), WrapOptions())
    refused = set(REFUSED[package].split())
    unknown = set()
    for path in posts(package):
        called = path.replace("{id}", "an-id_1")
        try:
            provider.endpoint(called)
        except NotMetered:
            if path not in refused:
                unknown.add(path)
        else:
            assert path not in refused, path
    assert unknown == set()
    # An older SDK has fewer calls; a list must not name what no SDK has.
    assert refused - posts(package) <= {"/v1/complete"}


@pytest.mark.parametrize("package", SDKS)
def test_every_helper_of_the_sdk_is_known(package: str) -> None:
    known = set(HELPERS[package].split())
    for name, method, source in methods(package):
        if not SENDS.search(source):
            assert method in known, f"{name}.{method}"


def test_verbs_other_than_post_read_or_delete() -> None:
    """The hooks are on `post`: no model works because of another verb."""
    changes = set()
    for package in SDKS:
        for _, _, source in methods(package):
            changes |= {(verb, path) for verb, _, path in CALL.findall(source) if verb in _CHANGES}
    assert {path for _, path in changes if "organization" not in path} == set()


_CHANGES = ("put", "patch")


def unreachable(request: httpx2.Request) -> httpx2.Response:
    raise AssertionError(f"{request.url} was asked")


@pytest.fixture
def refusing(wallet: Wallet) -> openai.OpenAI:
    http = httpx2.Client(transport=httpx2.MockTransport(unreachable))
    client = openai.OpenAI(api_key="x", base_url="http://x/v1", http_client=http, max_retries=0)
    return wrap(client, wallet)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_calls_that_are_not_metered_do_not_reach_the_provider(
    refusing: openai.OpenAI, ledger: Ledger
) -> None:
    client: Any = refusing
    calls: list[Any] = [
        lambda: client.batches.create(
            completion_window="24h", endpoint="/v1/responses", input_file_id="f"
        ),
        lambda: client.videos.create(prompt="The sea"),
        lambda: client.vector_stores.search("v", query="The sea"),
        lambda: client.beta.threads.create_and_run(assistant_id="a"),
        lambda: client.post("/a/path/of/the/future", cast_to=object),
        lambda: client.with_raw_response.batches.create(
            completion_window="24h", endpoint="/v1/responses", input_file_id="f"
        ),
        lambda: client.with_options(timeout=1).videos.create(prompt="The sea"),
        lambda: client.realtime.connect(model="gpt-realtime").__enter__(),
        lambda: client.responses.connect().__enter__(),
        lambda: client.images.generate(prompt="no model is named"),
        lambda: client.chat.completions.create(
            model="gpt-4o", messages=[], extra_body={"stream": True}
        ),
    ]
    for number, call in enumerate(calls):
        with pytest.raises(NotMetered) as refused:
            call()
        assert refused.value.hint is not None, number
    assert ledger.holds() == []


async def test_async_calls_that_are_not_metered_do_not_reach_the_provider(
    apool: AsyncConnectionPool[Any], name: str
) -> None:
    http = httpx2.AsyncClient(transport=httpx2.MockTransport(unreachable))
    plain = anthropic.AsyncAnthropic(api_key="x", base_url="http://x", http_client=http)
    client: Any = wrap(plain, AsyncWallet(apool, name))
    with pytest.raises(NotMetered):
        await client.messages.batches.create(requests=[])
    with pytest.raises(NotMetered):
        await client.beta.messages.batches.create(requests=[])
    sockets: Any = wrap(openai.AsyncOpenAI(api_key="x"), AsyncWallet(apool, name))
    with pytest.raises(NotMetered):
        await sockets.realtime.connect(model="gpt-realtime").__aenter__()


def test_calls_that_are_not_metered_can_be_let_through(wallet: Wallet, ledger: Ledger) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json={"id": "b", "object": "batch"})

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    plain = openai.OpenAI(api_key="x", base_url="http://x/v1", http_client=http)
    client = wrap(plain, wallet, WrapOptions(unmetered="pass"))
    batch = client.batches.create(
        completion_window="24h", endpoint="/v1/responses", input_file_id="f"
    )
    assert batch.id == "b"
    assert client.websocket_base_url is None
    assert ledger.holds() == []


def test_what_extra_body_says_is_held_and_charged(wallet: Wallet, ledger: Ledger) -> None:
    """It replaces the members of the request: a dear model must not be held as a cheap one."""
    sent = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request.read())
        usage = {"prompt_tokens": 1000, "completion_tokens": 1000, "total_tokens": 2000}
        return httpx2.Response(200, json={"object": "chat.completion", "usage": usage})

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    plain = openai.OpenAI(api_key="x", base_url="http://x/v1", http_client=http)
    answered: Any = wrap(plain, wallet).chat.completions.create(
        model="gpt-4o-mini",
        messages=[{"role": "user", "content": "Hello"}],
        extra_body={"model": "gpt-4o", "max_tokens": 6000.0, "top_k": 5},
    )
    assert answered.wallet.charge.model == "gpt-4o"
    assert ledger.charges() == [answered.wallet.cost]
    held = ledger.one("SELECT amount FROM wallet.holds WHERE wallet = %s", ledger.name)
    assert held > 6000 * 10 / 1_000_000
    assert b'"gpt-4o"' in sent[0]
    assert b'"top_k":5' in sent[0].replace(b": ", b":")


def test_a_wrapped_client_is_not_wrapped_again(refusing: openai.OpenAI, wallet: Wallet) -> None:
    with pytest.raises(TypeError, match="wrapped already"):
        wrap(refusing, wallet)
    assert isinstance(refusing, openai.OpenAI)
    assert issubclass(pg_wallet.NotMetered, pg_wallet.WalletError)
