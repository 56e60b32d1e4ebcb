"""Protected context values: the log sees a digest of them, and never the value; whoever has the key finds them."""

import asyncio
import base64
import hmac
import json
import pickle
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from keyfold.client import (
    ContextKeyRotated,
    DeadlineExceeded,
    InvalidArgument,
    Keyfold,
    KeyfoldContextKeys,
    Mac,
    protect,
)
from keyfold.client.envelope import FileJob, decrypt_file, decrypt_files, encrypt_file, encrypt_files, encrypt_stream
from keyfold.client.protected import PREFIX, message_of
from keyfold.events.errors import AccessDenied, InvalidCiphertext, NotFound

SECRET = "Élodie Nakamura, 4711"
CONTEXT = {"patient": protect(SECRET, tenant="clinic-a"), "kind": "letter"}


@pytest.fixture
async def tenant_key(kms: Keyfold, deployment: Any) -> str:
    """The HMAC key of the tenant clinic-a."""
    key_id = (await kms.create_key(key_spec="HMAC_256", key_usage="GENERATE_VERIFY_MAC")).key_id
    await deployment.publish_alias("alias/context/clinic-a", key_id)
    return key_id


@pytest.fixture
async def key_id(kms: Keyfold) -> str:
    """A key that encrypts."""
    return (await kms.create_key()).key_id


@pytest.fixture(autouse=True)
async def nothing_leaks(deployment: Any, kms: Keyfold) -> AsyncIterator[None]:
    """Whatever a test does, no command that reaches the bus has the value in its clear part."""
    yield
    for got in deployment.received:
        for part in (SECRET, json.dumps(SECRET)[1:-1], "Nakamura", "protected"):
            assert part.encode() not in (got.record.value or b"")


def logged(deployment: Any) -> list[dict[str, str]]:
    """The contexts of the last data-plane command that has some."""
    return next(got.data.contexts for got in reversed(deployment.received) if got.command.verb != "GenerateMac")


async def test_the_log_has_a_digest_in_the_place_of_the_value(
    kms: Keyfold, deployment: Any, tenant_key: str, key_id: str
) -> None:
    """It names the tenant's key, is the MAC that is documented, and leaves other values as they are."""
    ciphertext = await kms.encrypt(key_id, b"data", context=CONTEXT)
    (context,) = logged(deployment)
    secret = deployment.held.versions[tenant_key][0]
    name = b"patient"
    code = hmac.digest(secret, len(name).to_bytes(4, "big") + name + SECRET.encode(), "sha256")
    text = base64.urlsafe_b64encode(code).rstrip(b"=").decode()
    assert context == {"patient": f"hmac-sha256:{tenant_key}:{text}", "kind": "letter"}
    assert await kms.decrypt(key_id, ciphertext, context=CONTEXT) == b"data"
    assert await kms.decrypt(key_id, ciphertext, context=context) == b"data"
    with pytest.raises(InvalidCiphertext):
        await kms.decrypt(key_id, ciphertext, context={**CONTEXT, "patient": protect("4712", tenant="clinic-a")})


async def test_names_and_values_cannot_be_shifted(kms: Keyfold, tenant_key: str) -> None:
    """The same letters divided otherwise, or another name, make another digest."""
    keys = kms.context_keys
    made = [await keys.digest("clinic-a", name, value) for name, value in [("ab", "c"), ("a", "bc"), ("ab", "c ")]]
    assert len(set(made)) == 3
    assert message_of("ü", "x") == b"\x00\x00\x00\x02\xc3\xbcx"


async def test_a_digest_is_asked_for_once(kms: Keyfold, deployment: Any, tenant_key: str, key_id: str) -> None:
    """However many calls and batches need it, at the same time or later."""
    await asyncio.gather(*(kms.encrypt(key_id, b"%d" % n, context=CONTEXT) for n in range(50)))
    await kms.encrypt_batch(key_id, [b"a", b"b"], contexts=[CONTEXT, {"patient": protect(SECRET, tenant="clinic-a")}])
    made = [got for got in deployment.received if got.command.verb == "GenerateMac"]
    assert sum(got.data.items for got in made) == 1


