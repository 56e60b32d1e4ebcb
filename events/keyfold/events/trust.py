"""Trust: which keys may sign as which role, from one pinned fingerprint. All trust decisions of readers are here.

The root of trust is the deployment, SHA-256 of the root identity's public key. Rules, in the order they are checked:
 1. root's own statements count only on events partition 0, under the pinned key;
 2. any other signer needs a `ServiceKeyCertified` by root that names its role and the topic, and the record's broker
    time lies within its validity;
 3. a revoked key's statements count up to the last valid number per topic and partition, and nowhere else, in
    whatever order certificate and revocation are read, and a later certificate does not bring it back;
 4. a record's type must belong to the author's role and to the topic (`facts`).
A key may be certified more than once (renewed): one valid certificate is enough, and older records stay readable.
It does no I/O; reading order (gaps, repeats) is in `chains`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from keyfold.events import facts, topics
from keyfold.events.errors import SignatureInvalid
from keyfold.events.signatures import STATEMENT, Verifier, fingerprint, pae
from keyfold.events.statements import Statement, UntrustedRecord
from keyfold.events.times import DAY_MS, to_milliseconds

MAX_CERTIFICATE_MS: Final = 90 * DAY_MS
CLOCK_TOLERANCE_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Certificate:
    """A service key's licence: role, topics and validity in broker time; of a notary, also its ML-DSA-44 key."""

    verifier: Verifier
    service: str
    topics: frozenset[str]
    not_before_ms: int
    not_after_ms: int
    public_key: bytes = b""
    checkpoint_key: bytes | None = None


