"""Forms of key material, by key spec and usage: its code in a blob, its kind in a token, its size or curve. One table.

Codes are part of the blob format and are never given to another form.
"""

from typing import Final, NamedTuple

from keyfold.custody.references import KeyReference
from keyfold.events.errors import Unsupported
from keyfold.token import kinds
from keyfold.token.kinds import Kind

IMPORT_USAGE: Final = "IMPORT"
"""The usage of the RSA keys that material is wrapped with on its way here. No key of a user has it."""
SYMMETRIC_CODE: Final = 1


class Form(NamedTuple):
    """`kind` is None where no token has the spec, or none wraps it. `size`: bytes of a secret key, bits of an RSA key;
    `curve`: CKA_EC_PARAMS, and the curve's name in `cryptography`."""

    code: int
    kind: Kind | None
    size: int = 0
    curve: bytes = b""
    curve_name: str = ""


_CURVES: Final = {
    "ECC_NIST_P256": (bytes.fromhex("06082a8648ce3d030107"), "secp256r1"),  # OIDs of RFC 5480, section 2.1.1.1
    "ECC_NIST_P384": (bytes.fromhex("06052b81040022"), "secp384r1"),
    "ECC_NIST_P521": (bytes.fromhex("06052b81040023"), "secp521r1"),
}
_HMACS: Final = (28, 32, 48, 64)
_RSA: Final = (2048, 3072, 4096)

FORMS: Final[dict[tuple[str, str], Form]] = {
    ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"): Form(SYMMETRIC_CODE, kinds.AES, 32),
    **{(f"HMAC_{8 * size}", "GENERATE_VERIFY_MAC"): Form(2 + at, kinds.HMAC, size) for at, size in enumerate(_HMACS)},
    **{(f"RSA_{bits}", "ENCRYPT_DECRYPT"): Form(6 + at, kinds.RSA_DECRYPT, bits) for at, bits in enumerate(_RSA)},
    **{(f"RSA_{bits}", "SIGN_VERIFY"): Form(9 + at, kinds.RSA_SIGN, bits) for at, bits in enumerate(_RSA)},
    **{(spec, "SIGN_VERIFY"): Form(12 + at, kinds.EC_SIGN, 0, *_CURVES[spec]) for at, spec in enumerate(_CURVES)},
    **{(spec, "KEY_AGREEMENT"): Form(15 + at, kinds.EC_DERIVE, 0, *_CURVES[spec]) for at, spec in enumerate(_CURVES)},
    ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY"): Form(18, None),
    **{(f"ML_DSA_{level}", "SIGN_VERIFY"): Form(19 + at, None) for at, level in enumerate((44, 65, 87))},
    **{(f"ML_KEM_{level}", "KEY_ENCAPSULATION"): Form(23 + at, None) for at, level in enumerate((768, 1024))},
    ("RSA_3072", IMPORT_USAGE): Form(32, kinds.RSA_IMPORT, 3072),
    ("RSA_4096", IMPORT_USAGE): Form(33, kinds.RSA_IMPORT, 4096),
}
SPECS: Final = {form.code: spec for (spec, _), form in FORMS.items()}
"""The key spec by the code in a blob."""


def form_of(reference: KeyReference) -> Form:
    """Return the form of a key version's material. Raises `Unsupported`."""
    form = FORMS.get((reference.spec, reference.usage))
    if form is None:
        raise Unsupported(f"a key of spec {reference.spec} and usage {reference.usage} is not offered here")
    return form


def import_reference(import_id: bytes, wrapping_spec: str) -> KeyReference:
    """Name an import key as if it were a key's first version: its blob is bound to the import's id."""
    if len(import_id) != 16:
        raise ValueError("an import id has 16 bytes")
    reference = KeyReference(import_id, 1, wrapping_spec, "HSM", IMPORT_USAGE)
    form_of(reference)
    return reference
