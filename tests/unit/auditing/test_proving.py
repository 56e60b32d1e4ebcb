"""A proof is made from what is published, and is believed by public keys alone; whatever is wrong with it is told."""

import base64
from dataclasses import replace

import pytest
from tests.support.honest_log import PARTITION, HonestLog
from tests.support.notary_log import SIGNED_AT_S, NotaryKeys, NotaryLog, bus_of, witness_key
from tests.support.people import DEPLOYMENT, PARTITIONS

from keyfold.auditing.checkpoints import checkpoint_topics
from keyfold.auditing.proving import NotWitnessed, _paired, check_proof, make_proof, verified_only
from keyfold.auditing.root_records import (
    RootRecordsInvalid,
    from_document,
    read_root_records,
    to_document,
    trust_of,
)
from keyfold.auditing.trees import stored_tree
from keyfold.bus import MemoryBus, Outbound
from keyfold.events import facts, topics
from keyfold.events.checkpoints import parse_checkpoint
from keyfold.events.log_proofs import parse_proof
from keyfold.events.log_records import LogRecord, record_of
from keyfold.events.merkle import ProofInvalid
from keyfold.events.notes import ED25519, ML_DSA_44_COSIGNATURE, NoteInvalid, VerifierKey, parse_note
from keyfold.events.statements import UntrustedRecord
from keyfold.events.trust import Trust
from keyfold.log import TrustKeeper


async def told() -> tuple[MemoryBus, NotaryLog]:
    """An honest log whose notary is certified, and what the notary published of it."""
    honest = HonestLog()
    honest.write("root", topics.EVENTS, [NotaryKeys().certificate()])
    bus = await bus_of(honest.tell())
    log = NotaryLog(bus)
    await log.publish()
    return bus, log


async def records_of(bus: MemoryBus, partition: int = PARTITION) -> list[LogRecord]:
    reader = bus.reader(topics.EVENTS, partition, committed=True)
    await reader.start(None)
    return [record_of(r.key, r.value, r.headers) async for batch in reader.read_to_end() for r in batch]


async def trusted(bus: MemoryBus) -> Trust:
    keeper = TrustKeeper(bus, DEPLOYMENT, PARTITIONS)
    try:
        return await keeper.catch_up()
    finally:
        await keeper.stop()


async def proof_of(bus: MemoryBus, log: NotaryLog, index: int, witnesses: tuple[str, ...] = ()) -> bytes:
    record = (await records_of(bus))[index]
    for name in witnesses:
        await log.cosign(log.notes[PARTITION][-1], name)
    async with stored_tree(bus, PARTITION) as tree, checkpoint_topics(bus) as published:
        found = await published.covering(log.origin(PARTITION), index)
        return (await make_proof(tree, record, index, found.note)).to_bytes()


async def test_every_record_is_proven_with_public_keys() -> None:
    """Each record's proof checks with the log's keys, and with the fingerprint and root's records."""
    bus, log = await told()
    keys, trust = log.keys.vkeys(log.origin(PARTITION)), await trusted(bus)
    for index, record in enumerate(await records_of(bus)):
        document = await proof_of(bus, log, index)
        proven = check_proof(document, keys)
        assert (proven.record, proven.index, proven.author, proven.signed_at_s) == (record, index, None, SIGNED_AT_S)
        believed = check_proof(document, trust=trust)
        assert believed.event == record.event
        assert believed.author in {"policy", "hsm"}


async def test_root_records_make_the_proof_independent_of_the_log() -> None:
    """Saved and taken back, they lead from the fingerprint to the log's keys and the author."""
    bus, log = await told()
    document = to_document(await read_root_records(bus, await trusted(bus)))
    records = from_document(document.encode())
    assert isinstance(records[0].event, facts.Genesis)
    proven = check_proof(await proof_of(bus, log, 0), trust=trust_of(records, DEPLOYMENT))
    assert proven.author == "policy"
    with pytest.raises(UntrustedRecord):
        trust_of(records, "0" * 64)
    with pytest.raises(RootRecordsInvalid):
        trust_of(records[1:], DEPLOYMENT)
    with pytest.raises(RootRecordsInvalid):
        trust_of([*records, (await records_of(bus, 0))[3]], DEPLOYMENT)
    for wrong in (b"", b"[]", b'{"format":"other","records":[]}', document.encode()[:-9] + b'"]}'):
        with pytest.raises(RootRecordsInvalid):
            from_document(wrong)


