"""The three pages of a process: `/metrics`, `/livez` and `/readyz`, served from a thread beside the event loop.

They are answered from the last report and from counters, so an answer waits for nothing of the service, and comes also
while its event loop is stuck. Metrics are rendered at most once a second, however often they are asked for.
"""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from keyfold.telemetry.http import Answer, HttpServer
from keyfold.telemetry.vitals import Check, Vitals, document

RENDER_SECONDS: Final = 1.0
_START_SECONDS: Final = 5.0


class Pages:
    """What is served. For one thread."""

    def __init__(
        self,
        vitals: Vitals,
        registry: CollectorRegistry = REGISTRY,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._vitals, self._registry, self._clock_s = vitals, registry, clock_s
        self._rendered: tuple[float, bytes] | None = None

    def answer(self, path: str) -> Answer:
        """Return the page."""
        if path == "/metrics":
            return Answer(200, self._metrics(), CONTENT_TYPE_LATEST)
        if path == "/livez":
            return self._verdict(*self._vitals.alive(), ("alive", "stuck"))
        if path == "/readyz":
            return self._verdict(*self._vitals.ready(), ("ready", "not-ready"))
        return Answer(404, b"{}\n")

    def _verdict(self, ok: bool, checks: list[Check], words: tuple[str, str]) -> Answer:
        told = document(self._vitals.service, words[0] if ok else words[1], checks)
        return Answer(200 if ok else 503, json.dumps(told).encode() + b"\n")

    def _metrics(self) -> bytes:
        now = self._clock_s()
        if self._rendered is None or now - self._rendered[0] > RENDER_SECONDS:
            self._rendered = (now, generate_latest(self._registry))
        return self._rendered[1]


class Endpoint:
    """The thread that serves them. `start` and `stop` block for a moment."""

    def __init__(self, pages: Pages) -> None:
        self._server = HttpServer(pages.answer)
        self._started = threading.Event()
        self._stop: Callable[[], object] = lambda: None
        self._failed: OSError | None = None
        self._thread: threading.Thread | None = None
        self.port = 0

    def start(self, host: str, port: int) -> None:
        """Listen on an address; port 0 takes a free one. Raises `OSError` where it cannot be had."""
        work = threading.Thread(target=lambda: asyncio.run(self._run(host, port)), name="telemetry", daemon=True)
        self._thread = work
        work.start()
        if not self._started.wait(_START_SECONDS):
            raise TimeoutError("the address was not had in time")
        if self._failed is not None:
            raise self._failed

    def stop(self) -> None:
        """Listen no more, and end the thread. What is being answered is cut off."""
        self._stop()
        if self._thread is not None:
            self._thread.join(_START_SECONDS)

    async def _run(self, host: str, port: int) -> None:
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        try:
            self.port = await self._server.start(host, port)
        except OSError as error:
            self._failed = error
            self._started.set()
            return

        def stop() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(ended.set)

        self._stop = stop
        self._started.set()
        await ended.wait()
        await self._server.stop()