async def test_every_verb_that_takes_a_context(kms: Keyfold, deployment: Any, tenant_key: str, key_id: str) -> None:
    """Single calls, batches, data keys and pairs, re-encryption both ways, trials, proposals and grants."""
    digest = (await kms.context_as_logged(CONTEXT))["patient"]
    other = (await kms.create_key()).key_id
    moved = {"patient": protect("4712", tenant="clinic-a")}
    sealed = await kms.encrypt(key_id, b"data", context=CONTEXT)
    fresh = await kms.re_encrypt(key_id, sealed, context=CONTEXT, destination_context=moved)
    assert await kms.decrypt(key_id, fresh, context=moved) == b"data"
    there = await kms.re_encrypt(key_id, sealed, destination_key=other, context=CONTEXT)
    assert await kms.decrypt(other, there, context=CONTEXT) == b"data"
    (batch,) = await kms.re_encrypt_batch(
        key_id, [sealed], destination_key=other, context=CONTEXT, destination_contexts=[moved]
    )
    assert await kms.decrypt_batch(other, [batch], context=moved) == [b"data"]  # type: ignore[list-item]
    data_key = await kms.generate_data_key(key_id, context=CONTEXT)
    assert await kms.decrypt(key_id, data_key.ciphertext, context=CONTEXT) == data_key.plaintext
    await kms.generate_data_key_without_plaintext(key_id, context=CONTEXT)
    assert logged(deployment)[0]["patient"] == digest
    await kms.generate_data_key_pair(key_id, "ECC_NIST_P256", context=CONTEXT)
    assert logged(deployment)[0]["patient"] == digest
    await kms.generate_data_key_batch(key_id, 2, contexts=[CONTEXT, {}])
    assert logged(deployment)[0]["patient"] == digest
    await kms.dry_run("Decrypt", key_id, context=CONTEXT)
    assert logged(deployment)[0]["patient"] == digest
    await kms.dry_run("Decrypt", key_id, contexts=[CONTEXT], items=2)
    assert logged(deployment)[0]["patient"] == digest


async def test_grants_and_proposals_name_digests(kms: Keyfold, deployment: Any, tenant_key: str, key_id: str) -> None:
    """What they are compared with is what commands say."""
    digest = (await kms.context_as_logged(CONTEXT))["patient"]
    await kms.create_grant(key_id, "bob", ["Decrypt"], expires_at="2099-01-01T00:00:00.000Z",
                           encryption_context_subset=CONTEXT)  # fmt: skip
    arguments = deployment.received[-1].command.data.arguments
    assert arguments.encryption_context_subset == {"patient": digest, "kind": "letter"}
    await kms.propose("Decrypt", key_id, contexts=[CONTEXT, {}], items=2)
    assert deployment.received[-1].command.data.arguments.contexts == [{"patient": digest, "kind": "letter"}, {}]


