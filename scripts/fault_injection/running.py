"""One run: start the stack, load it, break it, let it rest, check everything, and tell what was found and measured."""

import asyncio
import itertools
import json
import shutil
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.support.log_checker import explain
from tests.support.log_snapshot import TicketRecorder
from tests.support.log_story import Finding

from fault_injection import checking, disks
from fault_injection.calls import acknowledged, counted
from fault_injection.deployment import SERVICES, Deployment
from fault_injection.faults import Faults, Planned
from fault_injection.load import Load
from fault_injection.planning import plan
from fault_injection.recovery import Injected, Recovery, as_data, as_markdown, recovery

RECOVERY_S: Final = 120.0
_QUIET_S: Final = 150.0
_CALM_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a run is: `minutes` is how long faults are injected; `most` ends it after so many."""

    seed: int
    minutes: float
    kinds: Sequence[str]
    rate: float = 1.0
    most: int | None = None
    services: Sequence[str] = SERVICES


@dataclass(slots=True)
class Result:
    """What came out. It is sound where `findings` is empty."""

    wanted: Wanted
    recoveries: list[Recovery] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    told: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def as_data(self) -> dict[str, Any]:
        """Return all of it for programs."""
        return {
            "seed": self.wanted.seed,
            "faults": as_data(self.recoveries),
            "told": self.told,
            "log": self.counts,
            "findings": [{"rule": each.rule, "where": each.where, "what": each.what} for each in self.findings],
        }

    def as_markdown(self) -> str:
        """Return all of it for people."""
        told = ", ".join(f"{number} {what}" for what, number in sorted(self.told.items()))
        counts = ", ".join(f"{number} {what}" for what, number in self.counts.items())
        verdict = explain(self.findings) if self.findings else "Everything holds."
        return (
            f"{as_markdown(self.recoveries)}\nSeed {self.wanted.seed}. Callers: {told}. Log: {counts}.\n\n{verdict}\n"
        )


class Run:
    """Makes one result. `say` gets a line for each step."""

    def __init__(self, system: Deployment, wanted: Wanted, say: Any = print) -> None:
        self._system, self._wanted, self._say = system, wanted, say
        self.result = Result(wanted)

    async def run(self, scratch: Path) -> Result:
        """Start, break, check. What was started is stopped by the caller."""
        began = time.monotonic()
        self._system.prepare()
        if "disk" in self._wanted.kinds:
            disks.mount(self._system)
        await asyncio.to_thread(self._system.begin)
        self._say(f"everything serves after {time.monotonic() - began:.0f} s")
        async with AsyncExitStack() as stack:
            recorder = await stack.enter_async_context(
                TicketRecorder(self._system.bus(), self._system.config.partitions)
            )
            load = Load(self._system, self._wanted.seed, scratch, self._wanted.rate)
            stack.push_async_callback(load.close)
            await load.start()
            self._say("callers are at work")
            await self._break(load)
            self._say("the callers finish")
            await load.finish()
            await load.close()
            await self._check(load, recorder)
        return self.result

    async def _break(self, load: Load) -> None:
        faults, deadline = Faults(self._system), time.monotonic() + 60 * self._wanted.minutes
        planned = plan(self._wanted.seed, self._wanted.kinds, self._system.services)
        for each in itertools.islice(planned, None if self._wanted.most is None else self._wanted.most + 1):
            if time.monotonic() > deadline:
                return
            self._say(f"{each.kind}: {each.target}, {each.hold_s:.1f} s")
            injected = await faults.inject(each)
            self.result.findings += slow_stops(each, injected)
            await self._recover(load, injected)
            await asyncio.sleep(_CALM_S)

    async def _recover(self, load: Load, injected: Injected) -> None:
        """Wait until every verb and partition is served again."""
        verbs, deadline = load.verbs.table(), time.monotonic() + RECOVERY_S
        while True:
            found = recovery(injected, load.calls, verbs, load.partitions)
            if found.complete or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.2)
        self.result.recoveries.append(found)
        self._say(as_markdown([found]).splitlines()[-1])

    async def _check(self, load: Load, recorder: TicketRecorder) -> None:
        result, system = self.result, self._system
        result.told = counted(load.calls)
        result.findings += [Finding("caller", "a call", what) for what in load.wrong]
        result.findings += checking.recovered(result.recoveries)
        try:
            await system.quiet(_QUIET_S)
        except AssertionError as error:
            result.findings.append(Finding("rest", "the deployment", str(error)))
        self._say("it rests")
        story, findings = await checking.check_log(system, acknowledged(load.calls), load.doubtful, recorder)
        result.findings += findings
        self._say(f"the log was read: {len(findings)} findings")
        audited, findings = await checking.audit(system)
        result.findings += findings
        self._say(f"it was audited: {len(findings)} findings")
        made = load.verbs.made
        result.findings += await asyncio.to_thread(checking.leaks, system, load.marker, made.samples)
        events = sum(map(len, story.events.values()))
        aborted = sum(len(log.aborted) for log in story.logs.values())
        result.counts = {"events": events, "aborted records": aborted, **audited}


async def run(directory: Path, wanted: Wanted, say: Any = print, *, keep: bool = False) -> Result:
    """Run once in a directory that is made for it; without `keep` it is deleted again."""
    await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
    system = Deployment(directory / "data", wanted.services)
    try:
        return await Run(system, wanted, say).run(directory)
    finally:
        await asyncio.to_thread(system.end, keep=keep)
        disks.unmount(system)
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)


def write(result: Result, directory: Path) -> None:
    """Write the result for programs and for people."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "faults.json").write_text(json.dumps(result.as_data(), indent=1) + "\n")
    (directory / "faults.md").write_text(result.as_markdown())


def slow_stops(planned: Planned, injected: Injected) -> list[Finding]:
    """Return what a fault itself found: a process that did not stop in time."""
    return [Finding("fault", planned.target, note) for note in injected.notes if note.startswith("WRONG")]
