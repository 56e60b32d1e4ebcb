"""What processes use: time of processors from /proc, quotas of it by cgroups (version 1), bytes over the loopback.

A quota makes a small core: a process in such a group gets so much of a core and no more, in periods of 10 ms. Groups
are made in the kernel's tree, which root may write; they are removed again. It knows no process by name.
"""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PERIOD_US: Final = 10_000
_TREE: Final = Path("/sys/fs/cgroup/cpu")
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class NoQuotas(RuntimeError):
    """This machine gives no small cores; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Throttling:
    """A group's `cpu.stat`: how many periods it wanted to run in, and in how many of them its quota was used up."""

    periods: int
    throttled: int

    def since(self, before: "Throttling") -> float:
        """Return the part of the periods since then in which the quota was used up; 0 where there were none."""
        return (self.throttled - before.throttled) / max(1, self.periods - before.periods)


class SmallCores:
    """Groups of this run, one for each process, each with the same part of a core."""

    def __init__(self, cores: float) -> None:
        self.cores = cores
        self._groups: dict[str, Path] = {}

    def confine(self, name: str, pid: int) -> None:
        """Give a process its small core. Raises NoQuotas where that cannot be done."""
        group = _TREE / f"keyfold-capacity-{os.getpid()}-{name}"
        try:
            group.mkdir(exist_ok=True)
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(round(self.cores * PERIOD_US)))
            (group / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            raise NoQuotas(
                f"{group} cannot be used ({error.strerror}): small cores need root and cgroups version 1 at {_TREE}"
            ) from None
        self._groups[name] = group

    def throttling(self) -> dict[str, Throttling]:
        """Return what each group has met so far."""
        return {name: _throttling(group) for name, group in self._groups.items()}

    def free(self) -> None:
        """Give the processes, where they still run, whole cores again, and remove the groups."""
        for group in self._groups.values():
            for pid in (group / "cgroup.procs").read_text().split():
                with suppress(ProcessLookupError):
                    (_TREE / "cgroup.procs").write_text(pid)
            group.rmdir()
        self._groups.clear()


def require_quotas() -> None:
    """Raise NoQuotas at once, not after minutes, where this machine gives none."""
    cores = SmallCores(0.5)
    with subprocess.Popen(["sleep", "30"]) as process:
        try:
            cores.confine("trial", process.pid)
            cores.free()
        finally:
            process.kill()


def processor_s(pids: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """Return, for each part, the seconds that its processes, with all that they started, had of processors so far."""
    table = dict(_processes())
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in table.items():
        children.setdefault(parent, []).append(pid)

    def used(pid: int) -> float:
        return table[pid][1] + sum(map(used, children.get(pid, ())))

    return {part: sum(map(used, each)) for part, each in pids.items()}


def loopback_bytes() -> int:
    """Return how many bytes went over this machine's loopback so far."""
    lines = Path("/proc/net/dev").read_text().splitlines()
    return int(next(line for line in lines if line.strip().startswith("lo:")).split(":")[1].split()[0])


def since(now: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """Return how much each has grown."""
    return {name: value - before[name] for name, value in now.items()}


def _processes() -> Iterator[tuple[int, tuple[int, float]]]:
    """Yield every process with its parent and its time, that of its children which have ended included."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):  # it has just ended
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                yield int(entry.name), (int(fields[1]), sum(map(int, fields[11:15])) / _TICKS)


def _throttling(group: Path) -> Throttling:
    found = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())
    return Throttling(int(found["nr_periods"]), int(found["nr_throttled"]))
