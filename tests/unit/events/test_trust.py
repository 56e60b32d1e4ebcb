"""Trust: which keys may sign as which role, from one pinned fingerprint."""

from typing import Any

import pytest

from keyfold.events import facts
from keyfold.events.chains import ChainReader
from keyfold.events.signatures import reply_message
from keyfold.events.statements import STATEMENT_HEADER, UntrustedRecord
from keyfold.events.times import DAY_MS, to_milliseconds
from keyfold.events.trust import CLOCK_TOLERANCE_MS, Trust, check_author

START, END = to_milliseconds("2026-01-01T00:00:00.000Z"), to_milliseconds("2026-03-01T00:00:00.000Z")


def read(world: Any, record: Any, trust: Trust, at: int, *, topic: str = "keyfold.events", partition: int = -1) -> None:
    """Accept one record with a fresh reader."""
    reader = ChainReader(topic, world.partition if partition < 0 else partition, world.partitions)
    reader.accept(trust, record.key, record.value, record.headers, at)


def test_pin(world: Any) -> None:
    """Trust starts only from the key whose fingerprint is the deployment."""
    assert world.bare.root.fingerprint == world.deployment
    with pytest.raises(UntrustedRecord, match="not the pinned one"):
        Trust.pin(world.deployment, world.examples.ALICE.public_key)


def test_nobody_is_certified_at_first(world: Any) -> None:
    """Without a certificate no service is believed."""
    with pytest.raises(UntrustedRecord, match="not certified"):
        read(world, world.author("policy").write(world.entries(1))[0], world.bare, world.now)


def test_root_speaks_on_partition_0(world: Any) -> None:
    """Root needs no certificate, on events partition 0."""
    record = world.author("root", partition=0).write_events(world.event(facts.Genesis))[0]
    read(world, record, world.bare, world.now, partition=0)


def test_root_speaks_nowhere_else(world: Any) -> None:
    """Root's own statements on another partition or topic are untrusted."""
    elsewhere = world.author("root").write(world.entries(1))[0]
    with pytest.raises(UntrustedRecord, match="partition 0 only"):
        read(world, elsewhere, world.trust, world.now)
    keystore = world.author("root", topic="keyfold.keystore", partition=0)
    other = keystore.write_events(world.event(facts.Genesis))[0]
    with pytest.raises(UntrustedRecord, match="partition 0 only"):
        read(world, other, world.trust, world.now, topic="keyfold.keystore", partition=0)


def test_nobody_else_speaks_as_root(world: Any) -> None:
    """A certified key that claims to be root is untrusted, even if a certificate says root."""
    author = world.author("root", partition=0)
    author.signer = world.examples.POLICY
    trust = world.trust.with_event(world.certificate("policy").model_copy(update={"data": _as_root(world)}))
    with pytest.raises(UntrustedRecord, match="pinned key"):
        read(world, author.write_events(world.event(facts.Genesis))[0], trust, world.now, partition=0)


def _as_root(world: Any) -> facts.ServiceKeyCertified.Data:
    data = world.certificate("policy").data
    return facts.ServiceKeyCertified.Data(**{**data.model_dump(), "service": "root"})


def test_role_must_be_the_certified_one(world: Any) -> None:
    """A key certified as hsm cannot sign as policy."""
    author = world.author("policy")
    author.signer = world.examples.HSM
    with pytest.raises(UntrustedRecord, match="role and topic"):
        read(world, author.write(world.entries(1))[0], world.trust, world.now)


def test_topic_must_be_certified(world: Any) -> None:
    """A certificate counts on the topics that it names."""
    trust = world.bare.with_event(world.certificate("policy", topics=["keyfold.authorized"]))
    with pytest.raises(UntrustedRecord, match="role and topic"):
        read(world, world.author("policy").write(world.entries(1))[0], trust, world.now)


def test_deployment_must_be_this_one(world: Any) -> None:
    """A statement of another deployment is untrusted, though its key is certified here."""
    author = world.author("policy")
    author.chain = type(author.chain)("0" * 64, "keyfold.events", "policy", world.partition)
    with pytest.raises(UntrustedRecord, match="another deployment"):
        read(world, author.write(world.entries(1))[0], world.trust, world.now)


