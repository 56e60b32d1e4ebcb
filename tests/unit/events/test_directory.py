"""The directory: verbatim signed events under the names that clients ask for."""

from typing import Any

import pytest

from keyfold.events import facts
from keyfold.events.directory import (
    directory_names,
    directory_partition,
    public_key_name,
    verify_verbatim,
)
from keyfold.events.statements import PATH_HEADER, STATEMENT_HEADER, Entry, UntrustedRecord
from keyfold.events.streams import partition_of


def test_names(world: Any, examples: Any) -> None:
    """Clients need genesis, certificates, sealing keys, capabilities, aliases, which keys have material; no more."""
    names = {type(event).__name__: directory_names(event) for event in examples.events()}
    policy = examples.POLICY.fingerprint
    assert {kind: found[0] for kind, found in names.items() if found} == {
        "Genesis": "genesis",
        "ServiceKeyCertified": f"certificate/{policy}/keyfold.service-key.certified.v1/1",
        "ServiceKeyRevoked": f"certificate/{policy}/keyfold.service-key.revoked.v1/1",
        "SealingKeyPublished": f"sealing-key/{examples.SEALING_KEY}",
        "SealingKeyErased": f"sealing-key/{examples.OLD_SEALING_KEY}",
        "AliasCreated": "alias/orders",
        "AliasUpdated": "alias/orders",
        "AliasDeleted": "alias/orders",
        "KeyMaterialGenerated": f"key/{examples.KEY_ID}",
        "KeyMaterialImported": f"key/{examples.KEY_ID}",
        "TokenCapabilitiesFound": "capabilities",
    }


def test_names_of_public_keys(world: Any, examples: Any) -> None:
    """Material with a public half answers for that version's public key too; without one for the key alone."""
    pair = examples.event_variants()["KeyMaterialGenerated of a key pair"]
    assert directory_names(pair) == (f"key/{examples.KEY_ID}", public_key_name(examples.KEY_ID, 1))
    assert directory_names(world.event(facts.KeyMaterialGenerated)) == (f"key/{examples.KEY_ID}",)
    assert directory_names(world.event(facts.KeyUsed)) == ()


def test_partitions(vectors: Any) -> None:
    """What every client needs is in partition 0, aliases and keys are spread over the rest, as recorded."""
    for case in vectors("partitions")["directory"]:
        made = directory_partition(case["name"], case["partitions"])
        assert made == case["partition"]
        assert (made > 0) == case["name"].startswith(("alias/", "key/", "public-key/"))


def copy(world: Any, role: str, event: facts.Event, partition: int | None = None) -> Any:
    place = partition_of(event.subject, world.partitions) if partition is None else partition
    return world.author(role, partition=place).write_events(event)[0]


@pytest.mark.parametrize(
    "kind", [facts.AliasCreated, facts.KeyMaterialGenerated, facts.SealingKeyPublished, facts.Genesis]
)
def test_verbatim(world: Any, kind: type[facts.Event]) -> None:
    """A copied event is believed by its author's signature and path."""
    event = world.event(kind)
    record = copy(world, event.role, event)
    assert verify_verbatim(world.trust, world.partitions, record.value, record.headers) == event


def test_altered_copies(world: Any) -> None:
    """A copy with another value, path or statement, or without headers, is untrusted."""
    event = world.event(facts.AliasCreated)
    record = copy(world, "policy", event)
    other = event.model_copy(update={"id": "other"}).to_value()
    for value, headers in (
        (other, record.headers),
        (b"{}", record.headers),
        (record.value, ()),
        (record.value, record.with_header(PATH_HEADER, bytes(36)).headers),
        (record.value, record.with_header(STATEMENT_HEADER, b"{}").headers),
    ):
        with pytest.raises(UntrustedRecord):
            verify_verbatim(world.trust, world.partitions, value, headers)


def test_copy_of_a_record_from_the_wrong_partition(world: Any) -> None:
    """An event that its author signed for another partition is not of its place."""
    record = copy(world, "policy", world.event(facts.AliasCreated), partition=2)
    with pytest.raises(UntrustedRecord, match="not of the event's place"):
        verify_verbatim(world.trust, world.partitions, record.value, record.headers)


def test_copy_of_another_topics_record(world: Any) -> None:
    """A record that was signed for another topic is no event."""
    event = world.event(facts.AliasCreated)
    author = world.author("policy", topic="keyfold.authorized", partition=0)
    record = author.write([Entry(b"registry", event.to_value())])[0]
    with pytest.raises(UntrustedRecord, match="not of the event's place"):
        verify_verbatim(world.trust, world.partitions, record.value, record.headers)


def test_copy_by_the_wrong_author(world: Any) -> None:
    """An hsm key cannot invent an alias for the directory."""
    record = copy(world, "hsm", world.event(facts.AliasCreated))
    with pytest.raises(UntrustedRecord, match="may not write"):
        verify_verbatim(world.trust, world.partitions, record.value, record.headers)


def test_copy_of_an_expired_author(world: Any) -> None:
    """The author's certificate must have been valid at the event's time."""
    event = world.event(facts.AliasCreated).model_copy(update={"time": "2027-01-01T00:00:00.000Z"})
    record = copy(world, "policy", event)
    with pytest.raises(UntrustedRecord, match="not valid at this time"):
        verify_verbatim(world.trust, world.partitions, record.value, record.headers)


def test_copy_of_what_lies_nowhere(world: Any) -> None:
    """A copy that claims to be about a partition that the deployment does not have is untrusted, like any other lie."""
    event = world.event(facts.StorageEpochTurned).model_copy(update={"subject": "partition/99999"})
    record = copy(world, "hsm", event, partition=1)
    with pytest.raises(UntrustedRecord):
        verify_verbatim(world.trust, world.partitions, record.value, record.headers)
