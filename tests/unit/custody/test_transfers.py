"""MACs of what goes between workers, and the epoch floor: as the token says, whoever asks it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from keyfold.custody import Custody
from keyfold.custody.envelopes import EPOCH_PREFIX, IMPORT_CHECK_ID, TRANSFER_ID
from keyfold.events.errors import Unsupported
from keyfold.token import ActionRefused, Session, Token, TokenKeyMissing, TokenUnavailable
from keyfold.token import cryptoki as ck
from keyfold.token import keys as token_keys
from keyfold.token.operations import KeyOperations, Prepared

pytestmark = pytest.mark.token

MESSAGES = (b"", b"parcel", bytes(100_000))


def made_by(session: Session, key: int, message: bytes) -> bytes:
    return KeyOperations(session).sign_many(key, Prepared(ck.CKM_HMAC["256"]), [message])[0]


def test_every_worker_on_a_token_makes_the_same_mac(custody: Custody) -> None:
    """HMAC-SHA-256 by a key of its own, which is not that of import checks."""
    other = Custody(custody.token)
    other.attach()
    macs = [custody.transfer_mac(message) for message in MESSAGES]
    assert [other.transfer_mac(message) for message in MESSAGES] == macs
    assert {len(mac) for mac in macs} == {32}
    assert len(set(macs)) == len(MESSAGES)
    with custody.token.manager() as session:
        key = token_keys.require_mac_key(session, TRANSFER_ID)
        assert [made_by(session, key, message) for message in MESSAGES] == macs
        other_key = token_keys.require_mac_key(session, IMPORT_CHECK_ID)
        assert made_by(session, other_key, b"parcel") not in macs


def test_another_token_makes_another_mac(custody: Custody, new_token: Callable[[], Token]) -> None:
    """The key is made in the token, at random."""
    other = Custody(new_token())
    other.provision()
    assert other.transfer_mac(b"parcel") != custody.transfer_mac(b"parcel")


def test_a_token_that_refuses_the_key_offers_no_transfers(
    new_token: Callable[[], Token], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest works, and the probe does not look for the key."""
    custody = Custody(new_token())
    custody.provision()
    with custody.token.manager() as session:
        token_keys.destroy_all(session, TRANSFER_ID)

    def refuse(*_: Any) -> int:
        raise ActionRefused("read-only")

    with monkeypatch.context() as patch:
        patch.setattr(token_keys, "create_mac_key", refuse)
        custody.attach()
    with pytest.raises(Unsupported, match="transfers"):
        custody.transfer_mac(b"parcel")
    assert not any("keyfold:transfer" in attempt for attempt in custody.probe().attempts)
    custody.attach()
    custody.transfer_mac(b"parcel")
    assert any("keyfold:transfer" in attempt for attempt in custody.probe().attempts)


def test_a_silent_token_is_unavailable(custody: Custody, monkeypatch: pytest.MonkeyPatch) -> None:
    """No MAC is made up."""

    def silent(*_: Any) -> Iterator[Session]:
        raise TokenUnavailable

    monkeypatch.setattr(custody.token, "session", silent)
    with pytest.raises(TokenUnavailable):
        custody.transfer_mac(b"parcel")


def test_the_epoch_floor_is_what_the_token_holds_now(new_token: Callable[[], Token]) -> None:
    """Not what this process knows: another begins an epoch, an old one ends, an operator removes them all."""
    token = new_token()
    first, second = Custody(token), Custody(token)
    first.provision()
    second.attach()
    assert second.epoch_floor() == 1
    first.begin_epoch(11)
    assert (second.epoch, second.epoch_floor()) == (1, 11)
    first.end_epoch(1)
    assert second.epoch_floor() == 11
    with token.manager() as session:
        token_keys.destroy_all(session, EPOCH_PREFIX + b"11")
    with pytest.raises(TokenKeyMissing):
        second.epoch_floor()
