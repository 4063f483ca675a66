"""Ends what nobody holds any more, in a thread of its own.

A destructor may run in the middle of anything, also while its thread holds a lock of the pool. So
it must not wait for the database: it hands its work over.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import threading
import weakref
from collections.abc import Callable
from typing import Protocol

Work = Callable[[], None]


class Closable(Protocol):
    """What can be closed, any number of times."""

    def close(self) -> None: ...


class Reaper:
    """Does what it is given, one after the other, and the rest when the program ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = 0
        # Its `put` may be called in a destructor.
        self._queue: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self._watched: weakref.WeakSet[Closable] = weakref.WeakSet()

    def watch(self, one: Closable) -> None:
        """Closes it when the program ends before. Its destructor may call `add`."""
        self._start()
        self._watched.add(one)

    def _start(self) -> None:
        """Starts the thread where there is none. A destructor could not."""
        if self._pid == os.getpid():
            return
        with self._lock:
            if self._pid == os.getpid():
                return
            if self._pid != 0:
                # After a fork the work is the parent's.
                self._queue = queue.SimpleQueue()
                self._watched = weakref.WeakSet()
            else:
                atexit.register(self.drain)
            self._pid = os.getpid()
            threading.Thread(target=self._work, name="pg-wallet-reaper", daemon=True).start()

    def add(self, work: Work) -> None:
        self._queue.put(work)

    def drain(self) -> None:
        """Does what is waiting, and closes what is still watched, in this thread."""
        for one in list(self._watched):
            _do(one.close)
        with contextlib.suppress(queue.Empty):
            while True:
                _do(self._queue.get_nowait())

    def _work(self) -> None:
        while True:
            _do(self._queue.get())


def _do(work: Work) -> None:
    with contextlib.suppress(Exception):  # it has been logged
        work()


reaper = Reaper()
