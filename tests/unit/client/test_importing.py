"""Importing key material: the three steps, alone and in one; what a lost answer or a refusal means."""

import asyncio
import os
from dataclasses import replace
from typing import Any, get_args

import pytest
from tests.support import pairs

from keyfold.client import (
    DeadlineExceeded,
    InvalidArgument,
    Keyfold,
    KeyMaterial,
    read_key_material,
    wrap_key_material,
)
from keyfold.events.errors import ImportTokenInvalid, InvalidCiphertext, TokenUnavailable
from keyfold.events.specs import KeySpec, WrappingAlgorithm, is_asymmetric

SPECS = [spec for spec in get_args(KeySpec) if spec not in {"ML_KEM_512", "RSA_4096", "RSA_3072"}]
SMALL: Any = {"wrapping_key_spec": "RSA_3072"}


async def external(kms: Keyfold, spec: Any = "SYMMETRIC_DEFAULT", usage: Any = None) -> str:
    return (await kms.create_key(key_spec=spec, key_usage=usage, origin="EXTERNAL")).key_id


@pytest.mark.parametrize("spec", SPECS)
async def test_material_of_every_spec_is_imported(kms: Keyfold, deployment: Any, spec: Any) -> None:
    """The service opens exactly what was brought."""
    usage = "SIGN_VERIFY" if spec.startswith(("RSA", "ECC")) else None
    key, brought = await external(kms, spec, usage), pairs.to_wrap(pairs.make(spec))
    done = await kms.import_key(key, read_key_material(brought, spec, encoding="raw"), reason="moving in", **SMALL)
    assert deployment.held.versions[key] == [brought]
    assert (done.key_id, done.summary) == (key, {"key_check_value": "abcdef"})
    assert [got.command.data.reason for got in deployment.received] == [None, "moving in", "moving in"]


@pytest.mark.parametrize("algorithm", get_args(WrappingAlgorithm))
@pytest.mark.parametrize("wrapping_key_spec", ["RSA_3072", "RSA_4096"])
async def test_the_steps_may_be_taken_apart(
    kms: Keyfold, deployment: Any, algorithm: Any, wrapping_key_spec: Any
) -> None:
    """Parameters are no secret; what is wrapped by them opens once, in the service."""
    pairs.rsa_key(int(wrapping_key_spec[4:]))  # made before any deadline runs: that may take seconds
    key, secret = await external(kms), os.urandom(32)
    await deployment.publish_alias("alias/external", key)
    parameters = await kms.get_parameters_for_import(
        "alias/external", wrapping_algorithm=algorithm, wrapping_key_spec=wrapping_key_spec
    )
    assert (parameters.key_id, parameters.version, parameters.wrapping_algorithm) == (key, 1, algorithm)
    assert parameters.import_token == deployment.received[-1].command.id
    wrapped = wrap_key_material(parameters, KeyMaterial("SYMMETRIC_DEFAULT", secret))
    assert wrapped != wrap_key_material(parameters, KeyMaterial("SYMMETRIC_DEFAULT", secret))
    token = parameters.import_token
    await kms.import_key_material(key, wrapped, import_token=token, valid_to="2999-01-31T12:00:00.000Z")
    assert deployment.held.versions[key] == [secret]
    got = deployment.received[-1]
    assert (got.data.items, got.data.contexts, got.data.arguments.valid_to) == (1, [{}], "2999-01-31T12:00:00.000Z")
    with pytest.raises(ImportTokenInvalid):
        await kms.import_key_material(key, wrapped, import_token=token)


async def test_what_does_not_open_is_invalid(kms: Keyfold) -> None:
    """Whatever is wrong with it."""
    key = await external(kms)
    parameters = await kms.get_parameters_for_import(key, **SMALL)
    with pytest.raises(InvalidCiphertext):
        await kms.import_key_material(key, b"wrapped", import_token=parameters.import_token)


async def test_material_is_only_wrapped_as_its_spec_allows(kms: Keyfold) -> None:
    """RSAES-OAEP holds secrets only; the wrapping key must be an import's."""
    parameters = await kms.get_parameters_for_import(await external(kms), **SMALL)
    short = replace(parameters, wrapping_algorithm="RSAES_OAEP_SHA_256")
    for spec in SPECS:
        material = KeyMaterial(spec, pairs.to_wrap(pairs.make(spec)))
        if is_asymmetric(spec):
            with pytest.raises(InvalidArgument, match="does not wrap"):
                wrap_key_material(short, material)
        else:
            assert len(wrap_key_material(short, material)) == 384
    for other in (b"no key", pairs.spki(pairs.make("ECC_NIST_P256")), pairs.spki(pairs.make("RSA_2048"))):
        with pytest.raises(InvalidArgument):
            wrap_key_material(replace(parameters, public_key=other), KeyMaterial("HMAC_256", bytes(32)))


async def test_an_import_whose_answer_was_lost_was_done(deployment: Any) -> None:
    """It is not asked anew: its token is used up, and that would look like a failure."""

    async def lose(got: Any) -> None:
        await deployment.execute(got, send=False)

    tasks: list[asyncio.Task[None]] = []

    def script(got: Any) -> str | None:
        if got.command.verb != "ImportKeyMaterial":
            return None
        tasks.append(asyncio.ensure_future(lose(got)))
        return "drop"

    deployment.scripts.append(script)
    async with deployment.connect(resend_initial_s=0.05, resend_max_s=0.1, recovery_grace_s=0.01) as kms:
        key = await external(kms)
        done = await kms.import_key(key, KeyMaterial("SYMMETRIC_DEFAULT", bytes(32)), **SMALL)
    assert deployment.held.versions[key] == [bytes(32)]
    assert (done.key_id, done.summary) == (key, {})
    assert sum(got.command.verb == "ImportKeyMaterial" for got in deployment.received) == 1


async def test_an_import_is_not_asked_again_when_the_token_fails(deployment: Any) -> None:
    """What is refused before it is authorized is: then the import token is not used up."""
    codes = ["RegistryBehind", "RateLimited", "TokenUnavailable", "TokenUnavailable"]
    deployment.scripts.append(lambda got: codes.pop(0) if got.command.verb == "ImportKeyMaterial" else None)
    async with deployment.connect(retry_initial_s=0.005, rate_limit_initial_s=0.005) as kms:
        key = await external(kms)
        with pytest.raises(TokenUnavailable):
            await kms.import_key(key, KeyMaterial("SYMMETRIC_DEFAULT", bytes(32)), **SMALL)
    assert codes == ["TokenUnavailable"]


async def test_an_import_may_carry_out_a_proposal(kms: Keyfold, deployment: Any) -> None:
    """As every data-plane command."""
    key = await external(kms)
    parameters = await kms.get_parameters_for_import(key, **SMALL)
    wrapped = wrap_key_material(parameters, KeyMaterial("SYMMETRIC_DEFAULT", bytes(32)))
    await kms.import_key_material(key, wrapped, import_token=parameters.import_token, proposal=key)
    assert deployment.received[-1].data.proposal == key


async def test_an_unanswered_import_says_so(deployment: Any) -> None:
    """The command may still be carried out."""
    deployment.scripts.append(lambda got: "drop" if got.command.verb == "ImportKeyMaterial" else None)
    async with deployment.connect() as kms:
        key = await external(kms)
        with pytest.raises(DeadlineExceeded, match="may still be executed"):
            await kms.import_key_material(key, b"x", import_token=key, timeout_s=0.2)
