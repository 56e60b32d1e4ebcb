"""The start-up probe: does this token enforce what custody rests on? It tries every single way around, one by one.

It has the user's PIN, as an attacker might, and tries all of `keyfold.token.deviations` on the stored keys and on a
key of each kind that it unwraps. Throwaway keys are random and destroyed afterwards. It only reports: what to do about
a token that allows something is the caller's decision.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from pkcs11 import Attribute, KeyType, Mechanism, Object
from pkcs11.exceptions import PKCS11Error

from keyfold.events.errors import TokenUnavailable
from keyfold.token.deviations import (
    COMMON,
    ENVELOPE_KEY_USES,
    KEY_ENCRYPTION_KEY_USES,
    MAC_KEY_USES,
    UNWRAPPED_KEY_USES,
    Attempt,
    Target,
    unwrap,
    unwraps,
)
from keyfold.token.errors import TokenError, translated
from keyfold.token.keys import handle_of, name_of, require
from keyfold.token.kinds import AES, Kind
from keyfold.token.material import Material
from keyfold.token.session import Session, Token
from keyfold.token.templates import ENVELOPE_KEY, FRESH_MATERIAL, MAC_KEY, Template

_WRAPPER: Final[Template] = {**FRESH_MATERIAL, Attribute.EXTRACTABLE: False, Attribute.WRAP: True}
_NOTHING: Final[Template] = MappingProxyType({})
_NONE: Final[Mapping[bytes, Kind]] = MappingProxyType({})
_P256: Final = bytes.fromhex("06082a8648ce3d030107")  # OID 1.2.840.10045.3.1.7 (RFC 5480)


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What was tried, and what the token allowed although it must not. `ok` means that it allowed nothing."""

    attempts: tuple[str, ...]
    allowed: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.allowed

    def __add__(self, other: "ProbeReport") -> "ProbeReport":
        return ProbeReport(self.attempts + other.attempts, self.allowed + other.allowed)


def probe(
    token: Token,
    *,
    key_encryption_keys: Mapping[bytes, Kind] = _NONE,
    envelope_keys: tuple[bytes, ...] = (),
    mac_keys: tuple[bytes, ...] = (),
) -> ProbeReport:
    """Try every way around the protection of the stored keys with these CKA_IDs. Takes about 1 s on SoftHSM2.

    Raises `TokenUnavailable`; and `TokenKeyMissing` or `TokenKeyUntrusted` for a key that is absent or was not made in
    the token by its template.
    """
    report = ProbeReport((), ())
    with token.manager() as session, Samples(session) as samples:
        for key_id, kind in key_encryption_keys.items():
            report += _probe_key_encryption_key(session, key_id, kind, samples)
        for key_id in envelope_keys:
            key = require(session, key_id, ENVELOPE_KEY)
            with target_of_envelope_key(session, key) as target:
                report += run(name_of(key_id), {**COMMON, **ENVELOPE_KEY_USES}, target)
        for key_id in mac_keys:
            key = require(session, key_id, MAC_KEY)
            with target_of_envelope_key(session, key, MAC_KEY, KeyType.GENERIC_SECRET) as target:
                report += run(name_of(key_id), {**COMMON, **MAC_KEY_USES}, target)
    return report


def _probe_key_encryption_key(session: Session, key_id: bytes, kind: Kind, samples: "Samples") -> ProbeReport:
    key = require(session, key_id, kind.key_encryption_key)
    with (
        target_of_key_encryption_key(session, key, samples, kind) as target,
        target_of_unwrapped_key(target) as unwrapped,
    ):
        attempts = {**unwraps(kind), **COMMON, **KEY_ENCRYPTION_KEY_USES}
        report = run(name_of(key_id), attempts, target)
        return report + run(f"{name_of(key_id)}, unwrapped key", {**COMMON, **UNWRAPPED_KEY_USES[kind]}, unwrapped)


class Samples:
    """One extractable key of each type that the kinds are of, made when it is first asked for. Use it in a `with`."""

    def __init__(self, session: Session) -> None:
        self._session, self._stack = session, ExitStack()
        self._material = Material(session)
        self._made: dict[KeyType, int] = {}

    def of(self, kind: Kind) -> int:
        """Return the handle of an extractable key that can be wrapped by a key encryption key of this kind."""
        if kind.key_type not in self._made:
            self._made[kind.key_type] = self._make(kind)
        return self._made[kind.key_type]

    def _make(self, kind: Kind) -> int:
        if kind.is_secret:
            return self._stack.enter_context(self._material.fresh_secret(self._session, kind, 32))
        if kind.key_type is KeyType.RSA:
            return self._stack.enter_context(self._material.fresh_rsa(self._session, kind, 2048)).private
        return self._stack.enter_context(self._material.fresh_ec(self._session, kind, _P256)).private

    def __enter__(self) -> "Samples":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def run(name: str, attempts: dict[str, Attempt], target: Target) -> ProbeReport:
    """Make each attempt on one target."""
    allowed = tuple(f"{name}: {what}" for what, attempt in attempts.items() if allows(attempt, target))
    return ProbeReport(tuple(f"{name}: {what}" for what in attempts), allowed)


def allows(attempt: Attempt, target: Target) -> bool:
    """Whether the token lets it happen; a key that this made is destroyed. Raises `TokenUnavailable`."""
    try:
        with translated("probe"):
            result = attempt(target)
    except TokenUnavailable:
        raise
    except TokenError:
        return False
    if isinstance(result, Object):
        with suppress(PKCS11Error):
            result.destroy()
    return True


@contextmanager
def target_of_key_encryption_key(
    session: Session, key: Any, samples: Samples, kind: Kind = AES, template: Template | None = None
) -> Iterator[Target]:
    """A key encryption key to attack, with its throwaways. `template` is what its twin is made by."""
    with target_of_envelope_key(session, key, template or kind.key_encryption_key) as target:
        blob = Material(session).wrap(session, handle_of(key), samples.of(kind))
        yield replace(target, blob=blob, kind=kind)


@contextmanager
def target_of_envelope_key(
    session: Session, key: Any, template: Template = ENVELOPE_KEY, key_type: KeyType = KeyType.AES
) -> Iterator[Target]:
    """A stored key to attack, with its throwaways."""
    made: list[Any] = []
    types = (key_type, KeyType.AES, KeyType.AES)
    try:
        with translated("prepare the probe"):
            for wanted, of_type in zip((template, _WRAPPER, FRESH_MATERIAL), types, strict=True):
                mechanism = None if of_type is KeyType.AES else Mechanism.GENERIC_SECRET_KEY_GEN
                made.append(
                    session.pkcs11.generate_key(of_type, 256, store=False, template=dict(wanted), mechanism=mechanism)
                )
        yield Target(session, key, *made)
    finally:
        for throwaway in made:
            with suppress(PKCS11Error):
                throwaway.destroy()


@contextmanager
def target_of_unwrapped_key(parent: Target, changes: Template = _NOTHING) -> Iterator[Target]:
    """A key to attack, unwrapped from the blob of its key encryption key."""
    with translated("prepare the probe"):
        unwrapped = unwrap(parent, changes)
    try:
        yield replace(parent, key=unwrapped, twin=unwrapped)
    finally:
        with suppress(PKCS11Error):
            unwrapped.destroy()
