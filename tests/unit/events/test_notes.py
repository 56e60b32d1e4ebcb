"""Signed notes (C2SP signed-note): the form that notes and verifier keys have, and everything that has not."""

import base64

import pytest

from keyfold.events.notes import (
    ED25519,
    MAX_NOTE_BYTES,
    ML_DSA_44_COSIGNATURE,
    Note,
    NoteInvalid,
    NoteSignature,
    VerifierKey,
    check_name,
    decode_base64,
    decode_number,
    key_id,
    parse_note,
    parse_vkey,
)

PUBLISHED = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
KEY = VerifierKey("example.com/log", ED25519, bytes(range(32)))
LINE = NoteSignature(KEY.name, KEY.key_id, b"signature")
NOTE = Note("a text\n", (LINE,))
NAMES = ["", "a b", "a+b", "a\u00a0b", "a\u2003", "a\tb", "a\nb", "a\x1fb", "a\x7f\x00", "\ud800"]


def line(text: str) -> bytes:
    """A note with one line in place of a signature."""
    return f"text\n\n{text}\n".encode()


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_published_key() -> None:
    """The specification's example has the id that it names."""
    key = parse_vkey(PUBLISHED)
    assert (key.name, key.kind, key.key_id.hex(), str(key)) == ("example.com/foo", ED25519, "530d903a", PUBLISHED)


@pytest.mark.parametrize(("kind", "length"), [(0x01, 32), (0x04, 32), (0x06, 1312)])
def test_keys_round_trip(kind: int, length: int) -> None:
    """A key of each known type is written and read, with spaces around it or not."""
    key = VerifierKey("näme/with:colons", kind, bytes(length))
    assert parse_vkey(str(key)) == parse_vkey(f" {key}\n") == key


def test_ids_depend_on_everything() -> None:
    """Another name, type or key has another id."""
    ids = {key_id(name, kind, key) for name in ("a", "b") for kind in (1, 4) for key in (bytes(32), b"x" * 32)}
    assert len(ids) == 8


@pytest.mark.parametrize("kind", [0x00, 0x02, 0x03, 0x05, 0xFF])
def test_keys_of_unknown_types(kind: int) -> None:
    """Types that nothing here verifies are refused."""
    with pytest.raises(NoteInvalid, match="unknown type"):
        parse_vkey(str(VerifierKey("name", kind, bytes(32))))


@pytest.mark.parametrize(
    ("kind", "length"), [(0x01, 31), (0x01, 33), (0x01, 1312), (0x04, 0), (0x06, 32), (0x06, 1313)]
)
def test_keys_of_other_lengths(kind: int, length: int) -> None:
    """A key has the length of its type."""
    with pytest.raises(NoteInvalid, match="length"):
        parse_vkey(str(VerifierKey("name", kind, bytes(length))))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "+",
        "++",
        "name",
        "name+530d903a",
        "name+530d903a+",
        "name+530d903a+AQ",
        PUBLISHED.replace("530d903a", "530d903b"),
        PUBLISHED.replace("530d903a", "530D903A"),
        PUBLISHED.replace("530d903a", "0530d903a"),
        PUBLISHED.replace("foo", "bar"),
        PUBLISHED.replace("U2k", "U2l"),
        PUBLISHED.replace("U2k", "U2"),
        PUBLISHED + "=",
        PUBLISHED.replace("/", " "),
    ],
)
def test_no_key(text: str) -> None:
    """An id that does not follow from name and key, a name that is none, and what is not base64 are refused."""
    with pytest.raises(NoteInvalid):
        parse_vkey(text)


@pytest.mark.parametrize("name", NAMES)
def test_no_name(name: str) -> None:
    """A name is not empty, and has neither spaces (of any kind), control characters nor a plus."""
    with pytest.raises(NoteInvalid, match="name"):
        check_name(name)


@pytest.mark.parametrize("name", ["a", "example.com/behind-the-sofa", "Enoch/Ω", "—", "a" * 300])
def test_names(name: str) -> None:
    """Everything else is a name."""
    check_name(name)


