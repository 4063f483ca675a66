"""Extends the holds of requests that take long: one thread for all requests of a wallet."""

from __future__ import annotations

import heapq
import itertools
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING

from . import telemetry

if TYPE_CHECKING:
    from .request import Request


class Extender:
    """Calls `extend_now` of each request when half of its time is over.

    The thread starts with the first request that is due, and ends when it has nothing to do. It has
    weak references: a request that nobody holds any more is not extended.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._wake = threading.Condition()
        self._queue: list[tuple[float, int, weakref.ref[Request]]] = []
        self._count = itertools.count()
        self._running = False

    def add(self, request: Request, due: float) -> None:
        if self._pid != os.getpid():
            self._begin()  # the thread, and perhaps the lock, are the parent's
        with self._wake:
            heapq.heappush(self._queue, (due, next(self._count), weakref.ref(request)))
            if not self._running:
                self._running = True
                threading.Thread(target=self._work, name="pg-wallet-extend", daemon=True).start()
            elif self._queue[0][0] == due:
                self._wake.notify()  # it comes before what the thread waits for

    def _next(self) -> Request | None:
        """The next request that is due; None when there is none left."""
        with self._wake:
            while True:
                while self._queue and _is_over(self._queue[0][2]()):
                    heapq.heappop(self._queue)
                if not self._queue:
                    # A moment of patience saves a thread for each request of a quiet program.
                    if not self._wake.wait(timeout=5) and not self._queue:
                        self._running = False
                        return None
                    continue
                wait = self._queue[0][0] - time.monotonic()
                if wait <= 0:
                    request = heapq.heappop(self._queue)[2]()
                    if request is not None:
                        return request
                    continue
                self._wake.wait(timeout=wait)

    def _work(self) -> None:
        while (request := self._next()) is not None:
            due = None
            try:
                due = request.extend_now()
            except Exception:  # the thread works for other requests too
                telemetry.logger.warning("a hold was not extended", exc_info=True)
            if due is not None:
                self.add(request, due)
            del request  # no reference while the thread waits


def _is_over(request: Request | None) -> bool:
    return request is None or request.closed
