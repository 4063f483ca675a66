"""Usage that could not be booked, in a local SQLite file until it can.

A row is one call with its idempotency key. It is deleted after the call went through, so a process
that dies in between makes the call again, and the wallet books it once.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from . import exact
from .errors import IdempotencyConflict
from .statements import Statement, call

_SCHEMA = """
CREATE TABLE IF NOT EXISTS spool (
    id INTEGER PRIMARY KEY,
    wallet TEXT NOT NULL,
    function TEXT NOT NULL,
    key TEXT NOT NULL,
    arguments TEXT NOT NULL,
    added_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    attempts INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    UNIQUE (wallet, function, key)
)
"""


@dataclass(frozen=True)
class FlushReport:
    """What `flush_spool` did: `booked` calls, `refused` ones, and how many rows are `left`."""

    booked: int
    refused: int
    left: int


@dataclass(frozen=True)
class Spooled:
    """A row of the spool. `error` is what the wallet said when it refused the call."""

    id: int
    wallet: str
    function: str
    arguments: Mapping[str, Any]
    attempts: int
    error: str | None

    def statement(self) -> Statement[Any]:
        return call(self.function, self.arguments)


class Spool:
    """A spool in the file `path`. Several wallets, threads and processes may share it.

    The file has the arguments of the calls, the secret of an API key among them: only its owner can
    read it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        self._open()
        if hasattr(os, "register_at_fork"):
            _spools.add(self)

    def _open(self) -> None:
        self.flushing = threading.Lock()
        self._lock = threading.Lock()
        self._db = sqlite3.connect(
            self.path, timeout=30, isolation_level=None, check_same_thread=False
        )
        with self._lock:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute(_SCHEMA)

    def add(self, statement: Statement[Any]) -> None:
        """Keeps a call; the same call once. Another call with its key is refused."""
        arguments = {name: _plain(value) for name, value in statement.arguments.items()}
        key = arguments["idempotency_key"]
        text = exact.dumps(arguments)
        insert = (
            "INSERT OR IGNORE INTO spool (wallet, function, key, arguments) VALUES (?, ?, ?, ?)"
        )
        find = "SELECT arguments FROM spool WHERE wallet = ? AND function = ? AND key = ?"
        identity = (statement.wallet, statement.function, key)
        with self._lock:
            if self._db.execute(insert, (*identity, text)).rowcount == 1:
                return
            found = self._db.execute(find, identity).fetchone()
        # None: another process has booked it meanwhile, and the wallet knows the key.
        if found is not None and _compared(found[0]) != _compared(text):
            raise IdempotencyConflict(f'idempotency key "{key}" was used for another request')

    def rows(self, after: int = 0, limit: int = 100) -> list[Spooled]:
        """Rows in the order in which they were added."""
        sql = (
            "SELECT id, wallet, function, arguments, attempts, error FROM spool "
            "WHERE id > ? ORDER BY id LIMIT ?"
        )
        with self._lock:
            found = self._db.execute(sql, (after, limit)).fetchall()
        return [
            Spooled(i, w, f, json.loads(arguments, parse_float=Decimal), attempts, error)
            for i, w, f, arguments, attempts, error in found
        ]

    def booked(self, row: Spooled) -> None:
        with self._lock:
            self._db.execute("DELETE FROM spool WHERE id = ?", (row.id,))

    def refused(self, row: Spooled, error: str) -> None:
        sql = "UPDATE spool SET attempts = attempts + 1, error = ? WHERE id = ?"
        with self._lock:
            self._db.execute(sql, (error, row.id))

    def __len__(self) -> int:
        with self._lock:
            (count,) = self._db.execute("SELECT count(*) FROM spool").fetchone()
        return int(count)

    def waiting(self) -> bool:
        """Whether a row is there that was not refused."""
        sql = "SELECT EXISTS (SELECT 1 FROM spool WHERE error IS NULL)"
        with self._lock:
            (found,) = self._db.execute(sql).fetchone()
        return bool(found)

    def close(self) -> None:
        with self._lock:
            self._db.close()


_spools: weakref.WeakSet[Spool] = weakref.WeakSet()
# Connections of a parent process, which SQLite forbids a child to use, and to close.
_of_parents: list[sqlite3.Connection] = []


def _after_fork() -> None:
    for spool in list(_spools):
        _of_parents.append(spool._db)
        spool._open()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _compared(text: str) -> dict[str, Any]:
    """What two calls with one key must have in common: all but the time of the attempt."""
    arguments: dict[str, Any] = json.loads(text, parse_float=Decimal)
    arguments.pop("event_at", None)
    return arguments


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (UUID, float)):
        return str(value)
    return value
