"""How far a partition is folded, as one value: all that is needed to go on from there, and nothing else.

It also answers whether what was folded so far still counts, after a service key was revoked.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from keyfold.events import topics
from keyfold.events.chains import Place
from keyfold.events.statements import ChainHead
from keyfold.events.trust import Trust
from keyfold.projections.errors import RebuildNeeded


@dataclass(frozen=True, slots=True)
class Offsets:
    """A partition's progress.

    `next` is the Kafka offset to read next; `position` the leaf index of the next believed record; `published` the
    Kafka offset below which the directory topic has everything. `places` are the chains by role, `signers` the last
    statement number folded from each signing key, `last_time` the time of the last event.
    """

    partition: int
    next: int = 0
    position: int = 0
    published: int = 0
    places: Mapping[str, Place] = field(default_factory=lambda: MappingProxyType({}))
    signers: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    last_time: str | None = None


def dump_places(places: Mapping[str, Place]) -> str:
    """Write chain places as JSON."""
    return json.dumps(
        {
            role: {"n": place.head.n, "digest": place.head.digest, "leaf": place.leaf, "leaves": place.leaves}
            for role, place in places.items()
        }
    )


def load_places(document: str) -> Mapping[str, Place]:
    """Read what `dump_places` wrote."""
    found: dict[str, dict[str, Any]] = json.loads(document)
    return MappingProxyType(
        {role: Place(ChainHead(p["n"], p["digest"]), p["leaf"], p["leaves"]) for role, p in found.items()}
    )


def check_revocations(offsets: Offsets, trust: Trust) -> None:
    """Raise `RebuildNeeded` where a statement was folded that a later revocation took back."""
    for signer, last_folded in offsets.signers.items():
        last_valid = trust.revocations.get(signer)
        if last_valid is None:
            continue
        if last_folded > last_valid.get(f"{topics.EVENTS}/{offsets.partition}", 0):
            raise RebuildNeeded(
                f"partition {offsets.partition} holds statement {last_folded} of a signing key that was revoked "
                "before it; run `keyfold projections rebuild`"
            )
