"""What the verbs that use a key take as arguments: algorithms, versions, sizes. Part of `arguments`, of the same kind.

Items of these verbs are in the sealed body; here only form and bounds are said.
"""

from typing import Annotated

from pydantic import Field

from keyfold.events.arguments import MAX_ITEMS, KeyVersionNumber
from keyfold.events.specs import (
    EncryptionAlgorithm,
    KeyAgreementAlgorithm,
    KeyEncapsulationAlgorithm,
    KeyPairSpec,
    MacAlgorithm,
    MessageType,
    SigningAlgorithm,
)
from keyfold.events.streams import KeyId
from keyfold.events.strictjson import Frozen


class EncryptArguments(Frozen):
    encryption_algorithm: EncryptionAlgorithm = "SYMMETRIC_DEFAULT"


class DecryptArguments(Frozen):
    """`key_version` is for RSA keys, whose ciphertexts do not name it (None: the current version)."""

    encryption_algorithm: EncryptionAlgorithm = "SYMMETRIC_DEFAULT"
    key_version: KeyVersionNumber | None = None


class SignArguments(Frozen):
    """Items are messages; with `DIGEST` digests of the algorithm's hash, with `EXTERNAL_MU` 64-byte ML-DSA values."""

    signing_algorithm: SigningAlgorithm
    message_type: MessageType = "RAW"


class VerifyArguments(Frozen):
    """Items are pairs of signature and message (`keyfold.events.parts`). `key_version` None is the current version."""

    signing_algorithm: SigningAlgorithm
    message_type: MessageType = "RAW"
    key_version: KeyVersionNumber | None = None


class GenerateMacArguments(Frozen):
    mac_algorithm: MacAlgorithm


class VerifyMacArguments(Frozen):
    """Items are pairs of MAC and message (`keyfold.events.parts`). `key_version` None is the current version."""

    mac_algorithm: MacAlgorithm
    key_version: KeyVersionNumber | None = None


class DeriveSharedSecretArguments(Frozen):
    """Items are the other side's public keys, DER (SubjectPublicKeyInfo)."""

    key_agreement_algorithm: KeyAgreementAlgorithm = "ECDH"
    key_version: KeyVersionNumber | None = None


class EncapsulateArguments(Frozen):
    """Items are empty; each gives a fresh shared secret and what encapsulates it."""

    key_encapsulation_algorithm: KeyEncapsulationAlgorithm = "ML_KEM"


class DecapsulateArguments(Frozen):
    key_encapsulation_algorithm: KeyEncapsulationAlgorithm = "ML_KEM"
    key_version: KeyVersionNumber | None = None


class DataKeyPairArguments(Frozen):
    key_pair_spec: KeyPairSpec


class ReEncryptFromArguments(Frozen):
    """The first half of re-encryption to another key: results are parcels that only `ReEncryptTo` there can open."""

    destination_key_id: KeyId


class ReEncryptToArguments(Frozen):
    """The second half: items are parcels of `ReEncryptFrom`, contexts those to encrypt under."""

    source_key_id: KeyId


class DataKeyArguments(Frozen):
    number_of_bytes: Annotated[int, Field(ge=1, le=1024)] = 32


class ReEncryptArguments(Frozen):
    """`destination` maps each context index to the index of the context to encrypt under; empty keeps them."""

    destination: Annotated[list[Annotated[int, Field(ge=0, lt=MAX_ITEMS)]], Field(max_length=MAX_ITEMS)] = Field(
        default_factory=list
    )