def test_signature_must_be_the_signers(world: Any) -> None:
    """A statement whose one byte was changed after signing is untrusted."""
    record = world.author("policy").write(world.entries(1))[0]
    changed = record.header(STATEMENT_HEADER).replace(b'"n":1', b'"n":2')
    with pytest.raises(UntrustedRecord, match="signature"):
        read(world, record.with_header(STATEMENT_HEADER, changed), world.trust, world.now)


@pytest.mark.parametrize("at", [START - CLOCK_TOLERANCE_MS, START, END, END + CLOCK_TOLERANCE_MS])
def test_within_validity(world: Any, at: int) -> None:
    """A record whose broker time lies in the certificate's validity, with a minute's tolerance, is believed."""
    read(world, world.author("policy").write(world.entries(1))[0], world.trust, at)


@pytest.mark.parametrize("at", [0, START - CLOCK_TOLERANCE_MS - 1, END + CLOCK_TOLERANCE_MS + 1])
def test_outside_validity(world: Any, at: int) -> None:
    """A record from before or after the certificate's validity is untrusted."""
    with pytest.raises(UntrustedRecord, match="not valid at this time"):
        read(world, world.author("policy").write(world.entries(1))[0], world.trust, at)


def test_renewal_keeps_old_records_readable(world: Any) -> None:
    """A key that is certified again is believed in both periods, not between them."""
    renewed = world.certificate("policy", not_before="2026-04-01T00:00:00.000Z", not_after="2026-05-01T00:00:00.000Z")
    trust = world.trust.with_event(renewed)
    record = world.author("policy").write(world.entries(1))[0]
    for at in (world.now, to_milliseconds("2026-04-15T00:00:00.000Z")):
        read(world, record, trust, at)
    with pytest.raises(UntrustedRecord, match="not valid"):
        read(world, record, trust, to_milliseconds("2026-03-15T00:00:00.000Z"))


def test_validity_and_topic_are_of_one_certificate(world: Any) -> None:
    """The topics of one certificate do not count in the period of another."""
    later = {"not_before": "2026-04-01T00:00:00.000Z", "not_after": "2026-05-01T00:00:00.000Z"}
    trust = world.trust.with_event(world.certificate("policy", topics=["keyfold.policy-state"], **later))
    record = world.author("policy").write(world.entries(1))[0]
    with pytest.raises(UntrustedRecord, match="not valid"):
        read(world, record, trust, to_milliseconds("2026-04-15T00:00:00.000Z"))


@pytest.mark.parametrize(
    "days", [{"not_after": "2026-04-01T00:00:00.001Z"}, {"not_after": "2026-01-01T00:00:00.000Z"}], ids=str
)
def test_certificate_of_wrong_length(world: Any, days: dict[str, str]) -> None:
    """A certificate for more than 90 days, or for no time at all, is refused."""
    with pytest.raises(UntrustedRecord, match="90 days"):
        world.bare.with_event(world.certificate("policy", **days))


def test_certificate_of_90_days(world: Any) -> None:
    """A certificate may last exactly 90 days."""
    assert to_milliseconds("2026-04-01T00:00:00.000Z") - START == 90 * DAY_MS
    world.bare.with_event(world.certificate("policy", not_after="2026-04-01T00:00:00.000Z"))


def test_revoked_key_counts_up_to_its_last_statement(world: Any) -> None:
    """After a revocation the statements up to the last valid one count, and later ones do not."""
    trust = world.trust.with_event(world.revocation("policy", {f"keyfold.events/{world.partition}": 1}))
    author = world.author("policy")
    first, second = author.write(world.entries(1))[0], author.write(world.entries(1))[0]
    reader = ChainReader("keyfold.events", world.partition, world.partitions)
    reader.accept(trust, first.key, first.value, first.headers, world.now)
    with pytest.raises(UntrustedRecord, match="revoked"):
        reader.accept(trust, second.key, second.value, second.headers, world.now)


def test_revoked_key_counts_nowhere_else(world: Any) -> None:
    """On a partition that the revocation does not name, no statement of the key counts."""
    trust = world.trust.with_event(world.revocation("policy", {"keyfold.events/0": 9}))
    with pytest.raises(UntrustedRecord, match="revoked"):
        read(world, world.author("policy").write(world.entries(1))[0], trust, world.now)


