"""Derived keys in memory: bounded, least recently used out first, and gone with the version that they come from."""

import os

from keyfold.custody import DerivedKeys, KeyReference
from keyfold.custody.derived import derive
from keyfold.custody.references import MemoryHandle
from keyfold.events.ciphertext import Algorithm, header

MATERIAL = bytes(32)


def handle(version: int) -> MemoryHandle:
    return MemoryHandle(KeyReference(bytes(16), version, "SYMMETRIC_DEFAULT", "SOFTWARE"), MATERIAL, lambda _: None)


def prefix(version: int, salt: bytes) -> bytes:
    head = header(bytes(16), version, Algorithm.AES_256_GCM_DERIVED)
    return head + salt + derive(MATERIAL, salt, head).commitment


def test_a_version_s_keys_go_together() -> None:
    """Forgetting one version leaves those of another, and can be repeated."""
    keys = DerivedKeys()
    for version in (1, 2):
        for _ in range(3):
            assert keys.committed(handle(version), prefix(version, os.urandom(32))) is not None
    for _ in range(2):
        keys.forget(handle(1).reference)
        assert len(keys) == 3
    keys.forget(handle(2).reference)
    assert (len(keys), keys._salts) == (0, {})


def test_the_oldest_goes_first_and_leaves_nothing() -> None:
    """Beyond its capacity nothing is kept of what was pushed out, so that forgetting it later is harmless."""
    keys = DerivedKeys(capacity=2)
    for version in (1, 2, 3):
        keys.committed(handle(version), prefix(version, bytes(32)))
    assert (len(keys), len(keys._salts)) == (2, 2)
    keys.forget(handle(1).reference)
    keys.forget(handle(2).reference)
    assert len(keys) == 1


def test_a_wrong_commitment_is_not_kept() -> None:
    """A made-up salt pushes nothing out."""
    keys = DerivedKeys()
    assert keys.committed(handle(1), prefix(1, bytes(32))[:-1] + b"?") is None
    assert len(keys) == 0
