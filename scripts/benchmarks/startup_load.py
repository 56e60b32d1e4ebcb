"""All services stopped in order while callers are at work, and started again: what it took, and what was lost.

The load is that of fault injection (docs/faults.md), and so is what is checked afterwards. Used by `scripts/bench
startup`, and in a small by tests/faults/test_graceful_stop.py. Nothing is printed here but by `say`.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fault_injection import checking
from fault_injection.calls import Call, acknowledged, counted
from fault_injection.load import Load
from fault_injection.recovery import Injected, recovery
from tests.support.log_snapshot import TicketRecorder
from tests.support.log_story import Finding
from tests.support.together import Ended, start_together, stop_together
from tests.support.whole_system import WholeSystem

SERVED_S: Final = 120.0
_CALM_S: Final = (2.0, 5.0)
_QUIET_S: Final = 180.0


@dataclass(frozen=True, slots=True)
class Round:
    """One stop and start. `began` is when SIGTERM was sent, `gone` when the last had ended, in monotonic seconds.

    `away_s` is the pause before the start; `served_s` from the start to where every verb and partition is served.
    """

    began: float
    gone: float
    away_s: float
    ended: dict[str, Ended]
    ready: dict[str, float]
    served_s: float | None


@dataclass(slots=True)
class Result:
    """What came out. Nothing is lost where `findings` is empty.

    `told` counts what callers were told; `unanswered` has by round what those were told afterwards whose call was under
    way when the last service had ended.
    """

    rounds: list[Round] = field(default_factory=list)
    told: dict[str, int] = field(default_factory=dict)
    unanswered: list[dict[str, int]] = field(default_factory=list)
    events: int = 0
    findings: list[Finding] = field(default_factory=list)


async def stop_under_load(
    system: WholeSystem,
    names: Sequence[str],
    aways_s: Iterable[float],
    scratch: Path,
    *,
    seed: int,
    rate: float,
    say: Callable[[str], None] = lambda _line: None,
) -> Result:
    """Stop and start the services once for each pause in `aways_s`, let the callers finish, and check everything."""
    result = Result()
    async with AsyncExitStack() as stack:
        recorder = await stack.enter_async_context(TicketRecorder(system.bus(), system.config.partitions))
        load = Load(system, seed, scratch, rate)
        stack.push_async_callback(load.close)
        await load.start()
        say("callers are at work")
        source = random.Random(f"{seed}/stops")  # noqa: S311 - when to stop
        for away_s in aways_s:
            await asyncio.sleep(source.uniform(*_CALM_S))
            result.rounds.append(await _round(system, load, names, away_s))
            say(_told(result.rounds[-1]))
        await load.finish()
        await load.close()
        say("the callers have finished")
        await _check(system, load, recorder, result)
    return result


async def _round(system: WholeSystem, load: Load, names: Sequence[str], away_s: float) -> Round:
    began = time.monotonic()
    ended = await asyncio.to_thread(stop_together, system.stack, names)
    gone = time.monotonic()
    await asyncio.sleep(away_s)
    starting = time.monotonic()
    ready = await asyncio.to_thread(start_together, system.stack, names)
    return Round(began, gone, away_s, ended, ready, await _served(load, began, starting))


async def _served(load: Load, began: float, starting: float) -> float | None:
    """Return the seconds from the start to where every verb and every partition are served; None where they are not."""
    stopped = Injected("stop", "every service", began, starting)
    while time.monotonic() - starting < SERVED_S:
        found = recovery(stopped, load.calls, load.verbs.table(), load.partitions)
        if found.everywhere is not None and found.complete:
            return max(found.everywhere, *(seconds for seconds in found.first.values() if seconds is not None))
        await asyncio.sleep(0.1)
    return None


async def _check(system: WholeSystem, load: Load, recorder: TicketRecorder, result: Result) -> None:
    result.told = counted(load.calls)
    result.unanswered = [unanswered(load.calls, each.gone) for each in result.rounds]
    result.findings += [Finding("caller", "a call", what) for what in load.wrong]
    result.findings += [
        Finding("recovery", f"round {number}", f"not everything was served again within {SERVED_S:.0f} s")
        for number, each in enumerate(result.rounds, 1)
        if each.served_s is None
    ]
    await system.quiet(_QUIET_S)
    story, findings = await checking.check_log(system, acknowledged(load.calls), load.doubtful, recorder)
    result.findings += findings
    result.findings += (await checking.audit(system))[1]
    result.events = sum(map(len, story.events.values()))


def unanswered(calls: Iterable[Call], gone: float) -> dict[str, int]:
    """Count by what they were told the calls that were under way at that moment."""
    return dict(Counter(f"{call.told} {call.code}".strip() for call in calls if call.began < gone < call.ended))


def _told(each: Round) -> str:
    slowest = max(each.ended, key=lambda name: each.ended[name].seconds)
    served = "not served again" if each.served_s is None else f"all served again after {each.served_s:.1f} s"
    return (
        f"stopped in {each.ended[slowest].seconds:.1f} s ({slowest} last), away {each.away_s:.0f} s, "
        f"ready after {max(each.ready.values()):.1f} s, {served}"
    )
