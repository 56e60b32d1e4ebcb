"""What keys can do here is found by trying, and what cannot be done is not offered."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from keyfold.custody import Custody, KeyReference, TokenOperations
from keyfold.custody.capabilities import Capabilities, find_capabilities
from keyfold.custody.envelopes import IMPORT_CHECK_ID, TRANSFER_ID, kek_id
from keyfold.events.errors import TokenUnavailable, Unsupported
from keyfold.events.specs import ALGORITHMS
from keyfold.token import ActionRefused, Token
from keyfold.token import keys as token_keys
from keyfold.token.kinds import AES, HMAC, KINDS, RSA_SIGN

pytestmark = pytest.mark.token


def found(capabilities: Capabilities, protection: str) -> dict[tuple[str, str], tuple[str, ...]]:
    return {
        (each.key_spec, each.key_usage): tuple(each.algorithms)
        for each in capabilities.capabilities
        if each.protection == protection
    }


def without(*prefixes: str) -> dict[tuple[str, str], tuple[str, ...]]:
    return {key: value for key, value in ALGORITHMS.items() if not key[0].startswith(prefixes)}


def test_softhsm_and_the_library_offer_all_but_what_they_lack(custody: Custody) -> None:
    """HSM: everything but ML-DSA and ML-KEM; SOFTWARE: everything but ML-KEM-512. Ed25519 alone is resident."""
    capabilities = find_capabilities(custody)
    assert found(capabilities, "HSM") == without("ML_")
    assert found(capabilities, "SOFTWARE") == without("ML_KEM_512")
    assert [each.key_spec for each in capabilities.capabilities if each.resident] == ["ECC_NIST_EDWARDS25519"]
    assert capabilities.imports == {"RSA_AES_KEY_WRAP_SHA_256": "token", "RSAES_OAEP_SHA_256": "worker"}
    assert capabilities.module.startswith("SoftHSM")


def test_trying_leaves_nothing_and_is_done_once(custody: Custody, monkeypatch: pytest.MonkeyPatch) -> None:
    """No object remains, and the second question asks the token nothing."""
    again = Custody(custody.token)
    again.attach()
    with custody.token.manager() as session:
        before = len(list(session.pkcs11.get_objects({})))
        first = find_capabilities(again)
        assert len(list(session.pkcs11.get_objects({}))) == before
    monkeypatch.setattr(again, "generate", None)
    assert find_capabilities(again) is first


def test_an_algorithm_that_fails_is_not_offered(custody: Custody, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token whose PSS signatures do not verify, and that refuses HMAC, offers neither."""
    sign = TokenOperations.sign

    def spoiled(self: Any, handle: Any, algorithm: str, message_type: str, messages: Any) -> Any:
        made = sign(self, handle, algorithm, message_type, messages)
        return [bytes(256) for _ in made] if algorithm == "RSASSA_PSS_SHA_384" else made

    def refused(*_: Any) -> Any:
        raise Unsupported

    monkeypatch.setattr(TokenOperations, "sign", spoiled)
    monkeypatch.setattr(TokenOperations, "mac", refused)
    again = Custody(custody.token)
    again.attach()
    offered = found(find_capabilities(again), "HSM")
    for bits in (2048, 3072, 4096):
        assert "RSASSA_PSS_SHA_384" not in offered[f"RSA_{bits}", "SIGN_VERIFY"]
        assert "RSASSA_PSS_SHA_256" in offered[f"RSA_{bits}", "SIGN_VERIFY"]
    assert not any(spec.startswith("HMAC") for spec, _ in offered)


def test_an_ill_token_is_not_taken_for_a_poor_one(custody: Custody, monkeypatch: pytest.MonkeyPatch) -> None:
    """TokenUnavailable while trying: nothing is found, and nothing remembered."""

    def ill(*_: Any) -> Any:
        raise TokenUnavailable

    again = Custody(custody.token)
    again.attach()
    with monkeypatch.context() as patch:
        patch.setattr(TokenOperations, "mac", ill)
        with pytest.raises(TokenUnavailable):
            find_capabilities(again)
    assert found(find_capabilities(again), "HSM") == without("ML_")


def remove(token: Token, key_ids: Iterable[bytes]) -> None:
    with token.manager() as session:
        for key_id in key_ids:
            assert token_keys.destroy_all(session, key_id) == 1


def test_a_token_of_an_earlier_release_is_supplied_at_start(new_token: Callable[[], Token]) -> None:
    """It has the AES key encryption key only; attaching makes the others, once, and keeps what is there."""
    token = new_token()
    Custody(token).provision()
    remove(token, [*(kek_id(kind) for kind in KINDS if kind is not AES), IMPORT_CHECK_ID, TRANSFER_ID])
    older = Custody(token)
    older.attach()
    ref = KeyReference(bytes(16), 1, "HMAC_256", "HSM", "GENERATE_VERIFY_MAC")
    blob = older.generate(ref).blob
    again = Custody(token)
    again.attach()
    again.open(ref, blob).destroy()
    with token.manager() as session:
        assert len(token_keys.list_ids(session, b"keyfold:")) == len(KINDS) + 4
    assert again.probe().ok


def test_a_token_that_refuses_new_keys_offers_less(
    new_token: Callable[[], Token], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attaching works; what needs a missing key encryption key is refused as not offered, the rest goes on."""
    token = new_token()
    Custody(token).provision()
    remove(token, [kek_id(RSA_SIGN), kek_id(HMAC)])

    def refuse(*_: Any) -> int:
        raise ActionRefused("read-only")

    monkeypatch.setattr(token_keys, "create_key_encryption_key", refuse)
    custody = Custody(token)
    custody.attach()
    with pytest.raises(Unsupported, match="secret:hmac"):
        custody.generate(KeyReference(bytes(16), 1, "HMAC_256", "HSM", "GENERATE_VERIFY_MAC"))
    custody.generate(KeyReference(bytes(16), 1, "SYMMETRIC_DEFAULT", "HSM"))
    offered = found(find_capabilities(custody), "HSM")
    assert ("RSA_2048", "ENCRYPT_DECRYPT") in offered
    assert ("RSA_2048", "SIGN_VERIFY") not in offered
    assert ("HMAC_512", "GENERATE_VERIFY_MAC") not in offered


def test_workers_that_start_at_once_use_one_key(
    new_token: Callable[[], Token], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another makes the same key meanwhile: who sees two destroys its own, so one remains and all use it."""
    token = new_token()
    Custody(token).provision()
    remove(token, [kek_id(HMAC)])
    real = token_keys.create_key_encryption_key
    others: list[int] = []

    def late(session: Any, key_id: bytes, label: str, kind: Any) -> int:
        if not others:
            others.append(real(session, key_id, "another worker's", kind))
        return real(session, key_id, label, kind)

    monkeypatch.setattr(token_keys, "create_key_encryption_key", late)
    custody = Custody(token)
    custody.attach()
    with token.manager() as session:
        assert [token_keys.handle_of(key) for key in token_keys.find(session, kek_id(HMAC))] == others
        assert custody.envelopes.key_encryption_key(HMAC) == others[0]
