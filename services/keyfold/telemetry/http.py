"""A very small HTTP/1.1 server for probes and scrapes: GET and HEAD, one request a connection, nothing read but a head.

It is built so that it cannot hold up the process: it runs in a thread of its own, takes a bounded number of
connections and closes any that come beyond, reads a bounded head within a deadline, and ends each connection after its
answer. It knows no paths: `answer` makes the answers.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

CONNECTIONS: Final = 16
HEAD_BYTES: Final = 8192
READ_SECONDS: Final = 5.0
WRITE_SECONDS: Final = 5.0
_REASONS: Final = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}


@dataclass(frozen=True, slots=True)
class Answer:
    """A response. `content_type` and `body` as they are sent."""

    status: int
    body: bytes
    content_type: str = "application/json"


class HttpServer:
    """Serves `answer(path)` on one address until it is stopped. For one event loop."""

    def __init__(self, answer: Callable[[str], Answer]) -> None:
        self._answer = answer
        self._open = 0
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port. Raises `OSError` where the address cannot be had."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=HEAD_BYTES, backlog=CONNECTIONS)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Listen no more. Connections end by their deadlines, or with the loop."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._open >= CONNECTIONS:
            writer.transport.abort()
            return
        self._open += 1
        try:
            async with asyncio.timeout(READ_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            writer.write(self._response(head))
            async with asyncio.timeout(WRITE_SECONDS):
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except asyncio.LimitOverrunError:
            with suppress(OSError):
                writer.write(_encoded(Answer(400, b"{}\n"), with_body=True))
        except (TimeoutError, OSError, EOFError):
            writer.transport.abort()  # who is silent, slow or gone gets no more of our time
        finally:
            self._open -= 1
            writer.close()

    def _response(self, head: bytes) -> bytes:
        line = head.split(b"\r\n", 1)[0].split(b" ")
        if len(line) != 3 or not line[2].startswith(b"HTTP/1."):
            return _encoded(Answer(400, b"{}\n"), with_body=True)
        if line[0] not in {b"GET", b"HEAD"}:
            return _encoded(Answer(405, b"{}\n"), with_body=True)
        path = line[1].split(b"?", 1)[0].decode("ascii", "replace")
        return _encoded(self._answer(path), with_body=line[0] == b"GET")


def _encoded(answer: Answer, *, with_body: bool) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, 'Unavailable')}\r\n"
        f"Content-Type: {answer.content_type}\r\nContent-Length: {len(answer.body)}\r\n"
        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    ).encode("ascii")
    return head + answer.body if with_body else head
