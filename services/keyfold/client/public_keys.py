"""Public keys of key versions, as values: from the service's answer, or from the directory's signed events."""

import base64
from dataclasses import dataclass, field
from typing import get_args

from keyfold.client.errors import InvalidArgument
from keyfold.client.verifying import to_pem, verify_signature
from keyfold.events import facts
from keyfold.events.specs import ALGORITHMS, KeySpec, KeyUsage, MessageType, SigningAlgorithm


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The public half of one key version: `public_key` is SubjectPublicKeyInfo, DER."""

    key_id: str
    version: int
    key_spec: KeySpec
    key_usage: KeyUsage
    public_key: bytes = field(repr=False)

    def pem(self) -> str:
        """Return the key as PEM."""
        return to_pem(self.public_key)

    def verify(
        self,
        message: bytes,
        signature: bytes,
        *,
        signing_algorithm: SigningAlgorithm | None = None,
        message_type: MessageType = "RAW",
    ) -> bool:
        """Tell, without the service, whether this is this version's signature. RSA keys need their algorithm named.

        That the version is not compromised is not known here. Raises `InvalidArgument` for what does not fit the key.
        """
        if self.key_usage != "SIGN_VERIFY":
            raise InvalidArgument(f"this key is for {self.key_usage}; it signs nothing")
        algorithm = signing_algorithm or self._only_algorithm()
        return verify_signature(
            self.public_key, message, signature, signing_algorithm=algorithm, message_type=message_type
        )

    def _only_algorithm(self) -> SigningAlgorithm:
        known = ALGORITHMS.get((self.key_spec, "SIGN_VERIFY"), ())
        algorithms: tuple[SigningAlgorithm, ...] = get_args(SigningAlgorithm)
        for algorithm in algorithms:
            if known == (algorithm,):
                return algorithm
        raise InvalidArgument(f"name the signing algorithm: {self.key_spec} has {len(known)} of them")


def stated(event: facts.KeyMaterialGenerated | facts.KeyMaterialImported) -> PublicKey | None:
    """Return the public key that an event states; None for secret keys."""
    data = event.data
    if data.public_key is None:
        return None
    return PublicKey(data.key_id, data.version, data.key_spec, data.key_usage, base64.b64decode(data.public_key))
