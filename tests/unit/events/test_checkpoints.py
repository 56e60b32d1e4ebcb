"""Checkpoints (C2SP tlog-checkpoint) and cosignatures (C2SP tlog-cosignature): who signed what, and what is refused."""

from collections.abc import Callable
from hashlib import sha256
from types import MappingProxyType
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.cosigners import AT_S, ORIGIN, Cosigner, signed

from keyfold.events.checkpoints import (
    Checkpoint,
    log_keys,
    open_checkpoint,
    open_log_checkpoint,
    origin_of,
    parse_checkpoint,
    partition_of_origin,
)
from keyfold.events.merkle import root_of
from keyfold.events.notes import (
    ED25519,
    ED25519_COSIGNATURE,
    ML_DSA_44_COSIGNATURE,
    Note,
    NoteInvalid,
    NoteSignature,
    VerifierKey,
    parse_note,
    parse_vkey,
)
from keyfold.events.trust import Certificate, Trust

HEAD = Checkpoint(ORIGIN, 20_852_163, sha256(b"root").digest())
OWNER, LATTICE = Cosigner(ED25519), Cosigner(ML_DSA_44_COSIGNATURE)
WITNESS = Cosigner(ED25519_COSIGNATURE, "witness.example/w1")
OTHER = Cosigner(ML_DSA_44_COSIGNATURE, "witness.example/w2")
ALL = [OWNER, LATTICE, WITNESS, OTHER]
TEXT = HEAD.text()


def replaced(note: Note, key: VerifierKey, signature: bytes) -> bytes:
    """The note with another signature in one key's line."""
    lines = [
        NoteSignature(key.name, key.key_id, signature) if line == note.signed_by(key) else line
        for line in note.signatures
    ]
    return Note(note.text, tuple(lines)).to_bytes()


def test_golden(vectors: Callable[[str], Any]) -> None:
    """The recorded checkpoints are signed by exactly the keys that are named, at the times that are named."""
    for case in vectors("checkpoints")["cases"]:
        keys = {parse_vkey(vkey): at for vkey, at in case["signed_at"].items()}
        opened = open_checkpoint(case["note"].encode(), keys)
        assert opened.checkpoint == Checkpoint(case["origin"], case["size"], bytes.fromhex(case["root_hex"]))
        assert opened.signed_at == keys
        assert len(opened.note.signatures) == len(keys)
        assert opened.note.to_bytes().decode() == case["note"]


def test_golden_messages(vectors: Callable[[str], Any], examples: Any) -> None:
    """What the log's ML-DSA-44 key and a witness's Ed25519 key sign is written down, byte by byte."""
    for case in vectors("checkpoints")["cases"]:
        origin = case["origin"].encode()
        assert case["origin"] == origin_of(examples.DEPLOYMENT, case["partition"])
        named = bytes([len(origin)]) + origin
        numbers = bytes(8) + case["size"].to_bytes(8, "big") + bytes.fromhex(case["root_hex"])
        message = b"subtree/v1\n\0" + named + (1_769_860_800).to_bytes(8, "big") + named + numbers
        assert case["cosigned_message_hex"] == message.hex()
        text = case["note"].partition("\n\n")[0]
        assert case["cosignature_v1"] == f"cosignature/v1\ntime 1769860807\n{text}\n"


def test_text() -> None:
    """Three lines: origin, size, root."""
    assert TEXT.split("\n")[:2] == [ORIGIN, "20852163"]
    assert parse_checkpoint(Note(TEXT, ())) == HEAD
    assert parse_checkpoint(Note(Checkpoint(ORIGIN, 0, root_of([])).text(), ())).size == 0


def test_all_signatures() -> None:
    """Every line of a known key is verified, and its time told; a log's own Ed25519 signature has none."""
    opened = open_checkpoint(signed(HEAD, ALL).to_bytes(), [signer.key for signer in ALL])
    assert opened.checkpoint == HEAD
    assert opened.signed_at == {OWNER.key: 0, LATTICE.key: AT_S, WITNESS.key: AT_S, OTHER.key: AT_S}


