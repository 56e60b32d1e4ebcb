"""Who there is: fifty principals of four tenants, about two hundred keys, what each is like. From the seed alone."""

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Literal
from uuid import UUID

import numpy as np

from simulation.rhythm import DAY_MS, WEEK_MS, Profile, interactive, office

Kind = Literal[
    "api", "ingest", "signer", "batch", "cron", "monthly", "worker", "ci", "human", "admin", "monitor", "dormant"
]

_EACH_TENANT: Final[tuple[Kind, ...]] = (
    "api", "api", "ingest", "signer", "batch", "cron", "worker", "admin", "monitor",
)  # fmt: skip
_FURTHER: Final[tuple[Kind, ...]] = (
    "api", "api", "worker", "monthly", "ci", "ci", "ci", "human", "human", "human", "human",
    "dormant", "dormant", "dormant",
)  # fmt: skip
_NAMES: Final = (
    "orders", "billing", "ledger", "mail", "search", "profile", "payroll", "claims", "media", "quotes", "intake",
    "vault", "reports", "sessions", "tokens", "archive", "catalog", "fleet", "grid", "notes", "ads", "rates",
)  # fmt: skip
_TENANTS: Final = ("alder", "birch", "cedar", "dogwood")
_KEYS: Final = 200
DORMANT_AFTER_MS: Final = 5 * DAY_MS
"""How long those that fall asleep are in use at first."""

_OWN_KEYS: Final[dict[Kind, tuple[int, int]]] = {
    "api": (3, 6), "ingest": (3, 5), "signer": (2, 4), "batch": (1, 2), "cron": (1, 1), "monthly": (1, 1),
    "worker": (2, 4), "ci": (1, 3), "human": (1, 2), "admin": (1, 1), "monitor": (1, 1), "dormant": (2, 3),
}  # fmt: skip
_VERBS: Final[dict[Kind, dict[str, float]]] = {
    "api": {"Encrypt": 5, "Decrypt": 4, "GenerateDataKey": 1},
    "ingest": {"Encrypt": 7, "GenerateDataKey": 3, "Decrypt": 0.4},
    "signer": {"Sign": 9, "Verify": 1},
    "batch": {"Decrypt": 3, "ReEncrypt": 1},
    "cron": {"GenerateMac": 1},
    "monthly": {"Decrypt": 1, "Sign": 1},
    "worker": {"Decrypt": 6, "Encrypt": 3, "GenerateDataKey": 1},
    "ci": {"Sign": 8, "GetPublicKey": 1},
    "human": {"Decrypt": 3, "Encrypt": 1},
    "admin": {"Decrypt": 1, "Encrypt": 1},
    "monitor": {"Encrypt": 1, "Decrypt": 1},
    "dormant": {"Encrypt": 1, "Decrypt": 2},
}
_ITEMS: Final[dict[Kind, float]] = {
    "api": 12, "ingest": 40, "signer": 6, "batch": 400, "worker": 60, "human": 2, "dormant": 10,
}  # fmt: skip


@dataclass(slots=True)
class Principal:
    """One principal, as it is when it joins.

    `per_hour` is how often it begins something in its busiest hour; `items` the median items of one command, with a
    logarithmic spread `spread`. `keys` are its own first, then those that it shares.
    """

    name: str
    tenant: str
    kind: Kind
    zone_hours: int
    profile: Profile
    per_hour: float
    items: float
    spread: float
    verbs: dict[str, float]
    keys: list[str]
    joins_ms: int
    many_contexts: bool


@dataclass(slots=True)
class Population:
    """All principals, and each tenant's keys; `spare` keys exist and are in nobody's use yet."""

    seed: int
    principals: list[Principal] = field(default_factory=list)
    keys: dict[str, list[str]] = field(default_factory=dict)
    spare: dict[str, list[str]] = field(default_factory=dict)

    def admin_of(self, tenant: str) -> Principal:
        """Return who administers a tenant."""
        return next(each for each in self.principals if each.tenant == tenant and each.kind == "admin")


def generator(seed: int, *names: str) -> np.random.Generator:
    """Return the generator of one purpose: what else is drawn elsewhere does not change what it gives."""
    digest = sha256("\x1f".join(names).encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])


