"""The inventory: each way in which token, keystore and log can differ is found, and named by what it is."""

import struct
from base64 import b64encode
from hashlib import sha256
from typing import Any

import pytest
from tests.unit.hsm.deployment import NOW, PARTITIONS, Deployment
from tests.unit.hsm.orders import create, new_key
from tests.unit.hsm.worker import Worker

from keyfold.custody.envelopes import EPOCH_PREFIX
from keyfold.events import facts
from keyfold.events.event import Event
from keyfold.events.streams import REGISTRY, key_stream
from keyfold.events.times import to_text
from keyfold.hsm.inventory import NEEDED, Held, Keystore, Log, Report, reconcile, resident_id
from keyfold.hsm.inventory_run import take

KEY = new_key()
SEALING = new_key()
PUBLIC = "00" * 1216


def blob(epoch: int = 1, protection: int = 1, body: bytes = b"x" * 52) -> bytes:
    """A blob whose header is as `keyfold.custody.blobs` says."""
    return struct.pack(">4sBBBI", b"KFKB", 1, protection, 1, epoch) + body


def stored(data: bytes, version: int = 1) -> Event:
    return facts.KeyMaterialStored.new(
        "s", key_stream(KEY), to_text(NOW), key_id=KEY, version=version, key_spec="SYMMETRIC_DEFAULT",
        protection="HSM", blob=b64encode(data).decode(),
    )  # fmt: skip


def outcome(kind: type[Event], **fields: Any) -> Event:
    common = {"offset": 1, "command_id": new_key(), "command_digest": "0" * 64, "principal": "alice", "verb": "X"}
    return kind.new("o", key_stream(KEY), to_text(NOW), **common, key_id=KEY, **fields)


def generated(data: bytes, version: int = 1) -> Event:
    fields = {"version": version, "key_spec": "SYMMETRIC_DEFAULT", "protection": "HSM"}
    return outcome(facts.KeyMaterialGenerated, **fields, blob_digest=sha256(data).hexdigest())


def ceased(*versions: int) -> Event:
    return outcome(facts.KeyUseCeased, erased_versions=list(versions))


def erased(*versions: int) -> Event:
    return facts.KeyMaterialErased.new(
        "e", key_stream(KEY), to_text(NOW), key_id=KEY, versions=list(versions), offset=1, epoch=1
    )


def sealing(kind: type[Event], **fields: Any) -> Event:
    return kind.new("k", REGISTRY, to_text(NOW), sealing_key=SEALING, **fields)


PUBLISHED = sealing(facts.SealingKeyPublished, public_key=PUBLIC, blob_digest=sha256(b"sealed").hexdigest())
KEPT = sealing(facts.SealingKeyStored, public_key=PUBLIC, blob=b64encode(b"sealed").decode())


def held(*more: bytes, epochs: tuple[int, ...] = (1,), seals: tuple[str, ...] = ()) -> Held:
    numbers = (EPOCH_PREFIX + str(epoch).encode() for epoch in epochs)
    return Held(frozenset((*NEEDED, *numbers, *more)), frozenset(seals))


def report(has: Held, records: list[Event], events: list[Event]) -> Report:
    keystore, log = Keystore(), Log()
    for record in records:
        keystore.fold(record)
    for event in events:
        log.fold(event)
    return reconcile(has, keystore, log)


def kinds(found: Report) -> list[tuple[str, str]]:
    return [(each.kind, each.place) for each in found.findings]


def test_three_that_agree() -> None:
    """Nothing is found, and it is said how much was compared."""
    found = report(held(seals=(SEALING,)), [stored(blob()), KEPT], [generated(blob()), PUBLISHED])
    assert found.ok
    assert (found.versions, found.sealing_keys, found.epochs, found.token_keys) == (1, 1, (1,), 4)