@pytest.mark.parametrize("signer", ALL, ids=lambda signer: f"{signer.key.kind}")
def test_lines_of_others_are_ignored(signer: Cosigner) -> None:
    """Whoever is not asked about may have signed or not, rightly or wrongly."""
    note = signed(HEAD, ALL).with_signatures([NoteSignature("unknown", b"1234", b"x")])
    assert list(open_checkpoint(note.to_bytes(), [signer.key]).signed_at) == [signer.key]
    others = [each for each in ALL if each is not signer]
    wrong = replaced(note, others[0].key, b"wrong")
    assert list(open_checkpoint(wrong, [signer.key]).signed_at) == [signer.key]


@pytest.mark.parametrize("signer", ALL, ids=lambda signer: f"{signer.key.kind}")
@pytest.mark.parametrize("change", ["first", "last", "short", "long", "empty", "other"])
def test_a_wrong_signature_of_a_known_key(signer: Cosigner, change: str) -> None:
    """One wrong signature of a known key refuses the whole note, also where another key signed rightly."""
    note = signed(HEAD, ALL)
    line = note.signed_by(signer.key)
    assert line is not None
    good = line.signature
    bad = {
        "first": bytes([good[0] ^ 1]) + good[1:],
        "last": good[:-1] + bytes([good[-1] ^ 1]),
        "short": good[:-1],
        "long": good + b"\0",
        "empty": b"\0",
        "other": signer.sign(Checkpoint(ORIGIN, HEAD.size + 1, HEAD.root)).signature,
    }[change]
    with pytest.raises(NoteInvalid):
        open_checkpoint(replaced(note, signer.key, bad), [each.key for each in ALL])


@pytest.mark.parametrize(
    "keys", [[], [Cosigner(ED25519, seed="other").key], [Cosigner(ED25519, "example.com/other").key]]
)
def test_signed_by_nobody_who_is_known(keys: list[VerifierKey]) -> None:
    """A checkpoint without any signature of a known key is refused."""
    with pytest.raises(NoteInvalid, match="none of the keys"):
        open_checkpoint(signed(HEAD, ALL).to_bytes(), keys)


def test_same_name_and_id_of_another_key() -> None:
    """An id is short and may be forged: the signature decides."""
    forger = Cosigner(ED25519, seed="forger")
    line = NoteSignature(ORIGIN, OWNER.key.key_id, forger.sign(HEAD).signature)
    with pytest.raises(NoteInvalid, match="wrong"):
        open_checkpoint(Note(TEXT, (line,)).to_bytes(), [OWNER.key])


def test_the_first_line_of_a_key_counts() -> None:
    """A second line of the same key is not looked at."""
    first, second = WITNESS.sign(HEAD, AT_S), WITNESS.sign(HEAD, AT_S + 1)
    opened = open_checkpoint(Note(TEXT, (first, second)).to_bytes(), [WITNESS.key])
    assert opened.signed_at == {WITNESS.key: AT_S}


def test_a_logs_key_signs_for_its_own_origin() -> None:
    """The signature of one of a notary's logs cannot be shown as that of another one, though the key is the same."""
    elsewhere = Checkpoint("example.com/other", HEAD.size, HEAD.root)
    for note in (signed(elsewhere, [OWNER]), signed(elsewhere, [OWNER, LATTICE])):
        with pytest.raises(NoteInvalid, match="does not sign for"):
            open_checkpoint(note.to_bytes(), [OWNER.key, LATTICE.key])


def test_a_cosigners_name_is_signed() -> None:
    """An ML-DSA-44 signature counts for the name that made it only."""
    renamed = VerifierKey("witness.example/w3", ML_DSA_44_COSIGNATURE, OTHER.key.public_key)
    line = NoteSignature(renamed.name, renamed.key_id, OTHER.sign(HEAD).signature)
    with pytest.raises(NoteInvalid, match="wrong"):
        open_checkpoint(Note(TEXT, (line,)).to_bytes(), [renamed])


