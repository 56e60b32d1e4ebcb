"""Load for fault injection: clients that call each verb at a steady pace, whether or not earlier calls were answered.

So what a caller meets while something is broken is seen by time, and not only when the last call comes back. The
choices are seeded; what meets which fault still depends on time.
"""

import asyncio
import random
import secrets
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from tests.support.whole_system import WholeSystem

from fault_injection.calls import DATA, Call, Told
from fault_injection.verbs import Act, Done, Verbs
from keyfold.client import Keyfold
from keyfold.events.errors import KeyfoldError, Unavailable
from keyfold.events.streams import partition_of
from keyfold.identity import create_identity

LOADER: Final = "loader"
MARKER_BYTES: Final = 24
_CLIENTS: Final = 2
_OUTSTANDING: Final = 40
_LATE_S: Final = 90.0
_PASSING: Final = frozenset({"Expired", "TokenUnavailable"})
"""Codes that the use of a key which is always enabled may be refused with: the caller may ask again."""
_DOUBTFUL: Final = "KeyVersionUnusable"
"""The version was to come of a rotation that failed, or this is wrong: the log will tell."""


class Load:
    """Calls between `start` and `finish`, `rate` times as many as the table of verbs says."""

    def __init__(self, system: WholeSystem, seed: int, directory: Path, rate: float = 1.0) -> None:
        self._system, self._seed, self._directory, self._rate = system, seed, directory, rate
        self.marker = secrets.token_bytes(MARKER_BYTES)
        self.calls: list[Call] = []
        self.doubtful: list[str] = []
        self.unsent = 0
        self._exit = AsyncExitStack()
        self._stop = asyncio.Event()
        self._tickers: list[asyncio.Task[None]] = []
        self._running: dict[str, set[asyncio.Task[None]]] = {}

    @property
    def partitions(self) -> int:
        """How many partitions the deployment has."""
        return self._system.config.partitions

    @property
    def wrong(self) -> list[str]:
        """What no caller may ever see."""
        return self.verbs.made.wrong

    async def start(self) -> None:
        """Register a principal, create its keys, and begin."""
        admin = await self._connect(self._system.config.identities_directory / "admin-1.json")
        path = self._directory / f"{LOADER}.json"
        identity = create_identity(path, LOADER, self._system.deployment)
        await admin.register_principal(LOADER, identity.signer.public_key)
        await admin.put_policy("load", f'permit (principal == Principal::"{LOADER}", action, resource);')
        clients = [await self._connect(path) for _ in range(_CLIENTS)]
        self.verbs = Verbs(admin, clients, self.partitions, self.marker)
        await self.verbs.prepare()
        for verb, (pause_s, act) in self.verbs.table().items():
            self._running[verb] = set()
            self._tickers.append(asyncio.create_task(self._tick(verb, pause_s / self._rate, act)))

    async def finish(self) -> None:
        """End the load, wait for what is under way, and open and verify all that was made."""
        self._stop.set()
        await asyncio.gather(*self._tickers)
        pending = [task for tasks in self._running.values() for task in tasks]
        if pending:
            _, late = await asyncio.wait(pending, timeout=_LATE_S)
            if late:
                self.wrong.append(f"{len(late)} callers never came back")
        await self.verbs.open_all()

    async def close(self) -> None:
        """Disconnect, whatever happened."""
        self._stop.set()
        tasks = [*self._tickers, *(task for tasks in self._running.values() for task in tasks)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._exit.aclose()

    async def _connect(self, identity: Path) -> Keyfold:
        client = self._system.client(identity, call_timeout_s=30.0, retry_attempts=20, connect_timeout_s=60.0)
        return await self._exit.enter_async_context(client)

    async def _tick(self, verb: str, pause_s: float, act: Act) -> None:
        source, running = random.Random(f"{self._seed}/{verb}"), self._running[verb]  # noqa: S311 - choices of a test
        while not self._stop.is_set():
            await asyncio.sleep(source.uniform(0.5, 1.5) * pause_s)
            choices = random.Random(source.random())  # noqa: S311
            if len(running) >= _OUTSTANDING:
                self.unsent += 1
                continue
            task = asyncio.create_task(self._call(verb, act, choices))
            running.add(task)
            task.add_done_callback(running.discard)

    async def _call(self, verb: str, act: Act, source: random.Random) -> None:
        began = time.monotonic()
        try:
            done = await act(source)
        except Unavailable as error:
            self._note(verb, began, "unknown", error.code)
        except KeyfoldError as error:
            self._note(verb, began, "refused", error.code)
            if verb in DATA and error.code == _DOUBTFUL:
                self.doubtful.append(f"{verb} was refused: {error}")
            elif verb in DATA and error.code not in _PASSING:
                self.wrong.append(f"{verb} with a key that is always enabled was refused: {error}")
        except Exception as error:  # noqa: BLE001 - what is not typed is what this looks for
            self.wrong.append(f"{verb}: not a typed error: {type(error).__name__}: {error}")
        else:
            self._note(verb, began, "acknowledged", done=done)

    def _note(self, verb: str, began: float, told: Told, code: str = "", done: Done | None = None) -> None:
        partition = None if done is None else partition_of(done.stream, self.partitions)
        command = None if done is None else done.command
        self.calls.append(Call(verb, began, time.monotonic(), told, code, partition, command))
