"""Trust: which keys may sign as which role, from one pinned fingerprint. All trust decisions of readers are here.

The root of trust is the deployment, SHA-256 of the root identity's public key. Rules, in the order they are checked:
 1. root's own statements count only on events partition 0, under the pinned key;
 2. any other signer needs a `ServiceKeyCertified` by root that names its role and the topic, and the record's broker
    time lies within its validity;
 3. a revoked key's statements count up to the last valid number per topic and partition, and nowhere else;
 4. a record's type must belong to the author's role and to the topic (`facts`).
It does no I/O; reading order (gaps, repeats) is in `chains`.
"""

from collections.abc import Mapping
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
    """A service key's licence: role, topics, validity in broker time, and revocation if any."""

    verifier: Verifier
    service: str
    topics: frozenset[str]
    not_before_ms: int
    not_after_ms: int
    last_valid: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Trust:
    """The certificates known so far. Immutable: `with_event` returns the next one."""

    deployment: str
    root: Verifier
    certificates: Mapping[str, Certificate] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def pin(cls, deployment: str, root_public_key: bytes) -> "Trust":
        """Start from the pinned fingerprint. Raises `UntrustedRecord` where the key is another one."""
        if fingerprint(root_public_key) != deployment:
            raise UntrustedRecord("the root key is not the pinned one; check the deployment's fingerprint")
        return cls(deployment, Verifier(root_public_key))

    def with_event(self, event: facts.Event) -> "Trust":
        """Fold one of root's events; others change nothing. Raises `UntrustedRecord` for a certificate too long."""
        if isinstance(event, facts.ServiceKeyCertified):
            return self._with(fingerprint(bytes.fromhex(event.data.public_key)), _certificate(event.data))
        if isinstance(event, facts.ServiceKeyRevoked):
            name = fingerprint(bytes.fromhex(event.data.public_key))
            known = self.certificates.get(name)
            return self if known is None else self._with(name, replace(known, last_valid=event.data.last_valid))
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
        certificate = self.certificates.get(signer)
        if certificate is None or certificate.service not in {"policy", "hsm"} or certificate.last_valid is not None:
            raise UntrustedRecord("a clear reply must be signed by a certified policy or hsm key")
        _check_validity(certificate, now_ms)
        try:
            certificate.verifier.verify(signature, message)
        except SignatureInvalid:
            raise UntrustedRecord("the reply's signature is not its signer's") from None

    def _licensed(self, statement: Statement, signer: str, timestamp_ms: int) -> Verifier:
        if statement.role == "root":
            if statement.topic != topics.EVENTS or statement.partition != 0 or signer != self.root.fingerprint:
                raise UntrustedRecord("root speaks on events partition 0 only, with the pinned key")
            return self.root
        certificate = self.certificates.get(signer)
        if certificate is None:
            raise UntrustedRecord("the signer is not certified")
        if certificate.service != statement.role or statement.topic not in certificate.topics:
            raise UntrustedRecord("the signer is not certified for this role and topic")
        _check_validity(certificate, timestamp_ms)
        _check_revocation(certificate, statement)
        return certificate.verifier

    def _with(self, name: str, certificate: Certificate) -> "Trust":
        return replace(self, certificates=MappingProxyType({**self.certificates, name: certificate}))


def check_author(event: facts.Event, role: str, topic: str) -> None:
    """Apply rule 4. Raises `UntrustedRecord`."""
    if event.role != role or event.topic != topic:
        raise UntrustedRecord(f"{role} may not write {event.type} on {topic}")


def _certificate(data: facts.ServiceKeyCertified.Data) -> Certificate:
    not_before, not_after = to_milliseconds(data.not_before), to_milliseconds(data.not_after)
    if not 0 < not_after - not_before <= MAX_CERTIFICATE_MS:
        raise UntrustedRecord("a certificate lasts at most 90 days")
    return Certificate(
        Verifier(bytes.fromhex(data.public_key)), data.service, frozenset(data.topics), not_before, not_after
    )


def _check_validity(certificate: Certificate, at_ms: int) -> None:
    earliest, latest = certificate.not_before_ms - CLOCK_TOLERANCE_MS, certificate.not_after_ms + CLOCK_TOLERANCE_MS
    if not earliest <= at_ms <= latest:
        raise UntrustedRecord("the signer's certificate is not valid at this time")


def _check_revocation(certificate: Certificate, statement: Statement) -> None:
    if certificate.last_valid is None:
        return
    last = certificate.last_valid.get(f"{statement.topic}/{statement.partition}", 0)
    if statement.n > last:
        raise UntrustedRecord("the signer's key was revoked before this statement")
