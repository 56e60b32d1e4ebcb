"""Keys through their life: what creation says, validity, compromise with the rotation behind it, public keys."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support import pairs

from keyfold.bus import Inbound
from keyfold.client import Compromise, DeadlineExceeded, DryRun, InvalidArgument, Keyfold, KeyMetadata, PublicKey
from keyfold.client.view import View
from keyfold.events import facts
from keyfold.events.errors import AccessDenied, InternalError, NotFound
from keyfold.events.storage import Capability
from keyfold.events.times import to_milliseconds, to_text

P256: Any = {"key_spec": "ECC_NIST_P256", "key_usage": "SIGN_VERIFY"}
YESTERDAY = -timedelta(days=1)


async def test_creation_tells_spec_usage_and_origin(kms: Keyfold, deployment: Any) -> None:
    """The usage also where the spec has one only and nobody named it."""
    made = await kms.create_key(key_spec="ML_DSA_65", origin="EXTERNAL")
    assert isinstance(made, KeyMetadata)
    assert (made.key_spec, made.key_usage, made.origin) == ("ML_DSA_65", "SIGN_VERIFY", "EXTERNAL")
    assert (await kms.create_key()).key_usage == "ENCRYPT_DECRYPT"
    assert deployment.received[-1].command.data.arguments.key_usage is None


async def test_times_and_periods_are_taken_in_any_form(kms: Keyfold, deployment: Any) -> None:
    """Datetimes, spans from now, text; periods as spans or days."""
    start = datetime(2999, 1, 31, 12, tzinfo=UTC)
    await kms.create_key(not_before=start, not_after=timedelta(days=365_000), rotation_period=timedelta(days=90))
    said = deployment.received[-1].command.data.arguments
    assert (said.not_before, said.rotation_period_seconds) == ("2999-01-31T12:00:00.000Z", 90 * 86_400)
    assert said.not_after is not None
    await kms.enable_key_rotation(kms.new_key_id(), timedelta(hours=1))
    assert deployment.received[-1].command.data.arguments.rotation_period_seconds == 3600
    await kms.update_key_validity(kms.new_key_id(), not_after="never")
    said = deployment.received[-1].command.data.arguments
    assert (said.not_before, said.not_after) == (None, "never")


@pytest.mark.parametrize("period", [0, -1, timedelta(0), 2561])
async def test_a_period_out_of_bounds_is_refused_here(kms: Keyfold, deployment: Any, period: Any) -> None:
    """At least a second, at most 2560 days."""
    with pytest.raises(InvalidArgument):
        await kms.enable_key_rotation(kms.new_key_id(), period)
    with pytest.raises(InvalidArgument):
        await kms.create_key(rotation_period=period)
    assert deployment.received == []


async def test_a_compromised_key_is_rotated_right_behind(kms: Keyfold, deployment: Any) -> None:
    """By the same caller, with the cause and the same reason."""
    key = (await kms.create_key(**P256)).key_id
    done = await kms.mark_key_compromised(key, YESTERDAY, reason="laptop stolen")
    assert isinstance(done, Compromise)
    assert not isinstance(done.rotation, Exception | None)
    assert done.rotation.version == 2
    marked, rotated = deployment.received[1:]
    assert (marked.command.verb, marked.command.data.arguments.versions) == ("MarkKeyCompromised", None)
    assert marked.command.data.arguments.reason == "laptop stolen"
    assert to_milliseconds(marked.command.data.arguments.occurred_at) < to_milliseconds(marked.command.time)
    assert (rotated.command.verb, rotated.command.data.arguments.cause) == ("RotateKey", "compromise")
    assert rotated.command.data.reason == "laptop stolen"


@pytest.mark.parametrize(("code", "kind"), [("AccessDenied", AccessDenied), ("drop", DeadlineExceeded)])
async def test_a_key_is_marked_also_where_its_rotation_is_not_done(
    kms: Keyfold, deployment: Any, code: str, kind: Any
) -> None:
    """What came of the rotation is told, not raised: the key is compromised, and whoever marked it must know that."""
    key = (await kms.create_key(**P256)).key_id
    deployment.scripts.append(lambda got: code if got.command.verb == "RotateKey" else None)
    done = await kms.mark_key_compromised(key, YESTERDAY, timeout_s=0.5)
    assert isinstance(done.rotation, kind)
    deployment.scripts.append(lambda got: "NotFound")
    with pytest.raises(NotFound):
        await kms.mark_key_compromised(key, YESTERDAY)


async def test_marking_is_tried_or_done_alone_where_that_is_asked(kms: Keyfold, deployment: Any) -> None:
    """A dry run rotates nothing."""
    key = (await kms.create_key(**P256)).key_id
    assert isinstance(await kms.mark_key_compromised(key, YESTERDAY, dry_run=True), DryRun)
    done = await kms.mark_key_compromised(key, YESTERDAY, versions=[1], rotate=False)
    assert done.rotation is None
    assert [got.command.verb for got in deployment.received[1:]] == ["MarkKeyCompromised"] * 2


async def test_the_directory_gives_public_keys_without_a_command(kms: Keyfold, deployment: Any) -> None:
    """Each version, and the current one; as the service itself says them."""
    key = (await kms.create_key(**P256)).key_id
    await deployment.publish(deployment.material_event(key, 1))
    first = await kms.public_key(key)
    assert first == await kms.get_public_key(key)
    signature = (await kms.sign(key, b"message", signing_algorithm="ECDSA_SHA_256")).signature
    sent = len(deployment.received)
    await kms.rotate_key(key)
    await deployment.publish(deployment.material_event(key, 2))
    await deployment.publish_alias("alias/signer", key)
    assert (await kms.public_key("alias/signer", 2)).version == 2
    assert (await kms.public_key("alias/signer")).version == 2
    assert await kms.public_key(key, 1) == first
    assert first.verify(b"message", signature)
    assert first.pem().startswith("-----BEGIN PUBLIC KEY-----")
    assert len(deployment.received) == sent + 1


async def test_a_key_without_a_public_half_is_not_found(deployment: Any) -> None:
    """Nor a version that is not there; after a moment's patience for a directory that is late."""
    async with deployment.connect(alias_wait_s=0.1) as kms:
        secret = (await kms.create_key(key_spec="HMAC_256")).key_id
        await deployment.publish(deployment.material_event(secret, 1))
        pair = (await kms.create_key(**P256)).key_id
        await deployment.publish(deployment.material_event(pair, 1))
        for key, version in ((secret, None), (secret, 1), (pair, 2), (kms.new_key_id(), None)):
            with pytest.raises(NotFound, match="symmetric keys have none"):
                await kms.public_key(key, version)
    with pytest.raises(DeadlineExceeded):
        async with deployment.connect(alias_wait_s=5) as kms:
            await kms.public_key(kms.new_key_id(), timeout_s=0.05)


