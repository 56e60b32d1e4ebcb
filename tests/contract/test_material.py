"""The contract of MaterialProvider, run by both adapters: in the token (HSM) and in memory (SOFTWARE)."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keyfold.custody import Custody, Handle, InMemory, InToken, KeyReference, MaterialProvider, Protection
from keyfold.events.ciphertext import Algorithm, encode_context, parse
from keyfold.events.errors import InvalidCiphertext, TokenUnavailable
from keyfold.token import create_token, load_module, open_token

pytestmark = pytest.mark.token

CONTEXTS = [encode_context({"tenant": "a"}), encode_context({}), encode_context({"tenant": "b", "order": "1"})]
ALGORITHM = {"HSM": Algorithm.AES_256_GCM, "SOFTWARE": Algorithm.AES_256_GCM_DERIVED}


@pytest.fixture(scope="module")
def custody(softhsm: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Custody]:
    pins: Path = tmp_path_factory.mktemp("pins")
    module = load_module(softhsm.module)
    create_token(module, "kms", pins / "pin", pins / "so")
    with open_token(module, "kms", pins / "pin") as token:
        made = Custody(token)
        made.provision()
        yield made
    module.close()


class Keys:
    """One adapter and a key of its kind, with as many versions as a test asks for."""

    def __init__(self, custody: Custody, protection: Protection) -> None:
        self.custody, self.protection, self.key_id = custody, protection, os.urandom(16)
        self.provider: MaterialProvider = InToken(custody.token) if protection == "HSM" else InMemory(custody.derived)
        self.handles: dict[int, Handle] = {}
        self.asked: list[int] = []
        self.add(1)

    def add(self, version: int) -> Handle:
        reference = KeyReference(self.key_id, version, "SYMMETRIC_DEFAULT", self.protection)
        self.handles[version] = self.custody.open(reference, self.custody.generate(reference).blob)
        return self.handles[version]

    def resolve(self, version: int) -> Handle | None:
        self.asked.append(version)
        return self.handles.get(version)

    def protect(self, items: list[tuple[int, bytes]], version: int = 1) -> list[bytes]:
        return self.provider.protect(self.handles[version], CONTEXTS, items)

    def unprotect(self, items: list[tuple[int, bytes]]) -> list[Any]:
        return self.provider.unprotect(self.key_id, self.resolve, CONTEXTS, items)

    def refuses(self, context: int, ciphertext: bytes) -> bool:
        (result,) = self.unprotect([(context, ciphertext)])
        return isinstance(result, InvalidCiphertext)


@pytest.fixture(params=["HSM", "SOFTWARE"])
def keys(custody: Custody, request: pytest.FixtureRequest) -> Keys:
    return Keys(custody, request.param)


@pytest.fixture
def other(custody: Custody, keys: Keys) -> Callable[[], Keys]:
    return lambda: Keys(custody, keys.protection)


def test_a_batch_comes_back_in_order(keys: Keys) -> None:
    """Sizes from nothing to large, several contexts, results in the order of the items."""
    items = [(size % 3, os.urandom(size)) for size in (0, 1, 15, 16, 17, 1000, 70_000, 3)]
    ciphertexts = keys.protect(items)
    opened = keys.unprotect([(context, made) for (context, _), made in zip(items, ciphertexts, strict=True)])
    assert opened == [data for _, data in items]


def test_an_empty_batch_is_nothing(keys: Keys) -> None:
    """No items, no results."""
    assert keys.protect([]) == []
    assert keys.unprotect([]) == []


def test_ciphertexts_say_what_they_are(keys: Keys) -> None:
    """Key id, version and algorithm stand in the clear; the plaintext does not."""
    (made,) = keys.protect([(0, b"a rather secret text")])
    parsed = parse(made)
    assert (parsed.key_id, parsed.key_version, parsed.algorithm) == (keys.key_id, 1, ALGORITHM[keys.protection])
    assert b"secret" not in made


def test_the_same_plaintext_never_looks_the_same(keys: Keys) -> None:
    """Within a batch and across batches: bodies and nonces differ."""
    made = keys.protect([(0, b"same")] * 50) + keys.protect([(0, b"same")] * 50)
    assert len({parse(ciphertext).body for ciphertext in made}) == 100
    assert len({(parse(ciphertext).salt, parse(ciphertext).nonce) for ciphertext in made}) == 100


def test_another_context_is_refused(keys: Keys) -> None:
    """The context is authenticated; the right one still opens."""
    (made,) = keys.protect([(0, b"secret")])
    assert keys.refuses(1, made)
    assert keys.refuses(2, made)
    assert keys.unprotect([(0, made)]) == [b"secret"]


def test_every_bit_counts(keys: Keys) -> None:
    """Any bit of header, salt, commitment, nonce, index, body or tag: refused."""
    (made,) = keys.protect([(0, b"secret")])
    for at in range(len(made)):
        for bit in range(8):
            damaged = made[:at] + bytes([made[at] ^ 1 << bit]) + made[at + 1 :]
            assert keys.refuses(0, damaged), (at, bit)


def test_every_other_length_is_refused(keys: Keys) -> None:
    """Cut anywhere, or with a byte more."""
    (made,) = keys.protect([(0, b"")])
    for length in range(len(made)):
        assert keys.refuses(0, made[:length])
    assert keys.refuses(0, made + b"\0")


def test_another_keys_ciphertext_is_refused(keys: Keys, other: Callable[[], Keys]) -> None:
    """Even where its header is rewritten to name this key."""
    (made,) = other().protect([(0, b"secret")])
    assert keys.refuses(0, made)
    assert keys.refuses(0, made[:5] + keys.key_id + made[21:])


def test_another_protection_levels_ciphertext_is_refused(custody: Custody, keys: Keys) -> None:
    """Algorithm and key must belong together."""
    stranger = Keys(custody, "HSM" if keys.protection == "SOFTWARE" else "SOFTWARE")
    stranger.key_id = keys.key_id
    (made,) = Keys.protect(stranger, [(0, b"secret")])
    assert keys.refuses(0, made[:5] + keys.key_id + made[21:])
    assert keys.asked == []


def test_versions_are_told_apart(keys: Keys) -> None:
    """A batch over two versions opens; a ciphertext that names the wrong one does not. Each is asked for once."""
    keys.add(2)
    old, new = keys.protect([(0, b"old")] * 3), keys.protect([(0, b"new")] * 3, version=2)
    keys.asked.clear()
    mixed = [(0, data) for pair in zip(old, new, strict=True) for data in pair]
    assert keys.unprotect(mixed) == [b"old", b"new"] * 3
    assert sorted(keys.asked) == [1, 2]
    renamed = old[0][:21] + (2).to_bytes(4, "big") + old[0][25:]
    assert keys.refuses(0, renamed)


def test_an_unknown_or_destroyed_version_is_refused(keys: Keys) -> None:
    """It costs its own item only."""
    keys.add(2)
    (gone,), (kept,) = keys.protect([(0, b"gone")], version=2), keys.protect([(0, b"kept")])
    keys.handles.pop(2).destroy()
    refused, opened = keys.unprotect([(0, gone), (0, kept)])
    assert isinstance(refused, InvalidCiphertext)
    assert opened == b"kept"


def test_bad_items_cost_only_themselves(keys: Keys) -> None:
    """Rubbish among sound items: each gets its own result."""
    made = keys.protect([(0, bytes([number])) for number in range(4)])
    items = [(0, b""), (0, made[0]), (1, made[1]), (0, made[2]), (0, os.urandom(200)), (0, made[3])]
    results = keys.unprotect(items)
    assert [result if isinstance(result, bytes) else None for result in results] == [
        None, b"\0", None, b"\2", None, b"\3",
    ]  # fmt: skip


def test_refusals_do_not_tell_why(keys: Keys) -> None:
    """One code and one text for a wrong context, a damaged tag, another key, and rubbish."""
    (made,) = keys.protect([(0, b"secret")])
    items = [(1, made), (0, made[:-1] + b"\0"), (0, made[:5] + bytes(16) + made[21:]), (0, b"rubbish")]
    results = keys.unprotect(items)
    assert {(type(result), str(result)) for result in results} == {(InvalidCiphertext, str(InvalidCiphertext()))}


def test_a_destroyed_handle_protects_nothing(keys: Keys) -> None:
    """Using it is a mistake of the caller, found at once."""
    handle = keys.handles[1]
    handle.destroy()
    with pytest.raises(ValueError, match="open"):
        keys.provider.protect(handle, CONTEXTS, [(0, b"x")])


def test_a_handle_of_the_other_kind_is_refused(custody: Custody, keys: Keys) -> None:
    """An adapter never falls back to the other's keys."""
    stranger = Keys(custody, "HSM" if keys.protection == "SOFTWARE" else "SOFTWARE")
    with pytest.raises(ValueError, match="open"):
        keys.provider.protect(stranger.handles[1], CONTEXTS, [(0, b"x")])


def test_a_lost_token_is_retriable_not_invalid(custody: Custody) -> None:
    """A handle that the token lost raises, so that nobody takes a sound ciphertext for a damaged one."""
    keys = Keys(custody, "HSM")
    (made,) = keys.protect([(0, b"secret")])
    with custody.token.manager() as session:
        session.functions.destroy_object(session.handle, keys.handles[1].key)  # type: ignore[attr-defined]
    with pytest.raises(TokenUnavailable):
        keys.unprotect([(0, made)])
    with pytest.raises(TokenUnavailable):
        keys.protect([(0, b"x")])


def test_nonces_come_from_the_token_in_one_call(custody: Custody, monkeypatch: pytest.MonkeyPatch) -> None:
    """HSM nonces: one C_GenerateRandom per batch."""
    keys = Keys(custody, "HSM")
    calls: list[int] = []
    with custody.token.session() as session:
        real = session.functions.generate_random

    def spy(handle: int, at: int, size: int) -> int:
        calls.append(size)
        return int(real(handle, at, size))

    monkeypatch.setattr(session.functions, "generate_random", spy)
    keys.protect([(0, b"x")] * 100)
    assert calls == [1200]