def test_revocation_before_its_certificate(world: Any) -> None:
    """In the directory a revocation may be read before the certificate: it counts all the same."""
    trust = world.bare.with_event(world.revocation("policy", {})).with_event(world.certificate("policy"))
    with pytest.raises(UntrustedRecord, match="revoked"):
        read(world, world.author("policy").write(world.entries(1))[0], trust, world.now)


def test_revocation_is_of_one_key(world: Any) -> None:
    """The role's other keys are not touched by a revocation."""
    trust = world.trust.with_event(world.revocation("policy", {}))
    read(world, world.author("hsm").write(world.entries(1))[0], trust, world.now)


def test_other_events_change_nothing(world: Any) -> None:
    """Only certificates and revocations change trust; a fold never changes the value it started from."""
    assert world.trust.with_event(world.event(facts.KeyUsed)) is world.trust
    before = dict(world.bare.certificates)
    world.bare.with_event(world.certificate("policy"))
    assert dict(world.bare.certificates) == before


@pytest.mark.parametrize("service", ["policy", "hsm"])
def test_reply_signer(world: Any, service: str) -> None:
    """A clear reply of a certified policy or hsm key is believed."""
    message = reply_message(world.deployment, b"key", b"value")
    signer = world.examples.signer(service)
    world.trust.verify_reply_signer(signer.fingerprint, signer.sign(message), message, world.now)


def test_reply_signer_refused(world: Any) -> None:
    """A clear reply of an unknown, other, revoked or expired key, or with a wrong signature, is not believed."""
    message = reply_message(world.deployment, b"key", b"value")
    signer = world.examples.signer("policy")
    projector = world.bare.with_event(world.certificate("projector", signer=signer))
    revoked = world.trust.with_event(world.revocation("policy", {"keyfold.events/1": 9}))
    for trust, signature, at in (
        (world.bare, signer.sign(message), world.now),
        (projector, signer.sign(message), world.now),
        (revoked, signer.sign(message), world.now),
        (world.trust, signer.sign(message), END + CLOCK_TOLERANCE_MS + 1),
        (world.trust, signer.sign(message + b"x"), world.now),
        (world.trust, b"", world.now),
    ):
        with pytest.raises(UntrustedRecord):
            trust.verify_reply_signer(signer.fingerprint, signature, message, at)


def test_check_author(world: Any) -> None:
    """Every type belongs to one role and one topic, and to no other."""
    roles = ("policy", "hsm", "root", "projector", "notary", "analytics")
    for event in world.examples.events():
        for role in roles:
            for topic in ("keyfold.events", "keyfold.keystore", "keyfold.authorized"):
                if (role, topic) == (event.role, event.topic):
                    check_author(event, role, topic)
                else:
                    with pytest.raises(UntrustedRecord, match="may not write"):
                        check_author(event, role, topic)


def test_keys_of_notaries(world: Any) -> None:
    """Whoever root certified as a notary may have signed checkpoints, with one key or two, whenever it was."""
    assert world.trust.notary_keys() == ()
    first, second = world.examples.signer("notary"), world.examples.signer("another notary")
    lattice = bytes(1312)
    old = world.certificate("notary", not_after="2026-01-02T00:00:00.000Z")
    both = world.certificate("notary", signer=second)
    both = both.model_copy(update={"data": both.data.model_copy(update={"checkpoint_key": lattice.hex()})})
    known = world.trust.with_event(old).with_event(both).with_event(old)
    assert known.notary_keys() == ((first.public_key, None), (second.public_key, lattice))
    renewed = both.model_copy(update={"data": both.data.model_copy(update={"checkpoint_key": None})})
    assert known.with_event(renewed).notary_keys()[1:] == ((second.public_key, lattice), (second.public_key, None))


def test_a_revoked_notary_has_signed_nothing(world: Any) -> None:
    """Both keys of a revoked notary count no more, whichever order certificate and revocation are read in."""
    certificate, revocation = world.certificate("notary"), world.revocation("notary", {})
    assert world.trust.with_event(certificate).with_event(revocation).notary_keys() == ()
    assert world.trust.with_event(revocation).with_event(certificate).notary_keys() == ()