RESIDENT = resident_id((KEY, 1))
CASES: dict[str, tuple[Held, list[Event], list[Event], list[tuple[str, str]]]] = {
    "a blob that no event states": (held(), [stored(blob())], [], [("orphan", "keystore")]),
    "material without a blob": (held(), [], [generated(blob())], [("ghost", "keystore")]),
    "another blob": (held(), [stored(blob())], [generated(blob(body=b"y" * 52))], [("mismatch", "keystore")]),
    "a blob of no known form": (held(), [stored(b"?" * 60)], [generated(b"?" * 60)], [("mismatch", "keystore")]),
    "an erased version's blob": (held(), [stored(blob())], [generated(blob()), ceased(1)], [("unerased", "keystore")]),
    "a blob of a lost epoch": (held(), [stored(blob(3))], [generated(blob(3))], [("keyless", "kms")]),
    "an epoch without key": (held(epochs=()), [], [], [("keyless", "kms")]),
    "an unknown epoch": (held(epochs=(1, 2)), [], [], [("orphan", "kms")]),
    "a stray key": (held(b"stray"), [], [], [("orphan", "kms")]),
    "a resident key of nobody": (held(RESIDENT), [], [], [("orphan", "kms")]),
    "a resident key that is gone": (held(), [stored(blob(1, 3))], [generated(blob(1, 3))], [("ghost", "kms")]),
    "a resident key that is erased": (held(RESIDENT), [], [generated(blob()), ceased(1)], [("unerased", "kms")]),
    "a token without its keys": (Held(frozenset({EPOCH_PREFIX + b"1"})), [], [], [("missing", "kms")] * 2),
    "a sealing key of nobody": (held(seals=(SEALING,)), [KEPT], [], [("orphan", "keystore"), ("orphan", "seal")]),
    "a key around no sealing key": (held(seals=(SEALING,)), [], [], [("orphan", "seal")]),
    "a sealing key without a key": (held(), [KEPT], [PUBLISHED], [("ghost", "seal")]),
    "a sealing key without a blob": (held(seals=(SEALING,)), [], [PUBLISHED], [("ghost", "keystore")]),
    "an erased sealing key": (
        held(seals=(SEALING,)), [KEPT], [PUBLISHED, sealing(facts.SealingKeyErased)],
        [("unerased", "keystore"), ("unerased", "seal")],
    ),
    "another sealing blob": (
        held(seals=(SEALING,)),
        [sealing(facts.SealingKeyStored, public_key=PUBLIC, blob=b64encode(b"other").decode())],
        [PUBLISHED],
        [("mismatch", "keystore")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_each_difference_is_named(case: str) -> None:
    """By what it is and where it was found."""
    has, records, events, expected = CASES[case]
    assert kinds(report(has, records, events)) == expected


def test_what_was_erased_everywhere_is_gone() -> None:
    """And a version that was imported again is live again."""
    gone = [stored(blob()), erased(1)], [generated(blob()), ceased(1)]
    assert report(held(), *gone).ok
    again = blob(body=b"z" * 52)
    assert report(held(), [*gone[0], stored(again)], [*gone[1], generated(again)]).ok


def test_a_blob_of_a_later_epoch_is_compared_by_where_it_came_from() -> None:
    """The event states the first blob's digest."""
    made_anew = facts.KeyMaterialRewrapped.new(
        "r", key_stream(KEY), to_text(NOW), key_id=KEY, epoch=1, blobs={"1": b64encode(blob(1, 1, b"w" * 52)).decode()}
    )
    assert report(held(), [stored(blob()), made_anew], [generated(blob())]).ok
    assert kinds(report(held(), [stored(blob()), made_anew], [generated(made_of())])) == [("mismatch", "keystore")]


def made_of() -> bytes:
    return blob(1, 1, b"w" * 52)


async def test_it_reads_what_is_authentic_and_looks_twice(deployment: Deployment, running: Worker) -> None:
    """What is there only once, while the three are not read in one moment, is not reported."""
    await running.execute(create(deployment, new_key()))
    looks: list[Held] = []

    def look() -> Held:
        looks.append(held(b"late" if looks else b"stray", b"stays"))
        return looks[-1]

    found = await take(deployment.bus, deployment.id, PARTITIONS, look)
    assert len(looks) == 2
    assert (found.versions, found.sealing_keys) == (1, 1)
    names = [each.subject for each in found.findings]
    assert "stays" in names
    assert not {"stray", "late"} & set(names)
    assert any(each.kind == "ghost" and each.place == "seal" for each in found.findings)