async def test_an_answer_without_its_result_is_an_error(kms: Keyfold, deployment: Any) -> None:
    """As when the command was executed before: the caller asks again, and takes nothing for a key."""
    for told in ({}, {"public_key": "not base64!"}, {"public_key": 7}):
        deployment.summaries["GetPublicKey"] = told
        with pytest.raises(InternalError, match="without a public key"):
            await kms.get_public_key(kms.new_key_id())
        deployment.summaries["GetParametersForImport"] = {"public_key": None}
        with pytest.raises(InternalError, match="without import parameters"):
            await kms.get_parameters_for_import(kms.new_key_id(), wrapping_key_spec="RSA_3072")


def test_a_public_key_that_no_worker_signed_is_not_believed(new_deployment: Any) -> None:
    """Nor one under another key's name; an older version that is published again changes nothing."""
    world = new_deployment()
    view, key = View(world.id), "01890a5d-ac96-774b-bcce-b302099a8057"
    world.held.specs[key] = "ECC_NIST_P256", "SIGN_VERIFY"
    world.held.versions[key] = [pairs.make("ECC_NIST_P256"), pairs.make("ECC_NIST_P256")]
    view.offer([inbound(world.directory_record(event)) for event in world.first_events()])
    first, second = world.material_event(key, 1), world.material_event(key, 2)
    view.offer([inbound(world.directory_record(second, world.policy))])
    forged = world.directory_record(second)
    view.offer([inbound(forged, key=b"public-key/other/2"), inbound(forged, key=b"key/other")])
    assert view.public_key(key, None) is None
    assert view.untrusted == 3
    view.offer([inbound(world.directory_record(event)) for event in (second, first)])
    assert view.public_key(key, None) == expected(world, key, 2)
    assert view.public_key(key, 1) == expected(world, key, 1)
    assert view.public_key(key, 3) is None
    broken = second.model_copy(update={"data": second.data.model_copy(update={"public_key": "A", "version": 3})})
    view.offer([inbound(world.directory_record(broken))])
    assert (view.public_key(key, 3), view.untrusted) == (None, 4)


def expected(world: Any, key: str, version: int) -> PublicKey:
    return PublicKey(key, version, "ECC_NIST_P256", "SIGN_VERIFY", pairs.spki(world.held.versions[key][version - 1]))


def inbound(record: Any, key: bytes | None = None) -> Inbound:
    return Inbound(record.topic, record.partition, 0, 0, key or record.key, record.value, record.headers)


async def test_what_the_deployment_offers_is_in_the_directory(kms: Keyfold, deployment: Any) -> None:
    """As its worker found last, whatever order it is read in."""
    assert kms.capabilities() == []
    offered = Capability(
        key_spec="ECC_NIST_P256", key_usage="SIGN_VERIFY", protection="HSM", algorithms=["ECDSA_SHA_256"]
    )
    now = time.time_ns() // 1_000_000
    for at, found in ((now, [offered]), (now - 500, [])):
        told: dict[str, Any] = {"module": "m", "capabilities": found, "imports": {}}
        event = facts.TokenCapabilitiesFound.new(f"capabilities-{at}", "registry", to_text(at), **told)
        await deployment.publish(event)
    await kms._directory.refresh()
    assert kms.capabilities() == [offered]


def test_a_public_key_is_verified_with_by_its_own_algorithms() -> None:
    """RSA keys need theirs named; keys that sign nothing have none."""
    rsa = PublicKey("k", 1, "RSA_2048", "SIGN_VERIFY", pairs.spki(pairs.make("RSA_2048")))
    with pytest.raises(InvalidArgument, match="name the signing algorithm"):
        rsa.verify(b"x", b"y")
    assert not rsa.verify(b"x", b"y", signing_algorithm="RSASSA_PSS_SHA_256")
    with pytest.raises(InvalidArgument, match="signs nothing"):
        PublicKey("k", 1, "RSA_2048", "ENCRYPT_DECRYPT", rsa.public_key).verify(
            b"x", b"y", signing_algorithm="RSASSA_PSS_SHA_256"
        )
    with pytest.raises(InvalidArgument, match="no algorithm"):
        rsa.verify(b"x", b"y", signing_algorithm="ECDSA_SHA_256")
