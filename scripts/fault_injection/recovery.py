"""How long a fault was felt: from the calls around it, by verb and by partition. Pure.

A fault lasts from its cause to the moment when the cause is gone (a killed process is started again, a paused one goes
on, a network is healed). Everything after that is recovery, the starting of processes included.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from fault_injection.calls import DATA, Call


@dataclass(frozen=True, slots=True)
class Injected:
    """One fault that was injected; times are monotonic seconds. `notes` are findings of the fault itself."""

    kind: str
    target: str
    began: float
    ended: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recovery:
    """What callers met. All in seconds.

    `first` has by verb how long after the end of the fault the first call was served; None where none was.
    `during` counts by verb what was served while the fault lasted. `everywhere` is how long after the end every
    partition had served a call that began after it. `silence` is the longest time around the fault in which no use of
    a key was served.
    """

    fault: Injected
    first: Mapping[str, float | None] = field(default_factory=dict)
    during: Mapping[str, int] = field(default_factory=dict)
    everywhere: float | None = None
    silence: float = 0.0

    @property
    def lasted(self) -> float:
        """How long the fault lasted."""
        return self.fault.ended - self.fault.began

    @property
    def complete(self) -> bool:
        """Whether every verb and every partition were served again."""
        return self.everywhere is not None and None not in self.first.values()

    def slowest(self, *, data: bool) -> tuple[str, float | None]:
        """Return the verb that was served last, of those that use keys or of the others, and when."""
        chosen = {verb: seconds for verb, seconds in self.first.items() if (verb in DATA) == data}
        return max(chosen.items(), key=lambda pair: float("inf") if pair[1] is None else pair[1])


def recovery(fault: Injected, calls: Iterable[Call], verbs: Iterable[str], partitions: int) -> Recovery:
    """Look at the calls around a fault."""
    served = sorted((call for call in calls if call.served and call.ended >= fault.began), key=lambda call: call.ended)
    first: dict[str, float | None] = dict.fromkeys(verbs)
    during, places = dict.fromkeys(first, 0), dict[int, float]()
    for call in served:
        if call.ended < fault.ended:
            during[call.verb] += 1
            continue
        after = call.ended - fault.ended
        if first[call.verb] is None:
            first[call.verb] = after
        if call.partition is not None and call.began >= fault.ended:
            places.setdefault(call.partition, after)
    everywhere = max(places.values()) if len(places) == partitions else None
    return Recovery(fault, first, during, everywhere, _silence(fault, served, first))


def _silence(fault: Injected, served: Sequence[Call], first: Mapping[str, float | None]) -> float:
    """The longest pause between two uses of keys that were served, up to where all verbs were served again."""
    until = fault.ended + max((seconds for seconds in first.values() if seconds is not None), default=0.0)
    times = [fault.began, *(call.ended for call in served if call.verb in DATA and call.ended <= until), until]
    return max(after - before for before, after in pairwise(times))


def as_data(recoveries: Iterable[Recovery]) -> list[dict[str, Any]]:
    """Return the table for programs."""
    return [
        {
            "fault": each.fault.kind,
            "target": each.fault.target,
            "lasted_s": round(each.lasted, 2),
            "first_served_after_s": {verb: _rounded(seconds) for verb, seconds in each.first.items()},
            "served_during": dict(each.during),
            "every_partition_after_s": _rounded(each.everywhere),
            "longest_silence_s": round(each.silence, 2),
            "notes": list(each.fault.notes),
        }
        for each in recoveries
    ]


def as_markdown(recoveries: Iterable[Recovery]) -> str:
    """Return the table for people; seconds, counted from the end of the fault where nothing else is said."""
    head = ("fault", "target", "lasted", "served meanwhile", "keys used", "keys and registry changed",
            "every partition", "longest silence", "notes")  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for each in recoveries:
        cells = (
            each.fault.kind,
            each.fault.target,
            f"{each.lasted:.1f}",
            str(sum(each.during.values())),
            _seconds(each.slowest(data=True)[1]),
            _seconds(each.slowest(data=False)[1]),
            _seconds(each.everywhere),
            f"{each.silence:.1f}",
            "; ".join(each.fault.notes),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)


def _seconds(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f}"
