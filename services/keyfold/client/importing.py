"""Wrapping key material for an import, in the layout of `keyfold.events.import_format`. No deployment is needed.

What is made here opens only in the worker that made the wrapping key. Whose public key that is, is for the caller to
know: it comes from `get_parameters_for_import`, whose answer is sealed to the caller.
"""

import os
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding

from keyfold.client.errors import InvalidArgument
from keyfold.client.material import KeyMaterial
from keyfold.client.results import ImportParameters
from keyfold.client.verifying import load_public_key
from keyfold.events.import_format import EPHEMERAL_KEY_BYTES, MODULUS_BYTES, takes

_OAEP: Final = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)


def wrap_key_material(parameters: ImportParameters, material: KeyMaterial) -> bytes:
    """Return material wrapped for one import, each time under a fresh key. Raises `InvalidArgument`."""
    algorithm, key = parameters.wrapping_algorithm, load_public_key(parameters.public_key)
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size // 8 not in MODULUS_BYTES.values():
        raise InvalidArgument("the public key of an import is RSA-3072 or RSA-4096")
    if not takes(algorithm, material.key_spec):
        raise InvalidArgument(f"{algorithm} does not wrap material of {material.key_spec}")
    if algorithm == "RSAES_OAEP_SHA_256":
        return key.encrypt(material.data, _OAEP)
    ephemeral = os.urandom(EPHEMERAL_KEY_BYTES)
    return key.encrypt(ephemeral, _OAEP) + aes_key_wrap_with_padding(ephemeral, material.data)
