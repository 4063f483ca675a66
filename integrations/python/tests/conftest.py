"""A database with the extension, a wallet for each test, and providers that are not the real ones.

PostgreSQL is found by PGHOST and PGPORT: scripts/test-integrations.sh sets them.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any

import anthropic
import openai
import psycopg
import pytest
from llmock.pytest_plugin import LLMock
from llmock.testing import LLMockServer
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from recorder import Recorder

from pg_wallet import AsyncWallet, Wallet

# LiteLLM asks the network for a list of prices where it is not told to leave that.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
DATABASE = os.environ.get("WALLET_TEST_DATABASE", "wallet_integrations")

# Per million tokens; the model that costs nothing for input shows what output costs.
PRICES = """
SELECT wallet.set_price(m, 'input_tokens', i, per => 1000000, effective_from => '2024-01-01'),
       wallet.set_price(m, 'output_tokens', o, per => 1000000, effective_from => '2024-01-01')
  FROM (VALUES ('gpt-4o', 2.50, 10.00), ('gpt-4o-mini', 0.15, 0.60),
               ('claude-sonnet-5', 3.00, 15.00)) AS v (m, i, o);
SELECT wallet.set_price('text-embedding-3-small', 'input_tokens', 0.02, per => 1000000,
                        effective_from => '2024-01-01');
SELECT wallet.set_price('dall-e-3', 'images', 0.04, effective_from => '2024-01-01');
SELECT wallet.set_price('tts-1', 'input_characters', 15.00, per => 1000000,
                        effective_from => '2024-01-01');
SELECT wallet.set_price('whisper-1', 'audio_seconds', 0.006, per => 60,
                        effective_from => '2024-01-01');
"""


@pytest.fixture(scope="session")
def conninfo() -> Iterator[str]:
    with psycopg.connect("dbname=postgres", autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0 ENCODING 'UTF8'")
    info = f"dbname={DATABASE}"
    with psycopg.connect(info, autocommit=True) as db:
        db.execute("CREATE EXTENSION wallet")
        db.execute(PRICES)
    yield info
    with psycopg.connect("dbname=postgres", autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")


@pytest.fixture
def db(conninfo: str) -> Iterator[psycopg.Connection[Any]]:
    """What an administrator sees."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        yield connection


_names = itertools.count(1)


@pytest.fixture
def name(db: psycopg.Connection[Any]) -> str:
    """A wallet with 100 USD."""
    name = f"w{next(_names)}"
    db.execute("SELECT wallet.create_wallet(%s)", (name,))
    db.execute("SELECT wallet.fund(%s, 100)", (name,))
    return name


@pytest.fixture(scope="session")
def pool(conninfo: str) -> Iterator[ConnectionPool[Any]]:
    with ConnectionPool(conninfo, min_size=2, max_size=16, open=True) as pool:
        yield pool


@pytest.fixture
async def apool(conninfo: str) -> AsyncIterator[AsyncConnectionPool[Any]]:
    async with AsyncConnectionPool(conninfo, min_size=1, max_size=16, open=False) as pool:
        yield pool


@pytest.fixture
def wallet(pool: ConnectionPool[Any], name: str) -> Wallet:
    return Wallet(pool, name)


@pytest.fixture
async def awallet(apool: AsyncConnectionPool[Any], name: str) -> AsyncWallet:
    return AsyncWallet(apool, name)


class Ledger:
    """What the database says of a wallet."""

    def __init__(self, db: psycopg.Connection[Any], name: str) -> None:
        self.db = db
        self.name = name

    def charges(self) -> list[Decimal]:
        sql = (
            "SELECT -amount FROM wallet.entries WHERE wallet = %s AND kind = 'charge' ORDER BY seq"
        )
        return [cost for (cost,) in self.db.execute(sql, (self.name,))]

    def holds(self) -> list[str]:
        sql = "SELECT status FROM wallet.holds WHERE wallet = %s ORDER BY created_at"
        return [status for (status,) in self.db.execute(sql, (self.name,))]

    def one(self, sql: str, *parameters: Any) -> Any:
        row = self.db.execute(sql, parameters).fetchone()
        return row[0] if row else None

    def held(self) -> Decimal:
        found = self.one("SELECT held FROM wallet.balances WHERE wallet = %s", self.name)
        assert isinstance(found, Decimal)
        return found

    def balance(self) -> Decimal:
        found = self.one("SELECT balance FROM wallet.balances WHERE wallet = %s", self.name)
        assert isinstance(found, Decimal)
        return found


@pytest.fixture
def ledger(db: psycopg.Connection[Any], name: str) -> Ledger:
    return Ledger(db, name)


class Mock:
    """llmock from PyPI, which answers, streams, stalls and breaks streams, behind a recorder."""

    def __init__(self, server: Any, recorder: Recorder) -> None:
        self.server = server
        self.recorder = recorder
        self.faults = LLMock(server)

    def base_url(self, provider: str) -> str:
        return str(self.server.base_url(provider))

    def reset(self) -> None:
        self.server.state.scenarios.clear()
        self.server.state.journal.clear()
        self.recorder.clear()


@pytest.fixture(scope="session")
def _mock() -> Iterator[Mock]:
    server = LLMockServer()
    recorder = Recorder(server.app)
    server.app = recorder
    with server:
        yield Mock(server, recorder)


@pytest.fixture
def mock(_mock: Mock) -> Iterator[Mock]:
    _mock.reset()
    yield _mock
    _mock.reset()


@pytest.fixture
def openai_client(mock: Mock) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=mock.base_url("openai"), api_key="x", max_retries=0) as client:
        yield client


@pytest.fixture
async def aopenai_client(mock: Mock) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=mock.base_url("openai"), api_key="x", max_retries=0
    ) as client:
        yield client


@pytest.fixture
def anthropic_client(mock: Mock) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        base_url=mock.base_url("anthropic"), api_key="x", max_retries=0
    ) as client:
        yield client


@pytest.fixture
async def aanthropic_client(mock: Mock) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(
        base_url=mock.base_url("anthropic"), api_key="x", max_retries=0
    ) as client:
        yield client
