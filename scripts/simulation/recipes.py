"""How each kind of attack looks: its victims, and its requests at each strength.

Bursts are in multiples of `Victim.peak`, the busy ten minutes of that victim; what has no usual amount (denials,
deletions, new keys) is in absolute numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from simulation.population import Kind
from simulation.requests import Request
from simulation.rhythm import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, START_MS
from simulation.traffic import MAX_ITEMS
from simulation.victims import Made, Plan, Victim

_DECRYPTS: Final = ("Decrypt", "ReEncrypt")
_SIGNS: Final = ("Sign", "GenerateMac")
_DATA_KEYS: Final = ("GenerateDataKey", "GenerateDataKeyWithoutPlaintext")


def _any_time(_: Victim, begin_ms: int) -> int:
    return begin_ms


@dataclass(frozen=True, slots=True)
class Recipe:
    """One kind: who may be its victim, how it is made, how long it may last, and which moment it takes."""

    victims: tuple[Kind, ...]
    make: Callable[[Plan], Made]
    longest_ms: int = 3 * HOUR_MS
    moment: Callable[[Victim, int], int] = _any_time


def _spread(plan: Plan, number: int, minutes: float) -> list[int]:
    """Return times over a while; the first is the beginning."""
    length = int(minutes * MINUTE_MS)
    times = np.sort(plan.rng.integers(0, length, max(0, number - 1))) + plan.begin_ms
    return [plan.begin_ms, *times.tolist()]


def _burst(plan: Plan, verb: str, usual: float, factors: tuple[float, float, float], keys: list[str]) -> Made:
    """Return requests of `factor` times the usual amount of ten minutes, for 20, 15 or 10 minutes."""
    minutes = plan.of(20, 15, 10)
    items = max(5.0, usual * plan.of(*factors) * minutes / 10)
    number = int(np.clip(items / max(1.0, plan.victim.who.items * 2), 5, 300))
    each = int(np.clip(round(items / number), 1, MAX_ITEMS))
    name, contexts = plan.victim.who.name, _contexts(plan.victim)
    times = _spread(plan, number, minutes)
    return Made([Request(t, name, keys[i % len(keys)], verb, each, contexts=contexts) for i, t in enumerate(times)])


def _contexts(victim: Victim) -> tuple[str, ...]:
    """Return contexts as the victim itself has them: a thief reads them off the ciphertexts."""
    return next((each.contexts for each in reversed(victim.requests) if each.contexts), ())


def mass_decryption(plan: Plan) -> Made:
    """Everything within reach is decrypted: 2, 6 or 30 times the busy rate."""
    keys = plan.victim.keys()[:3]
    return _burst(plan, "Decrypt", plan.victim.peak(*_DECRYPTS), (2, 6, 30), keys)


def slow_exfiltration(plan: Plan) -> Made:
    """A little more than usual, day and night: 30 % for three days, 100 % for two, 400 % for one."""
    hours = plan.of(72, 48, 24)
    items = plan.victim.daily(*_DECRYPTS) * plan.of(0.3, 1, 4) * hours / 24
    number = int(np.clip(items / max(1.0, plan.victim.who.items), 12, 1_500))
    each = int(np.clip(round(items / number), 1, MAX_ITEMS))
    key, name, contexts = plan.victim.keys()[0], plan.victim.who.name, _contexts(plan.victim)
    times = _spread(plan, number, hours * 60)
    return Made([Request(time, name, key, "Decrypt", each, contexts=contexts) for time in times])


def signing_burst(plan: Plan) -> Made:
    """A stolen signer signs: 2, 6 or 30 times the busy rate."""
    return _burst(plan, "Sign", plan.victim.peak(*_SIGNS), (2, 6, 30), plan.victim.keys()[:1])


def new_key(plan: Plan) -> Made:
    """A stolen principal turns to keys that it never used: two requests, 15 in an hour, 100 for three keys at once."""
    number, minutes = int(plan.of(2, 15, 100)), plan.of(30, 60, 15)
    keys, items = plan.victim.foreign()[: int(plan.of(1, 1, 3))], int(plan.of(1, 10, 40))
    name, contexts = plan.victim.who.name, _contexts(plan.victim)
    return Made([
        Request(time, name, keys[index % len(keys)], "Decrypt", items, contexts=contexts)
        for index, time in enumerate(_spread(plan, number, minutes))
    ])  # fmt: skip


def scraping(plan: Plan) -> Made:
    """One item of each of many keys: 10 over twelve hours, 20 in an hour, 35 in five minutes."""
    number = int(plan.of(10, 20, 35))
    reached = plan.victim.foreign() + plan.victim.keys()
    keys = plan.rng.permutation(reached)[:number].tolist()
    times = _spread(plan, len(keys), plan.of(720, 60, 5))
    return Made([Request(time, plan.victim.who.name, key, "Decrypt", 1) for time, key in zip(times, keys, strict=True)])


def denial_probing(plan: Plan) -> Made:
    """What does this principal allow? 6 denials in an hour, 25 in ten minutes, 200 in five."""
    keys, verbs = plan.victim.foreign(), ("Decrypt", "Sign", "GenerateDataKey", "ReEncrypt", "GetPublicKey")
    times = _spread(plan, int(plan.of(6, 25, 200)), plan.of(60, 10, 5))
    return Made([
        Request(time, plan.victim.who.name, keys[index % len(keys)], verbs[index % 5], 1, "denied", "AccessDenied")
        for index, time in enumerate(times)
    ])  # fmt: skip


def failed_decryptions(plan: Plan) -> Made:
    """An oracle is asked with forged ciphertexts: 30 failures in an hour, 200 in ten minutes, 3,000 in five."""
    number, each = int(plan.of(10, 40, 60)), int(plan.of(3, 5, 50))
    times, key = _spread(plan, number, plan.of(60, 10, 5)), plan.victim.keys()[0]
    name, contexts = plan.victim.who.name, _contexts(plan.victim)
    return Made([
        Request(time, name, key, "Decrypt", each, "completed", "InvalidCiphertext", each, contexts) for time in times
    ])  # fmt: skip


def dormant_wakes(plan: Plan) -> Made:
    """A principal whose last use is over a month ago decrypts: once, ten times, sixty times."""
    items = int(plan.of(1, 5, 50))
    times, key = _spread(plan, int(plan.of(1, 10, 60)), plan.of(1, 30, 10)), plan.victim.keys()[0]
    return Made([Request(time, plan.victim.who.name, key, "Decrypt", items) for time in times])


def dormant_key(plan: Plan) -> Made:
    """A key whose last use is over a month ago is used, by a principal that is awake: once, ten times, sixty times."""
    items, key = int(plan.of(1, 5, 50)), plan.victim.asleep[int(plan.rng.integers(len(plan.victim.asleep)))]
    times = _spread(plan, int(plan.of(1, 10, 60)), plan.of(1, 30, 10))
    return Made([Request(time, plan.victim.who.name, key, "Decrypt", items) for time in times])


def off_hours(plan: Plan) -> Made:
    """Somebody with office hours works in the night: 2 requests, 10, or 60, of the usual size, in half an hour."""
    verb = "Sign" if plan.victim.who.kind == "ci" else "Decrypt"
    items, key = max(1, int(plan.victim.who.items)), plan.victim.keys()[0]
    times, contexts = _spread(plan, int(plan.of(2, 10, 60)), 30), _contexts(plan.victim)
    return Made([Request(time, plan.victim.who.name, key, verb, items, contexts=contexts) for time in times])


def ratio_shift(plan: Plan) -> Made:
    """Who encrypts decrypts instead: 40 % of the requests for 8 hours, 70 % for 6; all of them for 4, and more."""
    hours = plan.of(8, 6, 4)
    items, key = max(1, int(plan.victim.who.items)), plan.victim.keys()[0]
    times, contexts = _spread(plan, int(plan.of(3, 6, 60)), hours * 60), _contexts(plan.victim)
    requests = [Request(time, plan.victim.who.name, key, "Decrypt", items, contexts=contexts) for time in times]
    return Made(requests, plan.of(0.4, 0.7, 1.0), plan.begin_ms + int(hours * HOUR_MS))


def data_key_volume(plan: Plan) -> Made:
    """Data keys by the thousand, for a copy of everything: 2, 6 or 30 times the busy rate."""
    return _burst(plan, "GenerateDataKey", plan.victim.peak(*_DATA_KEYS), (2, 6, 30), plan.victim.keys()[:1])


def policy_sandwich(plan: Plan) -> Made:
    """A policy is opened, used, and closed again: once within 55 minutes, 10 uses in 20 minutes, 100 in 45 seconds."""
    who, seconds = plan.victim.who, plan.of(3_300, 1_200, 45)
    key, policy = plan.victim.foreign()[0], f"{who.tenant}-policy-{int(plan.rng.integers(12))}"
    end = plan.begin_ms + int(seconds * SECOND_MS)
    uses = plan.rng.integers(plan.begin_ms + SECOND_MS, end - SECOND_MS, int(plan.of(1, 10, 100)))
    items = int(plan.of(1, 5, 20))
    return Made([
        Request(plan.begin_ms, who.name, None, "PutPolicy", administrative=True, target=policy),
        *(Request(time, who.name, key, "Decrypt", items) for time in np.sort(uses).tolist()),
        Request(end, who.name, None, "PutPolicy", administrative=True, target=policy),
    ])  # fmt: skip


def mass_deletion(plan: Plan) -> Made:
    """Keys are scheduled for deletion: 3 in two hours, 8 in twenty minutes, 25 in two."""
    number = int(plan.of(3, 8, 25))
    keys = plan.rng.permutation(plan.victim.tenant_keys)[:number].tolist()
    times = _spread(plan, len(keys), plan.of(120, 20, 2))
    name = plan.victim.who.name
    return Made([
        Request(time, name, key, "ScheduleKeyDeletion", administrative=True)
        for time, key in zip(times, keys, strict=True)
    ])  # fmt: skip


def replays(plan: Plan) -> Made:
    """Recorded commands are sent again, expired or under a used id: 4 in half an hour, 20 in ten minutes, 150 in 5."""
    codes, name = ("Expired", "IdempotencyConflict"), plan.victim.who.name
    times = _spread(plan, int(plan.of(4, 20, 150)), plan.of(30, 10, 5))
    return Made([
        Request(time, name, None, "Decrypt", 1, "rejected", codes[int(plan.rng.integers(2))]) for time in times
    ])  # fmt: skip


def _at_night(victim: Victim, begin_ms: int) -> int:
    """Move a moment to two or three in the night, local time."""
    day = begin_ms - (begin_ms - START_MS) % DAY_MS
    return day + (2 - victim.who.zone_hours) % 24 * HOUR_MS + begin_ms % HOUR_MS


def _at_work(victim: Victim, begin_ms: int) -> int:
    """Move a moment to where the victim has requests."""
    times = [each.time_ms for each in victim.requests]
    return times[min(int(np.searchsorted(times, begin_ms)), len(times) - 1)]


RECIPES: Final[dict[str, Recipe]] = {
    "mass-decryption": Recipe(("api", "worker", "human"), mass_decryption),
    "slow-exfiltration": Recipe(("api", "worker"), slow_exfiltration, 73 * HOUR_MS),
    "signing-burst": Recipe(("signer", "ci"), signing_burst),
    "new-key": Recipe(("api", "ingest", "worker", "batch"), new_key),
    "scraping": Recipe(("api", "worker", "human", "monitor"), scraping, 13 * HOUR_MS),
    "denial-probing": Recipe(("api", "ingest", "worker", "human", "ci", "cron"), denial_probing),
    "failed-decryptions": Recipe(("api", "worker", "human"), failed_decryptions),
    "dormant-wakes": Recipe(("dormant",), dormant_wakes),
    "dormant-key": Recipe(("api", "worker"), dormant_key),
    "off-hours": Recipe(("human", "ci"), off_hours, DAY_MS, _at_night),
    "ratio-shift": Recipe(("ingest",), ratio_shift, 9 * HOUR_MS, _at_work),
    "data-key-volume": Recipe(("api", "ingest"), data_key_volume),
    "policy-sandwich": Recipe(("admin",), policy_sandwich),
    "mass-deletion": Recipe(("admin",), mass_deletion),
    "replays": Recipe(("api", "ingest", "signer", "worker", "ci"), replays),
}