Certificates = Mapping[str, tuple[Certificate, ...]]
Revocations = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Trust:
    """The certificates and revocations known so far, by fingerprint. Immutable: `with_event` returns the next one."""

    deployment: str
    root: Verifier
    certificates: Certificates = field(default_factory=lambda: MappingProxyType({}))
    revocations: Revocations = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def pin(cls, deployment: str, root_public_key: bytes) -> "Trust":
        """Start from the pinned fingerprint. Raises `UntrustedRecord` where the key is another one."""
        if fingerprint(root_public_key) != deployment:
            raise UntrustedRecord("the root key is not the pinned one; check the deployment's fingerprint")
        return cls(deployment, Verifier(root_public_key))

    def with_event(self, event: facts.Event) -> "Trust":
        """Fold one of root's events; others change nothing. Raises `UntrustedRecord` for a certificate too long."""
        if isinstance(event, facts.ServiceKeyCertified):
            certificate = _certificate(event.data)
            name = certificate.verifier.fingerprint
            known = (*self.certificates.get(name, ()), certificate)
            return replace(self, certificates=MappingProxyType({**self.certificates, name: known}))
        if isinstance(event, facts.ServiceKeyRevoked):
            name = fingerprint(bytes.fromhex(event.data.public_key))
            return replace(self, revocations=MappingProxyType({**self.revocations, name: event.data.last_valid}))
        return self

    def verify_statement(
        self, statement: Statement, document: bytes, signature: bytes, signer: str, timestamp_ms: int
    ) -> None:
        """Apply rules 1 to 3 to a statement. Raises `UntrustedRecord`."""
        if statement.deployment != self.deployment:
            raise UntrustedRecord("the statement belongs to another deployment")
        verifier = self._licensed(statement, signer, timestamp_ms)
        try:
            verifier.verify(signature, pae(STATEMENT, document))
        except SignatureInvalid:
            raise UntrustedRecord("the statement's signature is not its signer's") from None

    def verify_reply_signer(self, signer: str, signature: bytes, message: bytes, now_ms: int) -> None:
        """Check a clear reply: signed by a currently certified policy or hsm key. Raises `UntrustedRecord`."""
        licences = [c for c in self.certificates.get(signer, ()) if c.service in {"policy", "hsm"}]
        if not licences or signer in self.revocations:
            raise UntrustedRecord("a clear reply must be signed by a certified policy or hsm key")
        try:
            _valid_at(licences, now_ms).verifier.verify(signature, message)
        except SignatureInvalid:
            raise UntrustedRecord("the reply's signature is not its signer's") from None

    def require_licence(self, role: str, signer: str, at_ms: int) -> None:
        """Raise `UntrustedRecord` unless readers would believe what this signer writes as this role now.

        For authors, before they sign: what readers ignore would leave a gap in the chain that no later certificate
        mends. No tolerance at the end of the validity, so that an author stops before its readers do.
        """
        licences = [c for c in self.certificates.get(signer, ()) if c.service == role]
        if signer in self.revocations or not any(
            c.not_before_ms - CLOCK_TOLERANCE_MS <= at_ms <= c.not_after_ms for c in licences
        ):
            raise UntrustedRecord(f"this {role} key is not certified now; hold `keyfold ceremony renew`")

    def verify_head(self, role: str, signer: str, signature: bytes, message: bytes) -> None:
        """Check the head of a role's private state topic: signed by a key that root certified for the role.

        Its age does not matter: a state may rest longer than a certificate lasts. Raises `UntrustedRecord`.
        """
        licences = [c for c in self.certificates.get(signer, ()) if c.service == role]
        if not licences or signer in self.revocations:
            raise UntrustedRecord(f"the state's head is not signed by a certified {role} key")
        try:
            licences[0].verifier.verify(signature, message)
        except SignatureInvalid:
            raise UntrustedRecord("the head's signature is not its signer's") from None

    def verify_record(
        self, role: str, topic: str, signer: str, signature: bytes, *, message: bytes, timestamp_ms: int
    ) -> None:
        """Check a record that is signed by itself, outside all chains, as alerts are. Raises `UntrustedRecord`.

        Its signer is certified for the role and the topic at the record's broker time. Nothing of a revoked key counts:
        such records have no number up to which they could.
        """
        licences = [c for c in self.certificates.get(signer, ()) if c.service == role and topic in c.topics]
        if not licences or signer in self.revocations:
            raise UntrustedRecord(f"the record is not signed by a key that is certified as {role} for {topic}")
        try:
            _valid_at(licences, timestamp_ms).verifier.verify(signature, message)
        except SignatureInvalid:
            raise UntrustedRecord("the record's signature is not its signer's") from None

    def notary_keys(self) -> tuple[tuple[bytes, bytes | None], ...]:
        """Return the keys that root ever certified for a notary and did not revoke: Ed25519, and ML-DSA-44 if any.

        Their age does not matter: a checkpoint stays what it was when its signer's certificate ends.
        """
        found = [
            (certificate.public_key, certificate.checkpoint_key)
            for name, certificates in self.certificates.items()
            if name not in self.revocations
            for certificate in certificates
            if certificate.service == "notary"
        ]
        return tuple(dict.fromkeys(found))

    def _licensed(self, statement: Statement, signer: str, timestamp_ms: int) -> Verifier:
        if statement.role == "root":
            if statement.topic != topics.EVENTS or statement.partition != 0 or signer != self.root.fingerprint:
                raise UntrustedRecord("root speaks on events partition 0 only, with the pinned key")
            return self.root
        certificates = self.certificates.get(signer, ())
        licences = [c for c in certificates if c.service == statement.role and statement.topic in c.topics]
        if not licences:
            raise UntrustedRecord("the signer is not certified for this role and topic")
        _check_revocation(self.revocations.get(signer), statement)
        return _valid_at(licences, timestamp_ms).verifier


def check_author(event: facts.Event, role: str, topic: str) -> None:
    """Apply rule 4. Raises `UntrustedRecord`."""
    if event.role != role or event.topic != topic:
        raise UntrustedRecord(f"{role} may not write {event.type} on {topic}")


def _certificate(data: facts.ServiceKeyCertified.Data) -> Certificate:
    not_before, not_after = to_milliseconds(data.not_before), to_milliseconds(data.not_after)
    if not 0 < not_after - not_before <= MAX_CERTIFICATE_MS:
        raise UntrustedRecord("a certificate lasts at most 90 days")
    public_key = bytes.fromhex(data.public_key)
    checkpoint_key = None if data.checkpoint_key is None else bytes.fromhex(data.checkpoint_key)
    return Certificate(
        Verifier(public_key), data.service, frozenset(data.topics), not_before, not_after, public_key, checkpoint_key
    )


def _valid_at(licences: Sequence[Certificate], at_ms: int) -> Certificate:
    for licence in licences:
        if licence.not_before_ms - CLOCK_TOLERANCE_MS <= at_ms <= licence.not_after_ms + CLOCK_TOLERANCE_MS:
            return licence
    raise UntrustedRecord("the signer's certificate is not valid at this time")


def _check_revocation(last_valid: Mapping[str, int] | None, statement: Statement) -> None:
    if last_valid is None:
        return
    last = last_valid.get(f"{statement.topic}/{statement.partition}", 0)
    if statement.n > last:
        raise UntrustedRecord("the signer's key was revoked before this statement")
