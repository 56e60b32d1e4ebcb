"""A TCP proxy whose routes can be cut and healed: a network that drops packets.

On a cut route nothing moves in either direction and nobody is told: what was sent waits (as in a sender's buffer that
gets no acknowledgement), new connections are taken and lead nowhere. When the route is healed all of it goes on, as
TCP's repetitions do when packets arrive again. The program reads `cut NAME` and `heal NAME` from its standard input and
ends with it, so it cannot outlive whoever started it.
"""

import asyncio
import json
import subprocess
import sys
from contextlib import suppress
from typing import Final

_CHUNK: Final = 65_536


class Route:
    """From one port of this machine to another."""

    def __init__(self, listen: int, target: int) -> None:
        self.listen, self.target = listen, target
        self._open = asyncio.Event()
        self._open.set()
        self._pairs: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.listen)

    async def stop(self) -> None:
        """Listen no more, and end every connection."""
        self._server.close()
        for task in self._pairs:
            task.cancel()
        await asyncio.gather(*self._pairs, return_exceptions=True)

    def cut(self) -> None:
        """Let nothing pass."""
        self._open.clear()

    def heal(self) -> None:
        """Let everything pass."""
        self._open.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pairs.add(task)
        try:
            await self._open.wait()
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.target)
            await asyncio.gather(self._pump(reader, there_writer), self._pump(there_reader, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._pairs.discard(task)
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(_CHUNK):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
                await self._open.wait()
        finally:
            await self._open.wait()
            writer.close()


async def serve(ports: dict[str, tuple[int, int]]) -> None:
    """Serve routes (name: port here, port there) until the standard input ends."""
    routes = {name: Route(*pair) for name, pair in ports.items()}
    for route in routes.values():
        await route.start()
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    print("ready", flush=True)
    while line := (await commands.readline()).decode().split():
        (routes[line[1]].cut if line[0] == "cut" else routes[line[1]].heal)()
        print("done", flush=True)
    for route in routes.values():
        route.heal()
        await route.stop()


class Proxies:
    """The program, run beside the stack. Calls block for a moment."""

    def __init__(self, ports: dict[str, tuple[int, int]]) -> None:
        self.names = tuple(ports)
        self._process = subprocess.Popen(
            [sys.executable, __file__, json.dumps(ports)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answered("ready")

    def cut(self, name: str) -> None:
        """Let nothing pass on this route."""
        self._say(f"cut {name}")

    def heal(self, name: str) -> None:
        """Let everything pass on this route."""
        self._say(f"heal {name}")

    def stop(self) -> None:
        """End the program."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        self._answered("done")

    def _answered(self, word: str) -> None:
        assert self._process.stdout is not None
        said = self._process.stdout.readline().strip()
        if said != word:
            raise RuntimeError(f"the proxy ended or said {said!r} instead of {word!r}")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(serve({name: (here, there) for name, (here, there) in json.loads(sys.argv[1]).items()}))