@pytest.mark.parametrize(
    "text", ["a text\n", "\n", "\n\n", "two\nlines\n", "an empty\n\nline\n", "ends with one\n\n", "— a b\n\nx\n", "Ω\n"]
)
def test_notes_round_trip(text: str) -> None:
    """A text of any shape, with one signature or several, is read as it was written."""
    for lines in ((LINE,), (LINE, NoteSignature("other", b"1234", b"x"), LINE)):
        made = Note(text, lines)
        assert parse_note(made.to_bytes()) == made


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"\n\n",
        b"text",
        b"text\n",
        b"text\n\n",
        NOTE.to_bytes()[:-1],
        NOTE.to_bytes() + b"\n",
        NOTE.to_bytes().replace(b"\n\n", b"\n"),
        NOTE.to_bytes().replace(b"\n", b"\r\n"),
        NOTE.to_bytes().replace(b"text", b"te\x00xt"),
        NOTE.to_bytes().replace(b"text", b"te\txt"),
        NOTE.to_bytes().replace(b"text", b"te\xffxt"),
        NOTE.to_bytes().replace(b"text", b"\xed\xa0\x80"),
        NOTE.to_bytes() + b"not a signature\n",
        b"\xef\xbb\xbf\n",
    ],
)
def test_no_note(document: bytes) -> None:
    """Without an empty line, signatures or the last newline, with control characters, or not in UTF-8, it is none."""
    with pytest.raises(NoteInvalid):
        parse_note(document)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "— ",
        "— name",
        "— name ",
        "-- name AAAAAAA=",
        "—name AAAAAAA=",
        "\u2013 name AAAAAAA=",
        "name AAAAAAA=",
        "—  AAAAAAA=",
        "— na+me AAAAAAA=",
        "— na\u00a0me AAAAAAA=",
        "— name AAAAAA==",
        "— name AAAAAAA",
        "— name AAAAAAB=",
        "— name AAAAAAA= ",
        "— name  AAAAAAA=",
        "— name AAAAAAA= x",
        "— name AAAA_AA=",
        "— name AAAAAAA==",
        "— name Ωmega===",
    ],
)
def test_no_signature_line(text: str) -> None:
    """A line is an em dash, a space, a name, a space, and canonical base64 of at least five bytes."""
    with pytest.raises(NoteInvalid):
        parse_note(line(text))


def test_the_shortest_signature() -> None:
    """One byte behind the id is enough for the form."""
    (found,) = parse_note(line("— name AAAAAAA=")).signatures
    assert found == NoteSignature("name", bytes(4), b"\0")


def test_sixteen_signatures_of_the_largest_kind() -> None:
    """Verifiers must accept at least 16 signatures, also of 5 kB each; a note without end is refused."""
    large = Note("text\n", tuple(NoteSignature(f"w{number}", b"1234", bytes(5000)) for number in range(16)))
    assert len(parse_note(large.to_bytes()).signatures) == 16
    with pytest.raises(NoteInvalid, match="at most"):
        parse_note(b"x" * MAX_NOTE_BYTES + NOTE.to_bytes())


def test_signed_by() -> None:
    """A line is a key's if both name and id are; the first one counts."""
    same_name = NoteSignature(KEY.name, b"1234", b"other")
    same_id = NoteSignature("other", KEY.key_id, b"other")
    second = NoteSignature(KEY.name, KEY.key_id, b"second")
    assert Note("x\n", (same_name, same_id)).signed_by(KEY) is None
    assert Note("x\n", (same_name, same_id, LINE, second)).signed_by(KEY) == LINE
    assert NOTE.signed_by(VerifierKey(KEY.name, ML_DSA_44_COSIGNATURE, KEY.public_key)) is None


def test_with_signatures() -> None:
    """Lines are added behind those that are there, each once."""
    other, third = NoteSignature("other", b"1234", b"x"), NoteSignature("other", b"1234", b"y")
    more = NOTE.with_signatures([other, LINE, other, third])
    assert more == Note(NOTE.text, (LINE, other, third))
    assert more.with_signatures([LINE, third]) == more
    assert NOTE.signatures == (LINE,)


@pytest.mark.parametrize("data", [b"", b"a", b"ab", b"abc", bytes(range(256))])
def test_base64(data: bytes) -> None:
    """What was encoded is decoded."""
    assert decode_base64(encoded(data)) == data


@pytest.mark.parametrize(
    "text", ["A", "AA", "AA=", "AB==", "AAB=", "AAAA====", "A A=", "AA==\n", "-_==", "Ω", "=", "AA=A"]
)
def test_no_base64(text: str) -> None:
    """Nothing but the one form: padded, unused bits of zero, no other alphabet, no spaces."""
    with pytest.raises(NoteInvalid, match="base64"):
        decode_base64(text)


@pytest.mark.parametrize("number", [0, 1, 10, 2**32, 2**63 - 1])
def test_number(number: int) -> None:
    """Decimal numbers below 2^63."""
    assert decode_number(str(number)) == number


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "00", "01", "1 ", "1.0", "1_0", "٣", "²", "0x1", str(2**63), "9" * 19, "1" * 5000]
)
def test_no_number(text: str) -> None:
    """Leading zeros, signs, other digits and numbers too large are refused."""
    with pytest.raises(NoteInvalid, match="number"):
        decode_number(text)