async def test_envelopes_bind_the_digest(
    kms: Keyfold, deployment: Any, tenant_key: str, key_id: str, tmp_path: Path
) -> None:
    """A file opens with the value, and with the context as it was logged, for who cannot ask for digests any more."""
    (tmp_path / "a").write_bytes(b"text")
    await encrypt_file(kms, key_id, tmp_path / "a", tmp_path / "a.kf", context=CONTEXT)
    await decrypt_file(kms, tmp_path / "a.kf", tmp_path / "b", context=CONTEXT)
    context = await kms.context_as_logged(CONTEXT)
    await decrypt_file(kms, tmp_path / "a.kf", tmp_path / "c", context=context)
    assert (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes() == b"text"
    jobs = [FileJob(tmp_path / "a", tmp_path / name, CONTEXT) for name in "xy"]
    assert [result.error for result in await encrypt_files(kms, key_id, jobs)] == [None, None]


async def test_one_file_s_tenant_costs_its_own_file_only(
    kms: Keyfold, tenant_key: str, key_id: str, tmp_path: Path
) -> None:
    """Where a digest cannot be made, that job has the error; the others are decrypted."""
    (tmp_path / "a").write_bytes(b"text")
    await encrypt_file(kms, key_id, tmp_path / "a", tmp_path / "a.kf", context=CONTEXT)
    gone = {"patient": protect(SECRET, tenant="nobody")}
    jobs = [FileJob(tmp_path / "a.kf", tmp_path / name, about) for name, about in (("b", gone), ("c", CONTEXT))]
    refused, done = await decrypt_files(kms, jobs)
    assert isinstance(refused.error, NotFound)
    assert (done.error, (tmp_path / "c").read_bytes()) == (None, b"text")


async def test_one_file_s_tenant_costs_its_own_file_only_when_encrypting_too(
    kms: Keyfold, tenant_key: str, key_id: str, tmp_path: Path
) -> None:
    """The others are encrypted; where none can be, no data key is asked for."""
    (tmp_path / "a").write_bytes(b"text")
    gone = {"patient": protect(SECRET, tenant="nobody")}
    jobs = [FileJob(tmp_path / "a", tmp_path / name, about) for name, about in (("b.kf", gone), ("c.kf", CONTEXT))]
    refused, done = await encrypt_files(kms, key_id, jobs)
    assert isinstance(refused.error, NotFound)
    assert not (tmp_path / "b.kf").exists()
    assert done.error is None
    await decrypt_file(kms, tmp_path / "c.kf", tmp_path / "c", context=CONTEXT)
    assert (tmp_path / "c").read_bytes() == b"text"
    (alone,) = await encrypt_files(kms, key_id, jobs[:1])
    assert isinstance(alone.error, NotFound)


async def test_digests_have_the_time_of_the_call(kms: Keyfold, deployment: Any, key_id: str) -> None:
    """A tenant's key that does not answer holds no call up longer than it says; nothing was sent."""

    class Silent:
        async def digest(self, tenant: str, name: str, value: str) -> str:
            await asyncio.sleep(60)
            raise AssertionError

    kms._context_keys = Silent()
    before = len(deployment.received)
    for call in (
        kms.encrypt(key_id, b"x", context=CONTEXT, timeout_s=0.05),
        kms.encrypt_batch(key_id, [b"x"], contexts=[CONTEXT], timeout_s=0.05),
        kms.re_encrypt(key_id, b"x", destination_context=CONTEXT, timeout_s=0.05),
        kms.dry_run("Encrypt", key_id, context=CONTEXT, timeout_s=0.05),
        kms.context_as_logged(CONTEXT, timeout_s=0.05),
    ):
        with pytest.raises(DeadlineExceeded, match="nothing was sent"):
            async with asyncio.timeout(5):
                await call
    assert len(deployment.received) == before


async def test_streams_take_the_context_as_it_is_logged(
    kms: Keyfold, tenant_key: str, key_id: str, tmp_path: Path
) -> None:
    """An envelope that is made without a client refuses a protected value rather than binding something else."""
    data_key = await kms.generate_data_key(key_id, context=CONTEXT)
    with (tmp_path / "a").open("w+b") as file, pytest.raises(InvalidArgument, match="context_as_logged"):
        encrypt_stream(file, file, key_id=key_id, data_key=data_key, context=CONTEXT)


async def test_without_a_tenant_key_nothing_is_sent(kms: Keyfold, deployment: Any, key_id: str) -> None:
    """The alias is named; neither the value nor a placeholder goes out."""
    before = len(deployment.received)
    with pytest.raises(NotFound, match="alias/context/clinic-a"):
        await kms.encrypt(key_id, b"data", context=CONTEXT)
    assert len(deployment.received) == before


async def test_who_may_not_use_the_tenant_s_key_is_told(
    kms: Keyfold, deployment: Any, tenant_key: str, key_id: str
) -> None:
    """A refused digest is the call's error, and is asked for again the next time."""
    deployment.scripts.append(lambda got: "AccessDenied" if got.command.verb == "GenerateMac" else None)
    with pytest.raises(AccessDenied):
        await kms.encrypt(key_id, b"data", context=CONTEXT)
    deployment.scripts.clear()
    await kms.encrypt(key_id, b"data", context=CONTEXT)


async def test_a_rotated_tenant_key_is_refused(kms: Keyfold, tenant_key: str, key_id: str) -> None:
    """Its digests would not be those of before, and nothing would decrypt or be found: the error says what to do."""
    await kms.rotate_key(tenant_key)
    with pytest.raises(ContextKeyRotated, match="clinic-a"):
        await kms.encrypt(key_id, b"data", context=CONTEXT)


class Counting:
    """A client that makes MACs, and counts them."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    async def resolve(self, key: str) -> str:
        return f"id of {key}"

    async def generate_mac(self, key: str, message: bytes, *, mac_algorithm: str) -> Mac:
        self.asked.append(message)
        await asyncio.sleep(0)
        return Mac(hmac.digest(key.encode(), message, "sha256"), 1)


async def test_memory_is_bounded_and_ends() -> None:
    """The digests that were not used for longest are let go, and none is kept for longer than it may be."""
    kms = Counting()
    keys = KeyfoldContextKeys(kms, remembered=2, max_age_s=0.2)
    for value in "abab":
        await keys.digest("t", "n", value)
    assert len(kms.asked) == 2
    await keys.digest("t", "n", "c")
    await keys.digest("t", "n", "b")
    assert len(kms.asked) == 3
    await keys.digest("t", "n", "a")
    assert len(kms.asked) == 4
    await asyncio.sleep(0.25)
    await keys.digest("t", "n", "a")
    assert len(kms.asked) == 5


async def test_a_caller_who_gives_up_leaves_the_others_theirs() -> None:
    """Who waits for the same digest gets it, though the one who asked first was cancelled."""
    kms = Counting()
    keys = KeyfoldContextKeys(kms)
    first, second = (asyncio.create_task(keys.digest("t", "n", "v")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).startswith(f"{PREFIX}:id of alias/context/t:")
    assert len(kms.asked) == 1


async def test_keys_of_one_s_own(deployment: Any, key_id: str) -> None:
    """A program may bring what makes digests."""

    class Mine:
        async def digest(self, tenant: str, name: str, value: str) -> str:
            return f"{tenant}/{name}/{len(value)}"

    async with deployment.connect(context_keys=Mine()) as kms:
        await kms.encrypt(key_id, b"data", context=CONTEXT)
    assert logged(deployment) == [{"patient": f"clinic-a/patient/{len(SECRET)}", "kind": "letter"}]


def test_a_protected_value_shows_nothing() -> None:
    """Neither printed, nor joined, nor in a message does it say what it stands for; equal ones are equal."""
    value = CONTEXT["patient"]
    for text in (repr(value), str(value), f"{value}", repr(CONTEXT), json.dumps(CONTEXT), "".join([value])):
        assert "Nakamura" not in text
    assert value == protect(SECRET, tenant="clinic-a")
    assert value not in {protect("4712", tenant="clinic-a"), protect(SECRET, tenant="b"), SECRET, str(value)}
    assert hash(value) == hash(protect(SECRET, tenant="clinic-a"))
    assert pickle.loads(pickle.dumps(value)) == value  # noqa: S301
    with pytest.raises(InvalidArgument):
        value.encode()


@pytest.mark.parametrize(
    ("value", "tenant"),
    [(7, "t"), (CONTEXT["patient"], "t"), ("\ud800", "t"), ("v", ""), ("v", "a/b"), ("v", "é"), ("v", "-a")],
    ids=["no text", "protected", "no Unicode", "no tenant", "slash", "letter", "dash"],
)
def test_what_cannot_be_protected(value: Any, tenant: Any) -> None:
    """Only text, under the name of a tenant."""
    with pytest.raises(InvalidArgument) as raised:
        protect(value, tenant=tenant)
    assert "4711" not in str(raised.value)
