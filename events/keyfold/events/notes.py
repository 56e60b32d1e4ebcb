"""C2SP signed notes: a text, and lines of signatures by named keys (c2sp.org/signed-note). Pure.

Who may sign what, and what a signature is over, depends on its type and is in `checkpoints`; this is the form alone.
What is parsed has one form only: written again, it gives the same bytes.
"""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from keyfold.events.errors import RecordError

ED25519: Final = 0x01
ED25519_COSIGNATURE: Final = 0x04
ML_DSA_44_COSIGNATURE: Final = 0x06
PUBLIC_KEY_BYTES: Final = {ED25519: 32, ED25519_COSIGNATURE: 32, ML_DSA_44_COSIGNATURE: 1312}
MAX_NOTE_BYTES: Final = 256 * 1024
MAX_NUMBER: Final = 2**63 - 1
_DASH: Final = "\u2014 "


class NoteInvalid(RecordError):
    """A note, a key or a signature line does not have the form that it must have, or is not signed by who must."""

    code = "NoteInvalid"


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A named public key of a signature type; its text form is a vkey."""

    name: str
    kind: int
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """Return the first four bytes of SHA-256(name, newline, type, public key)."""
        return key_id(self.name, self.kind, self.public_key)

    def __str__(self) -> str:
        material = base64.b64encode(bytes([self.kind]) + self.public_key).decode()
        return f"{self.name}+{self.key_id.hex()}+{material}"


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """A signature line: who says to have signed, the key's id, and the signature's bytes (not verified)."""

    name: str
    key_id: bytes
    signature: bytes

    def __str__(self) -> str:
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.signature).decode()}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A text that ends with a newline, and its signature lines. Nothing is verified yet."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def to_bytes(self) -> bytes:
        """Return the note as it is written."""
        return (self.text + "\n" + "".join(map(str, self.signatures))).encode()

    def signed_by(self, key: VerifierKey) -> NoteSignature | None:
        """Return the line that claims to be of a key, if there is one."""
        return next(iter(self.all_by(key)), None)

    def all_by(self, key: VerifierKey) -> tuple[NoteSignature, ...]:
        """Return all lines that claim to be of a key."""
        wanted = (key.name, key.key_id)
        return tuple(line for line in self.signatures if (line.name, line.key_id) == wanted)

    def with_signatures(self, more: Iterable[NoteSignature]) -> "Note":
        """Return the note with further lines; one that is there already is not doubled."""
        known = list(self.signatures)
        known += [line for line in dict.fromkeys(more) if line not in self.signatures]
        return Note(self.text, tuple(known))


def key_id(name: str, kind: int, public_key: bytes) -> bytes:
    """Return the id of a key, as the note format recommends it and cosignatures require it."""
    return sha256(name.encode() + b"\n" + bytes([kind]) + public_key).digest()[:4]


def parse_vkey(text: str) -> VerifierKey:
    """Parse a vkey of a type that is known here. Raises `NoteInvalid`."""
    name, _, rest = text.strip().partition("+")
    identifier, _, material = rest.partition("+")
    decoded = decode_base64(material)
    if not decoded or PUBLIC_KEY_BYTES.get(decoded[0]) != len(decoded) - 1:
        raise NoteInvalid("a verifier key is of an unknown type or has another length than its type")
    check_name(name)
    key = VerifierKey(name, decoded[0], decoded[1:])
    if key.key_id.hex() != identifier:
        raise NoteInvalid("a verifier key's id does not follow from its name and key")
    return key


def parse_note(document: bytes) -> Note:
    """Parse a signed note. Raises `NoteInvalid`."""
    if len(document) > MAX_NOTE_BYTES:
        raise NoteInvalid(f"a note has at most {MAX_NOTE_BYTES} bytes")
    try:
        whole = document.decode("utf-8")
    except UnicodeDecodeError:
        raise NoteInvalid("a note is UTF-8") from None
    text, blank, lines = whole.rpartition("\n\n")
    if not blank or not lines.endswith("\n") or any(character < " " and character != "\n" for character in whole):
        raise NoteInvalid("a note is a text, an empty line, and lines of signatures")
    return Note(text + "\n", tuple(map(_signature_of, lines[:-1].split("\n"))))


def check_name(name: str) -> None:
    """Raise `NoteInvalid` for what is no key name: empty, not to be written in UTF-8, or with a space or a plus."""
    if not name or any(letter == "+" or letter < " " or letter.isspace() or _is_surrogate(letter) for letter in name):
        raise NoteInvalid("a key's name is not empty, and has neither spaces nor a plus")


def decode_base64(text: str) -> bytes:
    """Decode standard base64 (RFC 4648, section 4) in its one form, padded and with unused bits of zero.

    Raises `NoteInvalid`.
    """
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteInvalid("not base64") from None
    if base64.b64encode(decoded).decode() != text:
        raise NoteInvalid("base64 whose unused bits are not zero")
    return decoded


def decode_number(text: str) -> int:
    """Decode a decimal number below 2^63 without leading zeros. Raises `NoteInvalid`."""
    if not (text.isascii() and text.isdecimal()) or len(text) > 19 or (text[0] == "0" and text != "0"):
        raise NoteInvalid("a number is decimal, and has no leading zeros")
    if int(text) > MAX_NUMBER:
        raise NoteInvalid("a number is below 2^63")
    return int(text)


def _signature_of(line: str) -> NoteSignature:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH):
        raise NoteInvalid("a signature line begins with a dash (U+2014) and a space")
    check_name(name)
    decoded = decode_base64(encoded)
    if len(decoded) < 5:
        raise NoteInvalid("a signature line has the base64 of a key's id and a signature")
    return NoteSignature(name, decoded[:4], decoded[4:])


def _is_surrogate(letter: str) -> bool:
    return "\ud800" <= letter <= "\udfff"
