"""The start-up probe: does this token enforce what custody rests on? It tries every single way around, one by one.

It has the user's PIN, as an attacker might, and tries all of `keyfold.token.deviations` on the stored keys and on a
data key that it unwraps. Throwaway keys are random and destroyed afterwards. It only reports: what to do about a token
that allows something is the caller's decision.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from pkcs11 import Attribute, KeyType, Mechanism, Object, ObjectClass
from pkcs11.exceptions import PKCS11Error

from keyfold.events.errors import TokenUnavailable
from keyfold.token.deviations import (
    COMMON,
    DATA_KEY_USES,
    ENVELOPE_KEY_USES,
    KEY_ENCRYPTION_KEY_USES,
    UNWRAPS,
    Attempt,
    Target,
)
from keyfold.token.errors import TokenError, translated
from keyfold.token.keys import name_of, require
from keyfold.token.session import Session, Token
from keyfold.token.templates import (
    DATA_KEY,
    ENVELOPE_KEY,
    FRESH_MATERIAL,
    KEY_ENCRYPTION_KEY,
    Template,
)

_WRAPPER: Final[Template] = {**FRESH_MATERIAL, Attribute.EXTRACTABLE: False, Attribute.WRAP: True}


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
    token: Token, *, key_encryption_keys: tuple[bytes, ...] = (), envelope_keys: tuple[bytes, ...] = ()
) -> ProbeReport:
    """Try every way around the protection of the stored keys with these CKA_IDs. Takes about 0.1 s on SoftHSM2.

    Raises `TokenUnavailable`; and `TokenKeyMissing` or `TokenKeyUntrusted` for a key that is absent or was not made in
    the token by its template.
    """
    report = ProbeReport((), ())
    with token.manager() as session:
        for key_id in key_encryption_keys:
            key = require(session, key_id, KEY_ENCRYPTION_KEY)
            with target_of_key_encryption_key(session, key) as target, target_of_data_key(target) as data_key:
                report += run(name_of(key_id), {**UNWRAPS, **COMMON, **KEY_ENCRYPTION_KEY_USES}, target)
                report += run(f"{name_of(key_id)}, unwrapped key", {**COMMON, **DATA_KEY_USES}, data_key)
        for key_id in envelope_keys:
            key = require(session, key_id, ENVELOPE_KEY)
            with target_of_envelope_key(session, key) as target:
                report += run(name_of(key_id), {**COMMON, **ENVELOPE_KEY_USES}, target)
    return report


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
    session: Session, key: Any, template: Template = KEY_ENCRYPTION_KEY
) -> Iterator[Target]:
    """A key encryption key to attack, with its throwaways. `template` is what its twin is made by."""
    with target_of_envelope_key(session, key, template) as target:
        with translated("prepare the probe"):
            blob = key.wrap_key(target.extractable, mechanism=Mechanism.AES_KEY_WRAP_PAD)
        yield replace(target, blob=blob)


@contextmanager
def target_of_envelope_key(session: Session, key: Any, template: Template = ENVELOPE_KEY) -> Iterator[Target]:
    """An envelope key to attack, with its throwaways."""
    made: list[Any] = []
    try:
        with translated("prepare the probe"):
            for wanted in (template, _WRAPPER, FRESH_MATERIAL):
                made.append(session.pkcs11.generate_key(KeyType.AES, 256, store=False, template=dict(wanted)))
        yield Target(session, key, *made)
    finally:
        for throwaway in made:
            with suppress(PKCS11Error):
                throwaway.destroy()


@contextmanager
def target_of_data_key(parent: Target, template: Template = DATA_KEY) -> Iterator[Target]:
    """A data key to attack, unwrapped from the blob of its key encryption key."""
    with translated("prepare the probe"):
        unwrapped = parent.key.unwrap_key(
            ObjectClass.SECRET_KEY,
            KeyType.AES,
            parent.blob,
            mechanism=Mechanism.AES_KEY_WRAP_PAD,
            template=dict(template),
            capabilities=0,
        )
    try:
        yield replace(parent, key=unwrapped, twin=unwrapped)
    finally:
        with suppress(PKCS11Error):
            unwrapped.destroy()