async def test_witnesses_are_counted() -> None:
    """All that are named must have cosigned, or so many as are asked for; each counts once."""
    bus, log = await told()
    document = await proof_of(bus, log, 1, ("w1", "w2", "w1"))
    keys = log.keys.vkeys(log.origin(PARTITION))
    named = [witness_key(name) for name in ("w1", "w2", "w3")]
    assert check_proof(document, keys, witnesses=named, quorum=2).witnesses == dict.fromkeys(("w1", "w2"), SIGNED_AT_S)
    assert check_proof(document, keys, witnesses=named[:2]).witnesses.keys() == {"w1", "w2"}
    with pytest.raises(NotWitnessed):
        check_proof(document, keys, witnesses=named)
    with pytest.raises(NotWitnessed):
        check_proof(document, keys, witnesses=[named[0], named[0]], quorum=2)
    assert check_proof(document, keys, witnesses=[named[0], named[0]]).witnesses.keys() == {"w1"}
    second = VerifierKey("w1", ML_DSA_44_COSIGNATURE, NotaryKeys("w1").checkpoint_key)
    with pytest.raises(NotWitnessed):
        check_proof(document, keys, witnesses=[named[0], second])


async def test_a_wrong_cosignature_is_none() -> None:
    """A line under a witness's name that is not its signature does not count, and breaks nothing else."""
    bus, log = await told()
    proof = parse_proof(await proof_of(bus, log, 1, ("w1",)))
    lines = tuple(replace(line, signature=line.signature[:-1] + b"\0") if line.name == "w1" else line
                  for line in proof.checkpoint.signatures)  # fmt: skip
    document = replace(proof, checkpoint=replace(proof.checkpoint, signatures=lines)).to_bytes()
    keys = log.keys.vkeys(log.origin(PARTITION))
    assert check_proof(document, keys, witnesses=[witness_key("w1")], quorum=0).witnesses == {}
    with pytest.raises(NotWitnessed):
        check_proof(document, keys, witnesses=[witness_key("w1")])
    assert verified_only(parse_note(log.notes[PARTITION][-1]), keys).signatures


async def test_what_is_not_proven_is_refused() -> None:
    """Another record, index, path, root, size or log; a proof whose log is not known; a log that signed half."""
    bus, log = await told()
    proof = parse_proof(await proof_of(bus, log, 2))
    keys = log.keys.vkeys(log.origin(PARTITION))
    text = proof.checkpoint.text
    other = (await records_of(bus))[3]
    wrong = [
        replace(proof, extra=other.to_bytes()),
        replace(proof, index=3),
        replace(proof, path=proof.path[:-1]),
        replace(proof, path=(*proof.path, bytes(32))),
        replace(proof, path=(bytes(32), *proof.path[1:])),
        replace(proof, checkpoint=replace(proof.checkpoint, text=text.replace("events/2", "events/1"))),
        replace(proof, checkpoint=parse_note(log.notes[1][-1])),
        replace(proof, checkpoint=replace(proof.checkpoint, signatures=proof.checkpoint.signatures[:1])),
        replace(proof, checkpoint=replace(proof.checkpoint, signatures=proof.checkpoint.signatures[1:])),
        replace(proof, checkpoint=replace(proof.checkpoint, text=_with_root(text))),
    ]
    for forged in wrong:
        with pytest.raises((NoteInvalid, ProofInvalid)):
            check_proof(forged.to_bytes(), keys)
    with pytest.raises(NoteInvalid):
        check_proof(proof.to_bytes(), NotaryKeys("another").vkeys(log.origin(PARTITION)))
    with pytest.raises(NoteInvalid):
        check_proof(proof.to_bytes())
    assert check_proof(proof.to_bytes(), keys[:1]).signed_at_s == 0


