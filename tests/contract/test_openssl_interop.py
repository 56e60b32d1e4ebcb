"""OpenSSL's command line against keys at both protection levels: signatures, ciphertexts, secrets and imports.

Keys are made by OpenSSL (the larger RSA keys, which take it seconds, are published ones that it encoded anew) and
imported from its PEM files. At the level SOFTWARE the two sides are different builds and
releases (the library brings its own OpenSSL), at HSM the token may use the same libcrypto as the program: there this
shows that mechanisms, paddings and encodings are what others expect, and the published answers show the arithmetic.
OpenSSL 3.0 has neither ML-DSA nor ML-KEM: see `test_lattice_interop`.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import new
from pathlib import Path
from typing import Any

import pytest
from tests.support.vault import PROTECTIONS, Key, Vault, published

from keyfold.client.material import read_key_material
from keyfold.custody import KeyReference, Protection, encrypt, verify
from keyfold.events.errors import InvalidCiphertext
from keyfold.events.specs import ALGORITHMS

pytestmark = pytest.mark.token

LEVELS = pytest.mark.parametrize("protection", PROTECTIONS)
ED25519 = "ECC_NIST_EDWARDS25519"
GENERATED: dict[str, tuple[str, ...]] = {
    "RSA_2048": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
    **{f"ECC_NIST_P{n}": ("-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:P-{n}") for n in (256, 384, 521)},
    ED25519: ("-algorithm", "ED25519"),
}
LARGE = {
    f"RSA_{bits}": bytes.fromhex(published(f"wycheproof/rsa_pkcs1_{bits}_sig_gen")[0][0]["privateKeyPkcs8"])
    for bits in (3072, 4096)
}
SPECS = (*GENERATED, *LARGE)
SIGNING = [
    (spec, algorithm, protection)
    for spec in SPECS
    for algorithm in ALGORITHMS[spec, "SIGN_VERIFY"]
    for protection in PROTECTIONS
]


@dataclass(frozen=True)
class Program:
    """The program in a folder of its own; each call has its inputs and outputs in files there."""

    path: str
    folder: Path

    def run(self, *arguments: str) -> None:
        """Run it; what it says is in the failure."""
        done = subprocess.run([self.path, *arguments], cwd=self.folder, capture_output=True, check=False)
        assert done.returncode == 0, (arguments, done.stderr)

    def accepts(self, *arguments: str) -> bool:
        """Whether it succeeds."""
        return (
            subprocess.run([self.path, *arguments], cwd=self.folder, capture_output=True, check=False).returncode == 0
        )

    def put(self, name: str, data: bytes) -> str:
        """Write an input."""
        (self.folder / name).write_bytes(data)
        return name

    def get(self, name: str) -> bytes:
        """Read an output."""
        return (self.folder / name).read_bytes()


@pytest.fixture(scope="module")
def openssl(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The program, and a key of its own of every spec in <spec>.pem and <spec>.pub, made when first asked for."""
    path = shutil.which("openssl")
    if path is None:
        pytest.fail("these tests need the program openssl; install the package openssl", pytrace=False)
    return Program(path, tmp_path_factory.mktemp("openssl"))


Bring = Callable[[str, str, Protection], Key]


@pytest.fixture(scope="module")
def bring(vault: Vault, openssl: Program) -> Bring:
    """Import OpenSSL's key of a spec, from its PEM file as the client reads it."""

    @cache
    def make(spec: str) -> bytes:
        if spec in LARGE:
            openssl.put("large.der", LARGE[spec])
            openssl.run("pkey", "-inform", "DER", "-in", "large.der", "-out", f"{spec}.pem")
        else:
            openssl.run("genpkey", *GENERATED[spec], "-out", f"{spec}.pem")
        openssl.run("pkey", "-in", f"{spec}.pem", "-pubout", "-out", f"{spec}.pub")
        return openssl.get(f"{spec}.pem")

    def imported(spec: Any, usage: str, protection: Protection) -> Key:
        material = read_key_material(make(spec), spec)
        if (spec, protection) == (ED25519, "HSM"):  # no token imports it: made there, and its public key given away
            key = vault.generate(spec, usage, protection)
            openssl.put("token.der", key.public_key)
            openssl.run("pkey", "-pubin", "-inform", "DER", "-in", "token.der", "-out", "token.pub")
            return key
        return vault.bring(spec, usage, protection, material.data)

    return imported