def populate(seed: int, start_ms: int, weeks: int) -> Population:
    """Make everyone of a seed. Three services join later: two in the first half, one near the end."""
    rng = generator(seed, "population")
    population = Population(seed, keys={tenant: [] for tenant in _TENANTS}, spare={tenant: [] for tenant in _TENANTS})
    kinds = [(tenant, kind) for tenant in _TENANTS for kind in _EACH_TENANT]
    kinds += [(_TENANTS[int(rng.integers(len(_TENANTS)))], kind) for kind in _FURTHER]
    zones = {tenant: int(rng.integers(-6, 9)) for tenant in _TENANTS}
    names = iter(rng.permutation([f"{name}-{suffix}" for name in _NAMES for suffix in ("a", "b", "c")]))
    for tenant, kind in kinds:
        population.principals.append(_principal(rng, population, str(next(names)), (tenant, kind, zones[tenant])))
    services = [each for each in population.principals if each.kind in {"api", "worker", "signer"}]
    for position, joining in zip((0.2, 0.45, 0.9), rng.permutation(len(services)), strict=False):
        jitter = rng.uniform(0, 0.05) * weeks * WEEK_MS
        services[joining].joins_ms = start_ms + int(position * weeks * WEEK_MS + jitter)
    _share(rng, population)
    while sum(map(len, population.keys.values())) < _KEYS:
        tenant = _TENANTS[int(rng.integers(len(_TENANTS)))]
        population.spare[tenant].append(_key(population, tenant))
    return population


def _principal(rng: np.random.Generator, population: Population, name: str, where: tuple[str, Kind, int]) -> Principal:
    tenant, kind, zone = where
    low, high = _OWN_KEYS[kind]
    own = [_key(population, tenant) for _ in range(int(rng.integers(low, high + 1)))]
    worker = kind in {"human", "admin", "ci"}
    verbs = {verb: weight * float(rng.lognormal(0, 0.3)) for verb, weight in _VERBS[kind].items()}
    if kind == "cron":
        verbs = [{"GenerateMac": 1.0}, {"GenerateDataKey": 1.0}, {"Decrypt": 1.0}][int(rng.integers(3))]
    return Principal(
        name=f"{tenant}-{kind}-{name}" if kind not in {"api", "ingest"} else f"{tenant}-{name}",
        tenant=tenant,
        kind=kind,
        zone_hours=zone,
        profile=office(rng) if worker else interactive(rng),
        per_hour=_per_hour(rng, kind),
        items=_ITEMS.get(kind, 1) * float(rng.lognormal(0, 0.4)),
        spread=float(rng.uniform(0.3, 0.9)) if kind in _ITEMS else 0.0,
        verbs=verbs,
        keys=own,
        joins_ms=0,
        many_contexts=kind in {"api", "worker"} and bool(rng.random() < 0.4),
    )


def _per_hour(rng: np.random.Generator, kind: Kind) -> float:
    usual = {"api": 9.0, "ingest": 9.0, "signer": 8.0, "worker": 0.35, "ci": 2.0, "human": 0.7, "admin": 0.3}
    return usual.get(kind, 1.0) * float(rng.lognormal(0, 0.4))


def _share(rng: np.random.Generator, population: Population) -> None:
    """Batch jobs and workers read what the services of their tenant wrote; people look at some of it."""
    for each in population.principals:
        number = {"batch": 3, "worker": 2, "human": 2, "ingest": 1}.get(each.kind, 0)
        others = [
            key
            for other in population.principals
            if other.tenant == each.tenant and other.kind in {"api", "ingest"} and other is not each
            for key in other.keys[:3]
        ]
        picked = rng.permutation(len(others))[:number]
        each.keys += [others[index] for index in picked if others[index] not in each.keys]


def _key(population: Population, tenant: str) -> str:
    number = sum(map(len, population.keys.values()))
    digest = bytearray(sha256(f"{population.seed}/key/{number}".encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x70
    digest[8] = digest[8] & 0x3F | 0x80
    key = str(UUID(bytes=bytes(digest)))
    population.keys[tenant].append(key)
    return key