async def test_two_notaries_do_not_make_one() -> None:
    """A line of each of two notaries is a signature of neither, whether root or who checks names their keys."""
    bus, log = await told()
    proof, other, trust = parse_proof(await proof_of(bus, log, 2)), NotaryKeys("other"), await trusted(bus)
    origin = log.origin(PARTITION)
    second = other.note(parse_checkpoint(proof.checkpoint))
    lines = (proof.checkpoint.signatures[0], second.signatures[1])
    mixed = replace(proof, checkpoint=replace(proof.checkpoint, signatures=lines)).to_bytes()
    keys, more = log.keys.vkeys(origin), other.vkeys(origin)
    both = trust.with_event(other.certificate())
    for options in ({"trust": both}, {"trust": both, "keys": keys[:1]}, {"keys": [*keys, *more]}, {"keys": keys}):
        with pytest.raises(NoteInvalid):
            check_proof(mixed, **options)
    whole = replace(proof, checkpoint=second).to_bytes()
    assert check_proof(whole, trust=both) == check_proof(proof.to_bytes(), trust=both)
    assert check_proof(whole, [*keys, *more]).index == 2
    with pytest.raises(NoteInvalid):
        check_proof(replace(proof, checkpoint=replace(second, signatures=second.signatures[:1])).to_bytes(), more[::-1])


async def test_a_record_of_nobody_is_in_the_log_but_has_no_author() -> None:
    """Inclusion is one question, authorship another; the second is asked where trust is at hand."""
    bus, log = await told()
    writer = bus.writer("intruder")
    await writer.start()
    stolen = (await records_of(bus, 0))[0]
    await writer.commit([Outbound(topics.EVENTS, PARTITION, b"key/nobody", b"{}")])
    await writer.commit([Outbound(topics.EVENTS, PARTITION, stolen.key, stolen.value, stolen.headers)])
    own = (await records_of(bus))[2]
    await writer.commit([Outbound(topics.EVENTS, PARTITION, own.key, (own.value or b"") + b" ", own.headers)])
    await log.publish([PARTITION])
    trust = await trusted(bus)
    for index in (-3, -2, -1):
        place = len(await records_of(bus)) + index
        document = await proof_of(bus, log, place)
        assert check_proof(document, log.keys.vkeys(log.origin(PARTITION))).index == place
        with pytest.raises(UntrustedRecord):
            check_proof(document, trust=trust)


async def test_a_proof_is_not_made_of_what_does_not_fit() -> None:
    """The record must be the leaf, and the checkpoint must reach it."""
    bus, log = await told()
    records = await records_of(bus)
    note = parse_note(log.notes[PARTITION][-1])
    async with stored_tree(bus, PARTITION) as tree:
        with pytest.raises(ProofInvalid, match="another record"):
            await make_proof(tree, records[0], 1, note)
        await log.publish_leaves(PARTITION, [b"\1" * 32])
        with pytest.raises(ProofInvalid, match="newer"):
            await make_proof(tree, _With(b"\1" * 32), len(records), note)  # type: ignore[arg-type]


class _With:
    """A record of which only the leaf hash is known."""

    def __init__(self, leaf: bytes) -> None:
        self.leaf = leaf


def _with_root(text: str) -> str:
    origin, size, _ = text.rstrip("\n").split("\n")
    return f"{origin}\n{size}\n{base64.b64encode(bytes(32)).decode()}\n"


def test_keys_stand_together_as_they_are_printed() -> None:
    """A notary with one key counts beside one with two; a key of each of two notaries does not, unless the order of
    the keys was lost."""
    name = "keyfold/x/events/0"
    alone, first = (VerifierKey(name, ED25519, bytes([number]) * 32) for number in (1, 2))
    second = VerifierKey(name, ML_DSA_44_COSIGNATURE, bytes(1312))
    assert set(_paired([alone, first, second])) == {(alone,), (first, second)}
    assert set(_paired([first, second, alone])) == {(first, second), (alone,)}
    assert set(_paired([second, alone, first])) == {(alone, second), (first, second)}
    assert set(_paired([second])) == {(second,)}
