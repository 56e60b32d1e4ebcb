"""Key material and signatures as the client handles them, against what the HSM worker makes of the same bytes."""

import base64
import os
from functools import lru_cache
from typing import Any, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.support import pairs

from keyfold.client import ImportParameters, InvalidArgument, KeyMaterial, read_key_material, wrap_key_material
from keyfold.client.verifying import digest, external_mu, verify_signature
from keyfold.custody import public
from keyfold.custody.operations import representative
from keyfold.events.specs import ALGORITHMS, KeySpec, WrappingAlgorithm, material_bytes, message_types

SECRETS = [spec for spec in get_args(KeySpec) if material_bytes(spec)]
SIGNING = sorted(
    (spec, algorithm, kind)
    for (spec, usage), algorithms in ALGORITHMS.items()
    if usage == "SIGN_VERIFY" and not spec.startswith(("RSA_3", "RSA_4"))
    for algorithm in algorithms
    for kind in message_types(algorithm)
)
key_of = lru_cache(pairs.make)


@st.composite
def damages(draw: st.DrawFn, data: bytes) -> bytes:
    """The same bytes with one bit changed, cut, or extended. What is drawn does not depend on their random length."""
    how = draw(st.sampled_from(["bit", "cut", "more"]))
    if how == "more":
        return data + draw(st.binary(min_size=1, max_size=16))
    at = draw(st.integers(0, 2**20))
    if how == "cut":
        return data[: at % len(data)]
    at %= 8 * len(data)
    changed = bytearray(data)
    changed[at // 8] ^= 1 << at % 8
    return bytes(changed)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([*SECRETS, "ECC_NIST_P256", "ML_DSA_65", "ML_KEM_768"]),
    st.sampled_from(get_args(WrappingAlgorithm)),
    st.data(),
)
def test_wrapped_material_opens_whole_or_not_at_all(spec: Any, algorithm: Any, data: st.DataObject) -> None:
    """By the layout of `import_format`: what was wrapped comes out; whatever is changed on the way does not open."""
    private = pairs.rsa_key(3072)
    parameters = ImportParameters("k", 1, "t", algorithm, pairs.spki(private), "never")
    material = KeyMaterial(spec, pairs.to_wrap(pairs.make(spec)))
    if algorithm == "RSAES_OAEP_SHA_256" and spec not in SECRETS:
        with pytest.raises(InvalidArgument):
            wrap_key_material(parameters, material)
        return
    wrapped = wrap_key_material(parameters, material)
    assert pairs.unwrap_material(private, algorithm, wrapped) == material.data
    assert pairs.unwrap_material(private, algorithm, data.draw(damages(wrapped))) is None
    assert material.data not in wrapped


@given(st.sampled_from(SECRETS), st.sampled_from(["raw", "hex", "HEX", "base64", "lines"]), st.data())
def test_a_secret_is_read_as_what_it_is(spec: Any, form: str, data: st.DataObject) -> None:
    """In every form, with any line ends; only raw bytes may be random letters, and then it says so."""
    size = material_bytes(spec) or 0
    secret = data.draw(st.binary(min_size=size, max_size=size))
    if form == "raw":
        assert read_key_material(secret, spec, encoding="raw").data == secret
        return
    text = {"hex": secret.hex().encode(), "HEX": secret.hex().upper().encode(), "base64": base64.b64encode(secret)}.get(
        form, base64.encodebytes(secret)
    )
    end = data.draw(st.sampled_from([b"", b"\n", b"\r\n", b" \n"]))
    looks_private = secret[:1] == b"\x30" and secret[2:4] == b"\x02\x01"
    if not looks_private:
        assert read_key_material(text + end, spec).data == secret


@settings(max_examples=300)
@given(
    st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)),
    st.sampled_from(get_args(KeySpec)),
    st.sampled_from(["auto", "raw", "hex", "base64", "pem", "der"]),
)
@example(b"-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----\n", "RSA_2048", "auto")
@example(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n", "ECC_NIST_P256", "pem")
def test_nothing_else_is_taken_for_material(content: bytes, spec: Any, encoding: Any) -> None:
    """Whatever is read, it is material of the right length or `InvalidArgument`."""
    try:
        found = read_key_material(content, spec, encoding=encoding)
    except InvalidArgument:
        return
    assert len(found.data) in {material_bytes(spec), {"ML_DSA": 32, "ML_KEM": 64}.get(spec[:6])}


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(SIGNING), st.binary(max_size=80), st.booleans(), st.data())
def test_the_client_and_the_worker_verify_alike(
    how: tuple[Any, Any, Any], message: bytes, forged: bool, data: st.DataObject
) -> None:
    """Offline and in the worker: the same verdict about the same bytes, true ones and damaged ones."""
    spec, algorithm, kind = how
    key = key_of(spec)
    der = pairs.spki(key)
    if kind == "DIGEST":
        message = digest(algorithm, message)
    if kind == "EXTERNAL_MU":
        message = external_mu(der, message)
    arguments = type("Arguments", (), {"signing_algorithm": algorithm, "message_type": kind})
    signature = pairs.use("Sign", arguments, key, message).data
    shown = data.draw(damages(signature)) if forged else signature
    ours = verify_signature(der, message, shown, signing_algorithm=algorithm, message_type=kind)
    assert ours == public.verify(der, algorithm, kind, [(message, shown)])[0]
    assert ours != forged
    if kind == "RAW" and algorithm.startswith(("ECDSA", "RSASSA")):
        assert digest(algorithm, message) == representative(algorithm, "RAW", message)


@given(st.binary(max_size=300), st.binary(max_size=100))
def test_what_is_no_public_key_is_refused(der: bytes, signature: bytes) -> None:
    """Never anything else than `InvalidArgument`."""
    with pytest.raises(InvalidArgument):
        verify_signature(der, b"message", signature, signing_algorithm="ECDSA_SHA_256")


@given(st.integers(0, 90), st.integers(0, 255))
def test_a_damaged_public_key_is_another_or_none(at: int, value: int) -> None:
    """It never verifies what the right one signed, and never fails in another way."""
    key = key_of("ECC_NIST_P256")
    der = bytearray(pairs.spki(key))
    arguments = type("Arguments", (), {"signing_algorithm": "ECDSA_SHA_256", "message_type": "RAW"})
    signature = pairs.use("Sign", arguments, key, b"message").data
    changed = der[at] != value
    der[at] = value
    try:
        verified = verify_signature(bytes(der), b"message", signature, signing_algorithm="ECDSA_SHA_256")
    except InvalidArgument:
        verified = False
    assert verified != changed


def test_random_keys_are_not_taken_for_text() -> None:
    """The rule that guesses an encoding does not meet real keys."""
    for _ in range(2000):
        secret = os.urandom(32)
        assert read_key_material(secret, "SYMMETRIC_DEFAULT").data == secret
