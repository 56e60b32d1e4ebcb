"""What a notary's token promises: the same for the stand-in in memory and for SoftHSM2."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey
from pkcs11 import Attribute, ObjectClass
from tests.conftest import SoftHSM
from tests.support.notary_token import MemoryToken

from keyfold.custody import checkpoint_keys
from keyfold.events.errors import TokenUnavailable
from keyfold.notary.errors import HeadsMoved, HeadsUnusable
from keyfold.notary.in_token import HEADS_LABEL, InToken
from keyfold.notary.token import Heads, NotaryToken, parse_heads
from keyfold.token import (
    Token,
    TokenKeyMissing,
    TokenKeyUntrusted,
    create_token,
    data_objects,
    load_module,
    open_token,
)
from keyfold.token import keys as token_keys

FIRST = Heads(1, {0: (3, b"\x01" * 32), 12: (10**12, b"\x02" * 32)})


@pytest.fixture
def token(softhsm: SoftHSM, tmp_path: Path) -> Iterator[Token]:
    """An open, empty token."""
    module = load_module(softhsm.module)
    label = tmp_path.name[-32:]
    create_token(module, label, tmp_path / "pin", tmp_path / "so")
    opened = open_token(module, label, tmp_path / "pin")
    yield opened
    opened.close()


@pytest.fixture(params=["memory", pytest.param("softhsm", marks=pytest.mark.token)])
def notary_token(request: pytest.FixtureRequest) -> NotaryToken:
    if request.param == "memory":
        return MemoryToken()
    made: Token = request.getfixturevalue("token")
    checkpoint_keys.provision(made)
    return InToken(made)


def test_signatures_are_those_of_its_public_keys(notary_token: NotaryToken) -> None:
    """Ed25519 and ML-DSA-44, over the message as it is."""
    Ed25519PublicKey.from_public_bytes(notary_token.public_key).verify(notary_token.sign(b"message"), b"message")
    signature = notary_token.sign_checkpoint(b"message")
    MLDSA44PublicKey.from_public_bytes(notary_token.checkpoint_key).verify(signature, b"message")


def test_heads_are_those_kept_last(notary_token: NotaryToken) -> None:
    """A new token has none; later ones take the place of earlier ones."""
    assert notary_token.heads() == Heads()
    notary_token.keep(FIRST)
    assert notary_token.heads() == FIRST
    later = Heads(7, {0: (4, b"\x03" * 32)})
    notary_token.keep(later)
    assert notary_token.heads() == later


@pytest.mark.parametrize("counter", [0, 1])
def test_heads_of_no_larger_counter_are_refused(notary_token: NotaryToken, counter: int) -> None:
    """Somebody else has written meanwhile: nothing is changed."""
    notary_token.keep(FIRST)
    with pytest.raises(HeadsMoved):
        notary_token.keep(Heads(counter, {0: (9, bytes(32))}))
    assert notary_token.heads() == FIRST


def test_recovering_a_token_that_is_there_changes_nothing(notary_token: NotaryToken) -> None:
    """It may be asked at every take-over."""
    notary_token.keep(FIRST)
    notary_token.recover()
    assert notary_token.heads() == FIRST


@pytest.mark.token
def test_a_process_that_died_between_two_objects(token: Token) -> None:
    """The new heads were created, the old ones not destroyed: the larger counter counts, and the old ones go."""
    checkpoint_keys.provision(token)
    made = InToken(token)
    made.keep(FIRST)
    with token.manager() as session:
        data_objects.create(session, HEADS_LABEL, Heads(2, {0: (5, bytes(32))}).to_bytes())
    assert InToken(token).heads().counter == 2
    made.keep(Heads(3))
    with token.manager() as session:
        assert [parse_heads(value).counter for value in data_objects.find(session, HEADS_LABEL).values()] == [3]


@pytest.mark.token
def test_heads_outlive_the_session(token: Token, tmp_path: Path) -> None:
    """They are in the token, and private: without its PIN nobody finds them."""
    checkpoint_keys.provision(token)
    InToken(token).keep(FIRST)
    token.close()
    with open_token(token.module, token.label, tmp_path / "pin") as again:
        assert InToken(again).heads() == FIRST
    session = token.module.find(token.label).open()
    assert not list(session.get_objects({Attribute.CLASS: ObjectClass.DATA}))
    session.close()


@pytest.mark.token
def test_a_lost_token_is_opened_again(token: Token) -> None:
    """With the same keys and heads."""
    checkpoint_keys.provision(token)
    made = InToken(token)
    made.keep(FIRST)
    token.lose()
    with pytest.raises(TokenUnavailable):
        made.sign(b"message")
    made.recover()
    assert made.heads() == FIRST
    Ed25519PublicKey.from_public_bytes(made.public_key).verify(made.sign(b"message"), b"message")


@pytest.mark.token
def test_keys_are_made_once(token: Token) -> None:
    """A repetition finds them; the AES key cannot leave the token, and does nothing but AES-GCM."""
    first = checkpoint_keys.provision(token)
    assert checkpoint_keys.provision(token) == first
    with token.manager() as session:
        assert len(token_keys.find(session, checkpoint_keys.CHECKPOINT_KEK_ID)) == 1
        assert token_keys.require_envelope_key(session, checkpoint_keys.CHECKPOINT_KEK_ID)
        stored = data_objects.require_one(session, checkpoint_keys.CHECKPOINT_KEY_LABEL) or b""
    assert first[1] in stored
    assert checkpoint_keys.load(token).private_bytes_raw() not in stored


@pytest.mark.token
def test_a_crash_between_the_steps_is_continued(token: Token) -> None:
    """An AES key without a checkpoint key is used; a token without either has none."""
    with pytest.raises(TokenKeyMissing, match="ceremony renew"):
        checkpoint_keys.load(token)
    with token.manager() as session:
        token_keys.create_envelope_key(session, checkpoint_keys.CHECKPOINT_KEK_ID, "keyfold checkpoint kek")
    checkpoint_keys.provision(token)
    checkpoint_keys.load(token)


@pytest.mark.token
@pytest.mark.parametrize("at", [0, 10, 1320, -1])
def test_a_changed_checkpoint_key_is_refused(token: Token, at: int) -> None:
    """Magic, public key, nonce or ciphertext: whichever byte differs, nothing is signed with it."""
    checkpoint_keys.provision(token)
    with token.manager() as session:
        ((handle, value),) = data_objects.find(session, checkpoint_keys.CHECKPOINT_KEY_LABEL).items()
        changed = bytearray(value)
        changed[at] ^= 1
        data_objects.destroy(session, handle)
        data_objects.create(session, checkpoint_keys.CHECKPOINT_KEY_LABEL, bytes(changed))
    with pytest.raises(TokenKeyUntrusted, match=r"restore"):
        checkpoint_keys.load(token)


@pytest.mark.token
def test_a_checkpoint_key_without_its_aes_key_is_not_replaced(token: Token) -> None:
    """Another key would be another notary: it is refused, and the backup named."""
    checkpoint_keys.provision(token)
    with token.manager() as session:
        token_keys.destroy_all(session, checkpoint_keys.CHECKPOINT_KEK_ID)
    with pytest.raises(TokenKeyMissing, match="backup"):
        checkpoint_keys.provision(token)


@pytest.mark.parametrize("document", [b"", b"[]", b'{"counter":1}', b'{"counter":1,"heads":{"x":[1,"00"]}}'])
def test_malformed_heads_are_refused(document: bytes) -> None:
    """Nothing is guessed."""
    with pytest.raises(HeadsUnusable):
        parse_heads(document)
