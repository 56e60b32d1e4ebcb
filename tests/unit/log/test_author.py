"""An author signs only while its readers would believe it."""

import pytest

from keyfold.events import topics
from keyfold.events.signatures import Signer
from keyfold.events.statements import ChainHead, Entry
from keyfold.log import Author, NotCertified


def refuse() -> None:
    raise NotCertified("the certificate has ended")


def test_nothing_is_signed_without_a_licence() -> None:
    """What readers ignore would leave a gap in the chain: the check comes before the signature."""
    signed: list[bytes] = []

    def sign(message: bytes) -> bytes:
        signed.append(message)
        return b""

    author = Author("0" * 64, "policy", "0" * 64, sign, refuse)
    with pytest.raises(NotCertified):
        author.records(topics.EVENTS, 0, ChainHead(), [Entry(b"registry", b"{}")])
    assert signed == []


def test_no_entries_leave_the_chain_as_it_is() -> None:
    """Nothing to sign needs no licence."""
    signer = Signer(bytes(32))
    author = Author("0" * 64, "policy", signer.fingerprint, signer.sign, refuse)
    assert author.records(topics.EVENTS, 0, ChainHead(3, "a" * 64), []) == (ChainHead(3, "a" * 64), [])