@pytest.mark.parametrize("signer", [WITNESS, OTHER], ids=lambda signer: f"{signer.key.kind}")
def test_times(signer: Cosigner) -> None:
    """A time is signed, from 0 to 2^63 - 1 seconds."""
    for at in (0, 1, 2**63 - 1):
        note = Note(TEXT, (signer.sign(HEAD, at),))
        assert open_checkpoint(note.to_bytes(), [signer.key]).signed_at == {signer.key: at}
    for at in (-1, 2**63, 2**64):
        with pytest.raises(NoteInvalid, match="out of range"):
            signer.sign(HEAD, at)
    line = signer.sign(HEAD)
    for stamp in (bytes(8), (AT_S + 1).to_bytes(8, "big"), b"\x80" + bytes(7)):
        moved = NoteSignature(line.name, line.key_id, stamp + line.signature[8:])
        with pytest.raises(NoteInvalid):
            open_checkpoint(Note(TEXT, (moved,)).to_bytes(), [signer.key])


def test_a_time_out_of_range_is_refused_though_it_is_signed() -> None:
    """Whoever signs a time of 2^63 seconds or more is not believed, with a right signature either."""
    private = Ed25519PrivateKey.from_private_bytes(bytes(32))
    key = VerifierKey("witness.example/w1", ED25519_COSIGNATURE, private.public_key().public_bytes_raw())
    for at, good in ((2**63 - 1, True), (2**63, False), (2**64 - 1, False)):
        signature = private.sign(f"cosignature/v1\ntime {at}\n{TEXT}".encode())
        line = NoteSignature(key.name, key.key_id, at.to_bytes(8, "big") + signature)
        document = Note(TEXT, (line,)).to_bytes()
        if good:
            assert open_checkpoint(document, [key]).signed_at == {key: at}
        else:
            with pytest.raises(NoteInvalid, match="out of range"):
                open_checkpoint(document, [key])


@pytest.mark.parametrize("length", [1, 255])
def test_names_fit_one_byte(length: int) -> None:
    """Names of 1 to 255 bytes of UTF-8 can be signed with ML-DSA-44."""
    signer = Cosigner(ML_DSA_44_COSIGNATURE, "w" * length)
    head = Checkpoint("o" * length, 1, HEAD.root)
    assert open_checkpoint(signed(head, [signer]).to_bytes(), [signer.key]).checkpoint == head


@pytest.mark.parametrize(
    ("name", "origin"), [("w" * 256, "o"), ("w", "o" * 256), ("Ω" * 128, "o"), ("", "o"), ("w", "")]
)
def test_names_that_do_not_fit(name: str, origin: str) -> None:
    """Others cannot, neither by whoever signs nor by whoever verifies."""
    signer, head = Cosigner(ML_DSA_44_COSIGNATURE, name), Checkpoint(origin, 1, HEAD.root)
    with pytest.raises(NoteInvalid, match="1 to 255"):
        signer.sign(head)
    if name and origin:
        line = NoteSignature(name, signer.key.key_id, bytes(2428))
        with pytest.raises(NoteInvalid, match="1 to 255"):
            open_checkpoint(Note(head.text(), (line,)).to_bytes(), [signer.key])


@pytest.mark.parametrize(
    "text",
    [
        "\n",
        f"{ORIGIN}\n",
        f"{ORIGIN}\n5\n",
        TEXT + "an extension line\n",
        TEXT + "\n",
        TEXT[:-1],
        "\n" + TEXT,
        TEXT.replace("20852163", "020852163"),
        TEXT.replace("20852163", "00"),
        TEXT.replace("20852163", "-1"),
        TEXT.replace("20852163", " 1"),
        TEXT.replace("20852163", "٣"),
        TEXT.replace("20852163", ""),
        TEXT.replace("20852163", str(2**63)),
        TEXT.replace("20852163", "1" * 5000),
        TEXT.replace("20852163", "0"),
        TEXT.replace("=", ""),
        TEXT.replace("=", "=="),
        TEXT.replace("\n", "\r\n"),
        f"{ORIGIN}\n5\n{'A' * 40}\n",
        f"{ORIGIN}\n5\n{'A' * 43}B\n",
        f"{ORIGIN}\n5\n{'A' * 42}B=\n",
        f"{ORIGIN}\n5\nnot base64\n",
    ],
)
def test_no_checkpoint(text: str) -> None:
    """Other lines, sizes that are no plain numbers, and roots that are not 32 bytes are refused, signed or not."""
    with pytest.raises(NoteInvalid):
        parse_checkpoint(Note(text, ()))
    line = OWNER.sign(HEAD)
    with pytest.raises(NoteInvalid):
        open_checkpoint(Note(text, (line,)).to_bytes(), [OWNER.key])


