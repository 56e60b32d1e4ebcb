"""Many keys quickly, for the figures of restart and memory: written as policy and worker write them, but not asked for.

    python -m benchmarks.keys_loading CONFIG PROTECTION NUMBER

writes the state of that many new keys into policy's state topic, and wrapped material that the token made into the
keystore, with the two roles' own code: fenced, signed, transaction by transaction. Policy and worker must be stopped.
No commands and no events are written, so projections do not know these keys; neither is read in a restart. It prints
the ids, one a line.
"""

import asyncio
import os
import sys
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import uvloop

from benchmarks.keys_client import DESCRIPTION, PRINCIPAL, Protection
from keyfold.bus import Bus, BusSettings, KafkaBus
from keyfold.config import Config, export_softhsm2_conf, load_config
from keyfold.custody import Custody, KeyReference
from keyfold.events import facts, topics
from keyfold.events.event import Decision
from keyfold.events.evolve import evolve
from keyfold.events.streams import key_stream, partition_of
from keyfold.events.times import to_text
from keyfold.hsm.engine import Work
from keyfold.hsm.keystore import Draft as KeystoreDraft
from keyfold.hsm.restore import Live, Restorer
from keyfold.hsm.transaction import prepare
from keyfold.identity import load_identity
from keyfold.log import Author, RegistryFollower, StateTopic, transactional_id
from keyfold.policy.state import Draft, State
from keyfold.token import load_module, open_token

AT_ONCE: Final = 100  # keys in one transaction: what a busy worker's batch has
SPEC: Final = "SYMMETRIC_DEFAULT"


@dataclass(frozen=True, slots=True)
class Parts:
    """What both roles' writers share."""

    config: Config
    bus: Bus
    follower: RegistryFollower
    protection: Protection

    def author(self, role: str) -> Author:
        """Return who signs as this role."""
        signer = load_identity(self.config.identities_directory / f"{role}.json").signer
        return Author(self.config.deployment or "", role, signer.fingerprint, signer.sign)


async def policy_writes(parts: Parts, partition: int, keys: Sequence[str]) -> None:
    """Write the entities of new keys into policy's state."""
    writer = parts.bus.writer(transactional_id("policy", partition))
    reader = parts.bus.reader(topics.POLICY_STATE, partition, committed=True)
    topic = StateTopic(parts.author("policy"), topics.POLICY_STATE, partition)
    try:
        await writer.start()
        restored = await topic.restore(reader, parts.follower.trust)
        state = State.from_records(restored.head, restored.records)
        for some in _pieces(keys):
            draft = Draft(state)
            for key in some:
                draft.apply(evolve({}, _created(key, parts.protection)))
            staged = topic.stage(state.changes(draft), draft.head.to_json())
            await writer.commit(staged.records)
            topic.promote(staged)
            state.promote(draft)
    finally:
        await reader.stop()
        await writer.stop()


async def worker_writes(parts: Parts, custody: Custody, partition: int, keys: Sequence[str]) -> None:
    """Have the token make material for new keys, and write it into the keystore."""
    author = parts.author("hsm")
    live = await Restorer(parts.bus, parts.follower, author, parts.config.partitions).take_over(partition)
    try:
        for some in _pieces(keys):
            stored = await asyncio.to_thread(_stored, custody, some, parts.protection)
            await _commit(author, live, partition, stored)
    finally:
        await live.stop()


async def _commit(author: Author, live: Live, partition: int, stored: Sequence[facts.Event]) -> None:
    draft = KeystoreDraft(live.index)
    for record in stored:
        draft.fold(record)
    works = [Work((), (record,)) for record in stored]
    made = prepare(author, partition, live.state, live.heads, works, read_to=(live.heads.position, live.heads.places))
    await live.writer.commit(made.records)
    live.state.promote(made.staged)
    live.heads = made.heads
    draft.promote()


def _created(key: str, protection: Protection) -> facts.Event:
    decision = Decision(
        command="{}",
        command_digest="0" * 64,
        body_digest="0" * 64,
        signature="",
        offset=0,
        policies=[],
        registry_revision=0,
        facts_n=0,
        charges={},
    )
    made = {"description": DESCRIPTION, "tags": {}, "created_by": PRINCIPAL, "rotate_at_percent": 95}
    common = {"key_id": key, "key_spec": SPEC, "protection": protection}
    return facts.KeyCreated.new("loaded", key_stream(key), _now(), decision=decision, **common, **made)


def _stored(custody: Custody, keys: Sequence[str], protection: Protection) -> list[facts.Event]:
    """Make and wrap material; it asks the token."""
    return [_stored_one(custody, key, protection) for key in keys]


def _stored_one(custody: Custody, key: str, protection: Protection) -> facts.Event:
    blob = custody.generate(KeyReference(UUID(key).bytes, 1, SPEC, protection)).blob
    common = {"key_id": key, "version": 1, "key_spec": SPEC, "protection": protection}
    return facts.KeyMaterialStored.new("loaded", key_stream(key), _now(), **common, blob=b64encode(blob).decode())


def _now() -> str:
    return to_text(time.time_ns() // 1_000_000)


def _pieces(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    return (keys[at : at + AT_ONCE] for at in range(0, len(keys), AT_ONCE))


async def load(config: Config, protection: Protection, number: int) -> list[str]:
    """Write that many new keys; return their ids."""
    bus = KafkaBus(BusSettings(bootstrap_servers=config.bootstrap_servers, client_id="bench"))
    follower = RegistryFollower(bus, config.deployment or "")
    parts = Parts(config, bus, follower, protection)
    keys = [str(uuid4()) for _ in range(number)]
    homes: dict[int, list[str]] = {}
    for key in keys:
        homes.setdefault(partition_of(key_stream(key), config.partitions), []).append(key)
    with open_token(load_module(config.pkcs11_module), "kms", config.pins_directory / "kms", pool_size=1) as token:
        custody = Custody(token)
        custody.attach()
        try:
            await follower.start()
            policy = (policy_writes(parts, partition, own) for partition, own in homes.items())
            worker = (worker_writes(parts, custody, partition, own) for partition, own in homes.items())
            await asyncio.gather(*policy, *worker)
        finally:
            await follower.stop()
    return keys


def main(arguments: Sequence[str]) -> None:
    """Load, and print the ids."""
    config = load_config(Path(arguments[0]))
    export_softhsm2_conf(config)
    protection: Protection = "HSM" if arguments[1] == "HSM" else "SOFTWARE"
    sys.stdout.write("".join(f"{key}{os.linesep}" for key in uvloop.run(load(config, protection, int(arguments[2])))))


if __name__ == "__main__":
    main(sys.argv[1:])
