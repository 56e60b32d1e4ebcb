"""Which faults come in which order: chosen by the seed alone, so a run can be planned again. Pure."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from fault_injection.deployment import BROKERS, POSTGRES
from fault_injection.faults import Planned

CLOCKED: Final = ("policy-0", "hsm-0", "hsm-1", "notary-0", "scheduler-0")
FILLED: Final = (BROKERS[-1], POSTGRES)


def plan(seed: int, kinds: Sequence[str], services: Sequence[str]) -> Iterator[Planned]:
    """Yield faults without end: all kinds in a new order, then again. The first breaks nothing."""
    source = random.Random(f"{seed}/faults")  # noqa: S311 - choices of a test
    yield Planned("nothing", "nobody", 5.0)
    while True:
        for kind in source.sample(list(kinds), len(kinds)):
            yield _CHOOSE[kind](source, services)


def _kill(source: random.Random, services: Sequence[str]) -> Planned:
    return Planned("kill", source.choice([*services, *BROKERS]), source.uniform(0.0, 3.0))


def _pause(source: random.Random, services: Sequence[str]) -> Planned:
    """Half of them are longer than sessions (6 s, brokers 9 s) and transactions (5 s) live."""
    hold_s = source.choice((source.uniform(1.0, 4.0), source.uniform(10.0, 20.0)))
    return Planned("pause", source.choice([*services, *BROKERS]), hold_s)


def _leader(source: random.Random, _services: Sequence[str]) -> Planned:
    return Planned("leader", source.choice(BROKERS), source.uniform(0.0, 3.0))


def _partition(source: random.Random, services: Sequence[str]) -> Planned:
    name = source.choice(services)
    targets = [", ".join(BROKERS), source.choice(BROKERS)]
    if name.startswith("projector"):
        targets.append(POSTGRES)
    return Planned("partition", f"{name} from {source.choice(targets)}", source.uniform(3.0, 20.0))


def _postgres(source: random.Random, _services: Sequence[str]) -> Planned:
    return Planned("postgres", source.choice((POSTGRES, f"{POSTGRES}, kill -9")), source.uniform(0.0, 5.0))


def _disk(source: random.Random, _services: Sequence[str]) -> Planned:
    return Planned("disk", source.choice(FILLED), source.uniform(8.0, 15.0))


def _slow(source: random.Random, _services: Sequence[str]) -> Planned:
    return Planned("slow", source.choice(BROKERS), source.uniform(8.0, 15.0))


def _token(source: random.Random, _services: Sequence[str]) -> Planned:
    return Planned("token", "all tokens", source.uniform(2.0, 15.0))


def _clock(source: random.Random, services: Sequence[str]) -> Planned:
    name = source.choice([name for name in CLOCKED if name in services])
    return Planned("clock", name, source.uniform(5.0, 12.0), source.choice((-300, -60, 60, 300)))


def _rebalance(source: random.Random, _services: Sequence[str]) -> Planned:
    return Planned("rebalance", "policy, hsm, projector", source.uniform(5.0, 8.0))


def _rolling(_source: random.Random, _services: Sequence[str]) -> Planned:
    return Planned("rolling", "every service", 0.0)


_CHOOSE: Final[Mapping[str, Callable[[random.Random, Sequence[str]], Planned]]] = {
    "kill": _kill, "pause": _pause, "leader": _leader, "partition": _partition, "postgres": _postgres, "disk": _disk,
    "slow": _slow, "token": _token, "clock": _clock, "rebalance": _rebalance, "rolling": _rolling,
}  # fmt: skip
