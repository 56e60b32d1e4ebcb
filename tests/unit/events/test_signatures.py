"""Signatures: exact bytes, DSSE's pre-authentication encoding, Ed25519. ML-DSA-65 is in `test_signatures_ml_dsa`."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from keyfold.events import signatures
from keyfold.events.errors import SignatureInvalid
from keyfold.events.signatures import Signer, Verifier, fingerprint, pae

DEPLOYMENT = "ab" * 32
# RFC 8032 section 7.1, test 2.
RFC_KEY = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
RFC_PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
RFC_SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def test_dsse_example() -> None:
    """The encoding of one field is DSSE's own (its specification's example)."""
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("http://example.com/HelloWorld", b"hello world") == expected


def test_fields_cannot_run_together() -> None:
    """Fields that hold each other's separators are told apart by their lengths."""
    seen = {pae("t", *fields) for fields in ((), (b"",), (b"", b""), (b" 0 ",), (b"a", b"b"), (b"a 1 b",), (b"ab",))}
    assert len(seen) == 7
    assert pae("a b") != pae("a", b"b")


def test_lengths_count_bytes() -> None:
    """Lengths are of bytes, not of characters."""
    assert pae("ü", "ü".encode()) == "DSSEv1 2 ü 2 ü".encode()


def test_rfc_8032() -> None:
    """Signing and verifying are RFC 8032's Ed25519."""
    signer = Signer(RFC_KEY)
    assert signer.public_key == RFC_PUBLIC
    assert signer.sign(b"\x72") == RFC_SIGNATURE
    Verifier(RFC_PUBLIC).verify(RFC_SIGNATURE, b"\x72")


def test_fingerprint() -> None:
    """A key's name is SHA-256 of its 32 bytes, the same for signer and verifier."""
    assert fingerprint(RFC_PUBLIC) == sha256(RFC_PUBLIC).hexdigest()
    assert Signer(RFC_KEY).fingerprint == Verifier(RFC_PUBLIC).fingerprint == fingerprint(RFC_PUBLIC)


@pytest.mark.parametrize("length", [0, 1, 63, 65, 128])
def test_signature_of_wrong_length(length: int) -> None:
    """A signature of another length is invalid, never another error."""
    with pytest.raises(SignatureInvalid):
        Verifier(RFC_PUBLIC).verify(bytes(length), b"\x72")


def test_other_message_or_key() -> None:
    """A signature is good for its message and its key alone."""
    for public, message in ((RFC_PUBLIC, b"\x73"), (Signer(bytes(32)).public_key, b"\x72")):
        with pytest.raises(SignatureInvalid):
            Verifier(public).verify(RFC_SIGNATURE, message)


SMALL_ORDER = (
    "00" * 32,
    "01" + "00" * 31,
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ec" + "ff" * 30 + "7f",
)


@pytest.mark.parametrize("key", SMALL_ORDER)
def test_keys_that_anybody_can_sign_for(key: str) -> None:
    """Under a key of small order a constant passes for a signature; such a key is refused, with either sign bit."""
    forged, passed = (b"\x01" + bytes(31) + bytes(32)), 0
    for number in range(64):
        try:
            Verifier(bytes.fromhex(key)).verify(forged, b"message %d" % number)
        except SignatureInvalid:
            continue
        passed += 1
    assert passed
    for bad in (bytes.fromhex(key), bytes.fromhex(key[:62]) + bytes([int(key[62:], 16) | 0x80])):
        with pytest.raises(ValueError, match="not a usable"):
            signatures.check_public_key(bad)


def test_usable_keys() -> None:
    """Ordinary keys are usable; bytes of another length are no key."""
    signatures.check_public_key(RFC_PUBLIC)
    for length in (0, 31, 33):
        with pytest.raises(ValueError, match="not a usable"):
            signatures.check_public_key(bytes(length))


def test_command_message() -> None:
    """A producer signs type, deployment, record key, value and the sealed body's digest."""
    message = signatures.command_message(DEPLOYMENT, b"key", b"value", b"sealed")
    digest = sha256(b"sealed").digest()
    assert message == pae(signatures.COMMAND, bytes.fromhex(DEPLOYMENT), b"key", b"value", digest)
    assert message == signatures.command_message_of_digest(DEPLOYMENT, b"key", b"value", digest)


def test_types_separate_what_is_signed() -> None:
    """The signature of a command can never pass for that of a reply or a statement."""
    assert len({signatures.COMMAND, signatures.STATEMENT, signatures.REPLY, signatures.HEAD}) == 4
    reply = signatures.reply_message(DEPLOYMENT, b"key", b"value")
    assert reply == pae(signatures.REPLY, bytes.fromhex(DEPLOYMENT), b"key", b"value")


def test_golden_encodings(vectors: Callable[[str], Any]) -> None:
    """Encodings are as recorded."""
    for case in vectors("signatures")["cases"]:
        fields = [bytes.fromhex(field) for field in case["fields_hex"]]
        assert pae(case["type"], *fields).hex() == case["encoded_hex"]


def test_golden_signatures(vectors: Callable[[str], Any]) -> None:
    """The recorded signatures of a command and a reply verify over recorded messages."""
    golden = vectors("signatures")
    for name, case in (("alice", golden["command"]), ("policy", golden["reply"])):
        verifier = Verifier(bytes.fromhex(golden["keys"][name]))
        assert verifier.fingerprint == golden["fingerprints"][name]
        verifier.verify(bytes.fromhex(case["signature_hex"]), bytes.fromhex(case["message_hex"]))
    command = golden["command"]
    record_key, value = command["record_key"].encode(), command["value"].encode()
    sealed = bytes.fromhex(command["sealed_hex"])
    message = signatures.command_message(command["deployment"], record_key, value, sealed)
    assert message.hex() == command["message_hex"]