def test_unused_bits_of_a_root_are_signed_too() -> None:
    """A text that decodes to the same checkpoint, but is not what was signed, is refused."""
    other = TEXT[:-3] + chr(ord(TEXT[-3]) + 1) + "=\n"
    document = signed(HEAD, [OWNER]).to_bytes().replace(TEXT.encode(), other.encode())
    assert parse_note(document).text == other
    with pytest.raises(NoteInvalid):
        open_checkpoint(document, [OWNER.key])


@pytest.mark.parametrize("partition", [0, 1, 11, 9999])
def test_origins(partition: int, examples: Any) -> None:
    """Each partition is a log with an origin of its own."""
    origin = origin_of(examples.DEPLOYMENT, partition)
    assert origin == f"keyfold/{examples.DEPLOYMENT}/events/{partition}"
    assert partition_of_origin(examples.DEPLOYMENT, origin) == partition
    assert len(origin.encode()) < 256


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "x",
        "1",
        "keyfold/{}/events/",
        "keyfold/{}/events/01",
        "keyfold/{}/events/-1",
        "keyfold/{}/events/1 ",
        "keyfold/{}/events/x",
        "keyfold/{}/events/٣",
        "keyfold/{}/events/" + "1" * 5000,
        "keyfold/{}/keystore/1",
        "keyfold/other/events/1",
        "x/keyfold/{}/events/1",
    ],
)
def test_origins_of_others(origin: str, examples: Any) -> None:
    """An origin of another deployment, or of no partition, is refused."""
    with pytest.raises(NoteInvalid):
        partition_of_origin(examples.DEPLOYMENT, origin.format(examples.DEPLOYMENT))


def test_log_keys(examples: Any) -> None:
    """A log may be signed by all keys that root certified for a notary, named as the log is."""
    notary = examples.signer("notary")
    certificate = examples.event_variants()["ServiceKeyCertified of a notary"]
    trust = Trust.pin(examples.DEPLOYMENT, examples.ROOT.public_key)
    assert log_keys(trust, ORIGIN) == ()
    known = trust.with_event(certificate)
    lattice = bytes.fromhex(certificate.data.checkpoint_key)
    expected = (VerifierKey(ORIGIN, ED25519, notary.public_key), VerifierKey(ORIGIN, ML_DSA_44_COSIGNATURE, lattice))
    assert log_keys(known, ORIGIN) == log_keys(known.with_event(certificate), ORIGIN) == expected


def test_log_keys_without_a_second_key(examples: Any) -> None:
    """A certificate without a checkpoint key gives the Ed25519 key alone; other roles give none."""
    trust = Trust.pin(examples.DEPLOYMENT, examples.ROOT.public_key)
    made: dict[str, tuple[Certificate, ...]] = {
        role: (Certificate(trust.root, role, frozenset(), 0, 1, role.encode()),) for role in ("notary", "policy")
    }
    known = Trust(trust.deployment, trust.root, MappingProxyType(made))
    assert log_keys(known, ORIGIN) == (VerifierKey(ORIGIN, ED25519, b"notary"),)


def test_who_must_have_signed_for_a_log() -> None:
    """All keys of one notary: not one of two, not one of each of two; a key that has another beside it never alone."""
    alone = Cosigner(ED25519, seed="alone")
    another = Cosigner(ML_DSA_44_COSIGNATURE, seed="another")
    two = (OWNER.key, LATTICE.key)
    for signers, pairs, good in (
        ((OWNER, LATTICE), [two], True),
        ((OWNER,), [two], False),
        ((LATTICE,), [two], False),
        ((OWNER,), [two, (OWNER.key,)], False),
        ((alone,), [two, (alone.key,)], True),
        ((alone, LATTICE), [two, (alone.key, another.key)], False),
        ((OWNER,), [], False),
    ):
        note = signed(HEAD, signers).to_bytes()
        if good:
            assert open_log_checkpoint(note, pairs).signed_at.keys() == {each.key for each in signers}
        else:
            with pytest.raises(NoteInvalid):
                open_log_checkpoint(note, pairs)