def public_file(spec: str, protection: Protection) -> str:
    """The file with the public key of what `bring` gave."""
    return "token.pub" if (spec, protection) == (ED25519, "HSM") else f"{spec}.pub"


def scheme(algorithm: str) -> list[str]:
    """OpenSSL's arguments for hash and padding."""
    sha = f"sha{algorithm.rpartition('_')[2]}"
    if algorithm.startswith("RSASSA_PSS"):
        size = str(int(sha[3:]) // 8)
        return [f"-{sha}", *_options(f"rsa_padding_mode:pss rsa_pss_saltlen:{size} rsa_mgf1_md:{sha}", "-sigopt")]
    return [f"-{sha}"]


def _options(text: str, name: str) -> list[str]:
    return [part for option in text.split() for part in (name, option)]


def verifies(openssl: Program, public: str, algorithm: str, message: bytes, signature: bytes) -> bool:
    """Whether OpenSSL accepts a signature."""
    openssl.put("message", message)
    openssl.put("signature", signature)
    if algorithm == "ED25519_SHA_512":
        call = ("pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", public, "-sigfile", "signature", "-in", "message")
        return openssl.accepts(*call)
    return openssl.accepts("dgst", *scheme(algorithm), "-verify", public, "-signature", "signature", "message")


@pytest.mark.parametrize(("spec", "algorithm", "protection"), SIGNING)
def test_openssl_verifies_our_signatures(
    bring: Bring, openssl: Program, spec: str, algorithm: str, protection: Protection
) -> None:
    """Of a message and of its digest; not of another message."""
    key, public = bring(spec, "SIGN_VERIFY", protection), public_file(spec, protection)
    (made,) = key.operations.sign(key.handle, algorithm, "RAW", [b"message"])
    assert isinstance(made, bytes)
    assert verifies(openssl, public, algorithm, b"message", made)
    assert not verifies(openssl, public, algorithm, b"another", made)
    if spec != ED25519:
        digest = new(f"sha{algorithm[-3:]}", b"message").digest()
        (made,) = key.operations.sign(key.handle, algorithm, "DIGEST", [digest])
        assert isinstance(made, bytes)
        assert verifies(openssl, public, algorithm, b"message", made)


@pytest.mark.parametrize(("spec", "algorithm"), [each[:2] for each in SIGNING[::2]])
def test_we_verify_the_signatures_of_openssl(bring: Bring, openssl: Program, spec: str, algorithm: str) -> None:
    """With the public key that the import gave."""
    key = bring(spec, "SIGN_VERIFY", "SOFTWARE")
    openssl.put("message", b"message")
    if spec == ED25519:
        openssl.run("pkeyutl", "-sign", "-rawin", "-inkey", f"{spec}.pem", "-in", "message", "-out", "signature")
    else:
        openssl.run("dgst", *scheme(algorithm), "-sign", f"{spec}.pem", "-out", "signature", "message")
    pairs = [(each, openssl.get("signature")) for each in (b"message", b"another")]
    assert verify(key.public_key, algorithm, "RAW", pairs) == [True, False]


@LEVELS
@pytest.mark.parametrize("spec", [each for each in SPECS if each != ED25519])
def test_an_imported_key_has_the_public_key_of_openssl(
    bring: Bring, openssl: Program, spec: str, protection: Protection
) -> None:
    """Byte for byte, for every usage of the spec."""
    for usage in [its for its_spec, its in ALGORITHMS if its_spec == spec]:
        key = bring(spec, usage, protection)
        openssl.run("pkey", "-in", f"{spec}.pem", "-pubout", "-outform", "DER", "-out", "public.der")
        assert key.public_key == openssl.get("public.der"), usage


@LEVELS
@pytest.mark.parametrize("sha", ["1", "256"])
@pytest.mark.parametrize("spec", ["RSA_2048", "RSA_3072", "RSA_4096"])
def test_oaep_both_ways(bring: Bring, openssl: Program, spec: str, sha: str, protection: Protection) -> None:
    """OpenSSL encrypts and we decrypt; we encrypt and OpenSSL decrypts; with another hash nothing opens."""
    key, algorithm = bring(spec, "ENCRYPT_DECRYPT", protection), f"RSAES_OAEP_SHA_{sha}"
    options = _options(f"rsa_padding_mode:oaep rsa_oaep_md:sha{sha} rsa_mgf1_md:sha{sha}", "-pkeyopt")
    openssl.put("plain", b"secret")
    call = ("-in", "plain", "-out", "encrypted")
    openssl.run("pkeyutl", "-encrypt", "-pubin", "-inkey", f"{spec}.pub", *options, *call)
    encrypted = openssl.get("encrypted")
    assert key.operations.decrypt(key.handle, algorithm, [encrypted]) == [b"secret"]
    (refused,) = key.operations.decrypt(key.handle, f"RSAES_OAEP_SHA_{'1' if sha == '256' else '256'}", [encrypted])
    assert isinstance(refused, InvalidCiphertext)
    (made,) = encrypt(key.public_key, algorithm, [b"another"])
    assert isinstance(made, bytes)
    openssl.put("encrypted", made)
    call = ("-in", "encrypted", "-out", "plain")
    openssl.run("pkeyutl", "-decrypt", "-inkey", f"{spec}.pem", *options, *call)
    assert openssl.get("plain") == b"another"


@LEVELS
@pytest.mark.parametrize("curve", ["P-256", "P-384", "P-521"])
def test_both_derive_the_same_secret(bring: Bring, openssl: Program, curve: str, protection: Protection) -> None:
    """OpenSSL with its own key and our public one; we the other way round."""
    key = bring(f"ECC_NIST_{curve.replace('-', '')}", "KEY_AGREEMENT", protection)
    openssl.put("ours.der", key.public_key)
    openssl.run("genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}", "-out", "peer.pem")
    openssl.run("pkey", "-in", "peer.pem", "-pubout", "-outform", "DER", "-out", "peer.der")
    call = ("-peerkey", "ours.der", "-peerform", "DER", "-out", "secret")
    openssl.run("pkeyutl", "-derive", "-inkey", "peer.pem", *call)
    assert key.operations.derive(key.handle, [openssl.get("peer.der")]) == [openssl.get("secret")]


def wrapped_by_openssl(vault: Vault, openssl: Program, material: bytes) -> bytes:
    """CKM_RSA_AES_KEY_WRAP (PKCS #11 v3.1, section 6.1.17) in two calls: OAEP of an AES key, and AES-KWP."""
    assert vault.import_key.public_key is not None
    ephemeral, options = os.urandom(32), "rsa_padding_mode:oaep rsa_oaep_md:sha256 rsa_mgf1_md:sha256"
    openssl.put("wrapping.der", vault.import_key.public_key)
    openssl.put("ephemeral", ephemeral)
    openssl.put("material", material)
    call = ("-keyform", "DER", *_options(options, "-pkeyopt"), "-in", "ephemeral", "-out", "wrapped")
    openssl.run("pkeyutl", "-encrypt", "-pubin", "-inkey", "wrapping.der", *call)
    # The program takes the key of a cipher from its command line only; this one protects a key of this test.
    key = ("-K", ephemeral.hex(), "-iv", "A65959A6")
    openssl.run("enc", "-id-aes256-wrap-pad", *key, "-in", "material", "-out", "wrapped2")
    return openssl.get("wrapped") + openssl.get("wrapped2")


@LEVELS
@pytest.mark.parametrize("spec", ["SYMMETRIC_DEFAULT", "HMAC_256", "RSA_2048", "ECC_NIST_P256", "ECC_NIST_P521"])
def test_material_that_openssl_wrapped(
    vault: Vault, bring: Bring, openssl: Program, spec: str, protection: Protection
) -> None:
    """Is imported, and is the same material as by the client's wrapping."""
    usage = {"S": "ENCRYPT_DECRYPT", "H": "GENERATE_VERIFY_MAC"}.get(spec[0], "SIGN_VERIFY")
    if usage == "SIGN_VERIFY":
        bring(spec, usage, "SOFTWARE")
        openssl.run("pkcs8", "-topk8", "-nocrypt", "-in", f"{spec}.pem", "-outform", "DER", "-out", "key.der")
    material = openssl.get("key.der") if usage == "SIGN_VERIFY" else os.urandom(32)
    reference = KeyReference(os.urandom(16), 1, spec, protection, usage)
    by_openssl = vault.imported(reference, wrapped_by_openssl(vault, openssl, material))
    by_client = vault.imported(reference, vault.wrap(spec, material))
    assert by_openssl.material_check == by_client.material_check
    assert by_openssl.key_check_value == by_client.key_check_value
    vault.custody.open(reference, by_openssl.blob).destroy()
    damaged = bytearray(wrapped_by_openssl(vault, openssl, material))
    damaged[-1] ^= 1
    with pytest.raises(InvalidCiphertext):
        vault.imported(reference, bytes(damaged))
