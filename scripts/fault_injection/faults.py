"""The kinds of faults: how each is injected, how long it is held, and how its cause is taken away.

An injector returns when the cause is gone and what was killed runs again. What callers met meanwhile, and how long it
took until they were served again, is read from their calls (`recovery`).
"""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from fault_injection import clocks, disks
from fault_injection.deployment import POSTGRES, SPARES, Deployment
from fault_injection.recovery import Injected

GRACEFUL_S: Final = 10.0
_PULSE_S: Final = 0.15


@dataclass(frozen=True, slots=True)
class Planned:
    """What is to be done to whom. `hold_s` is how long the cause stays; `number` is a kind's own (a clock's jump)."""

    kind: str
    target: str
    hold_s: float
    number: int = 0


class Faults:
    """Injects faults into a deployment."""

    def __init__(self, system: Deployment) -> None:
        self._system = system

    async def inject(self, planned: Planned) -> Injected:
        """Do it."""
        return await _INJECTORS[planned.kind](self, planned)

    async def nothing(self, planned: Planned) -> Injected:
        """Break nothing: what callers meet then is the measure for all others."""
        began = time.monotonic()
        await asyncio.sleep(planned.hold_s)
        return _injected(planned, began, time.monotonic())

    async def kill(self, planned: Planned) -> Injected:
        """kill -9, and start again after a while."""
        began = await self._signal(planned.target, signal.SIGKILL)
        await asyncio.sleep(planned.hold_s)
        ended = time.monotonic()
        await self._start(planned.target)
        return _injected(planned, began, ended, f"served again after {time.monotonic() - ended:.1f} s")

    async def pause(self, planned: Planned) -> Injected:
        """SIGSTOP, and SIGCONT after a while: it knows nothing of it, while its sessions and transactions end."""
        began = await self._signal(planned.target, signal.SIGSTOP)
        try:
            await asyncio.sleep(planned.hold_s)
        finally:
            ended = await self._signal(planned.target, signal.SIGCONT)
        return _injected(planned, began, ended)

    async def leader(self, planned: Planned) -> Injected:
        """Stop a broker in order: it hands its partitions over, and leads them again some time after it is back."""
        began = time.monotonic()
        took = await asyncio.to_thread(self._system.stop_process, planned.target)
        await asyncio.sleep(planned.hold_s)
        ended = time.monotonic()
        await self._start(planned.target)
        return _injected(
            planned, began, ended, f"stopped in {took:.1f} s, served again after {time.monotonic() - ended:.1f} s"
        )

    async def partition(self, planned: Planned) -> Injected:
        """Let no packet pass between a process and some brokers, or Postgres."""
        name, _, targets = planned.target.partition(" from ")
        began = time.monotonic()
        self._system.cut(name, *targets.split(", "))
        try:
            await asyncio.sleep(planned.hold_s)
        finally:
            ended = time.monotonic()
            self._system.heal(name, *targets.split(", "))
        return _injected(planned, began, ended)

    async def postgres(self, planned: Planned) -> Injected:
        """Restart Postgres: in order, or after kill -9."""
        if planned.target.endswith("-9"):
            began = await self._signal(POSTGRES, signal.SIGKILL)
        else:
            began = time.monotonic()
            await asyncio.to_thread(self._system.stop_process, POSTGRES)
        await asyncio.sleep(planned.hold_s)
        ended = time.monotonic()
        await self._start(POSTGRES)
        return _injected(planned, began, ended)

    async def disk(self, planned: Planned) -> Injected:
        """Fill a file system to the last byte, and make room again. Whoever ended over it is started again."""
        place = disks.place(self._system, planned.target)
        began = time.monotonic()
        try:
            await asyncio.to_thread(disks.fill, place)
            await asyncio.sleep(planned.hold_s)
        finally:
            await asyncio.to_thread(disks.free, place)
        ended, ran = time.monotonic(), self._system.runs(planned.target)
        await self._start(planned.target)
        return _injected(planned, began, ended, "it went on" if ran else "it had ended")

    async def slow(self, planned: Planned) -> Injected:
        """Stop a broker again and again for a moment, as one whose disk takes that long for each write."""
        began = time.monotonic()
        while time.monotonic() - began < planned.hold_s:
            await self._signal(planned.target, signal.SIGSTOP)
            await asyncio.sleep(_PULSE_S)
            await self._signal(planned.target, signal.SIGCONT)
            await asyncio.sleep(_PULSE_S / 3)
        return _injected(planned, began, time.monotonic())

    async def token(self, planned: Planned) -> Injected:
        """Take the tokens away, and bring them back."""
        tokens = self._system.tokens
        began = time.monotonic()
        away = tokens.rename(tokens.with_name("away"))
        try:
            await asyncio.sleep(planned.hold_s)
        finally:
            away.rename(tokens)
        return _injected(planned, began, time.monotonic())

    async def clock(self, planned: Planned) -> Injected:
        """Let one process's clock jump, and jump back. It was started anew under a clock that can."""
        name, system = planned.target, self._system
        system.environments[name] = clocks.environment(system.directory, name)
        await asyncio.to_thread(system.stop_process, name)
        await self._start(name)
        began = time.monotonic()
        clocks.shift(system.directory, name, planned.number)
        try:
            await asyncio.sleep(planned.hold_s)
        finally:
            clocks.shift(system.directory, name, 0)
            ended = time.monotonic()
            del system.environments[name]
        return _injected(planned, began, ended, f"{planned.number:+d} s")

    async def rebalance(self, planned: Planned) -> Injected:
        """Let further processes join and leave, in order and by kill -9, so that partitions move again and again."""
        began = time.monotonic()
        for killed in (False, True):
            await asyncio.to_thread(self._system.spawn, SPARES)
            await asyncio.sleep(planned.hold_s)
            for name in SPARES:
                if killed:
                    await self._signal(name, signal.SIGKILL)
                else:
                    await asyncio.to_thread(self._system.stop_process, name)
        return _injected(planned, began, time.monotonic())

    async def rolling(self, planned: Planned) -> Injected:
        """Stop and start each service in turn, as an upgrade does."""
        began, stops, starts = time.monotonic(), [], []
        for name in self._system.services:
            stops.append(await asyncio.to_thread(self._system.stop_process, name))
            at = time.monotonic()
            await self._start(name)
            starts.append(time.monotonic() - at)
        notes = [
            f"stopped in {min(stops):.1f} to {max(stops):.1f} s",
            f"started in {min(starts):.1f} to {max(starts):.1f} s",
        ]
        if max(stops) > GRACEFUL_S:
            slow = self._system.services[stops.index(max(stops))]
            notes.append(f"WRONG: {slow} took {max(stops):.1f} s to stop")
        return _injected(planned, began, time.monotonic(), *notes)

    async def _signal(self, name: str, number: signal.Signals) -> float:
        await asyncio.to_thread(self._system.send, name, number)
        return time.monotonic()

    async def _start(self, name: str) -> None:
        await asyncio.to_thread(self._system.start_process, name)


_Injector = Callable[[Faults, Planned], Awaitable[Injected]]
_INJECTORS: Final[Mapping[str, _Injector]] = {
    "nothing": Faults.nothing, "kill": Faults.kill, "pause": Faults.pause, "leader": Faults.leader,
    "partition": Faults.partition, "postgres": Faults.postgres, "disk": Faults.disk, "slow": Faults.slow,
    "token": Faults.token, "clock": Faults.clock, "rebalance": Faults.rebalance, "rolling": Faults.rolling,
}  # fmt: skip
KINDS: Final = tuple(kind for kind in _INJECTORS if kind != "nothing")


def _injected(planned: Planned, began: float, ended: float, *notes: str) -> Injected:
    return Injected(planned.kind, planned.target, began, ended, notes)
