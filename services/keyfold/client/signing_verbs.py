"""Verbs that sign, authenticate and verify. What may be raised, and what `use` is, is in `using`.

A verification answers what was asked: whether this is the key's signature (or MAC) for this message. So `verify` and
`verify_mac` return a bool and a batch a list of them, and only that verdict is False: whatever kept the service from
one (a key that may not be used, a denial, a deadline) is raised, and never looks like a forged signature. Look at the
result: a call alone proves nothing.

`message_type` says what the message is: `RAW` the message itself; `DIGEST` its digest by the algorithm's hash;
`EXTERNAL_MU` the 64 bytes that ML-DSA signs (FIPS 204). A RAW message that is longer than a command holds is sent as
its digest, where the algorithm has that: the signature is the same.
"""

from collections.abc import Sequence
from typing import Final, Unpack

from keyfold.client.core import Batched, item_bytes
from keyfold.client.errors import InvalidArgument
from keyfold.client.settings import MAX_BODY_BYTES
from keyfold.client.using import Use, Using, use_arguments
from keyfold.client.values import Mac, Signature, each
from keyfold.client.verifying import digest
from keyfold.events import parts
from keyfold.events.errors import InternalError, InvalidMac, InvalidSignature, KeyfoldError
from keyfold.events.specs import DIGEST_BYTES, MU_BYTES, MacAlgorithm, MessageType, SigningAlgorithm, message_types

_LONGEST: Final = MAX_BODY_BYTES - 8 * 1024
"""A message that is longer is signed and verified as its digest: beside it, a command has room for a signature."""

_NO: Final[dict[str, type[KeyfoldError]]] = {"Verify": InvalidSignature, "VerifyMac": InvalidMac}
"""The one error of a verb that is a verdict."""


class SigningVerbs(Using):
    """Sign, Verify, GenerateMac and VerifyMac."""

    async def sign(
        self,
        key: str,
        message: bytes,
        *,
        signing_algorithm: SigningAlgorithm,
        message_type: MessageType = "RAW",
        **use: Unpack[Use],
    ) -> Signature:
        """Sign with the key's current version."""
        (data,), kind = prepared([message], signing_algorithm, message_type)
        arguments = use_arguments("Sign", signing_algorithm=signing_algorithm, message_type=kind)
        return Signature(*await self._one("Sign", key, data, None, use, arguments=arguments))

    async def verify(
        self,
        key: str,
        message: bytes,
        signature: bytes,
        *,
        signing_algorithm: SigningAlgorithm,
        message_type: MessageType = "RAW",
        key_version: int | None = None,
        **use: Unpack[Use],
    ) -> bool:
        """Tell whether this is the signature of `key_version` (None: the current one) for this message."""
        (data,), kind = prepared([message], signing_algorithm, message_type)
        arguments = use_arguments(
            "Verify", signing_algorithm=signing_algorithm, message_type=kind, key_version=key_version
        )
        return await self._verdict("Verify", key, _joined(signature, data), use, arguments)

    async def sign_batch(
        self,
        key: str,
        messages: Sequence[bytes],
        *,
        signing_algorithm: SigningAlgorithm,
        message_type: MessageType = "RAW",
        **use: Unpack[Use],
    ) -> list[Signature | KeyfoldError]:
        """Sign many messages; see `sign` and `encrypt_batch`."""
        data, kind = prepared(messages, signing_algorithm, message_type)
        arguments = use_arguments("Sign", signing_algorithm=signing_algorithm, message_type=kind)
        return each(await self._many_plain("Sign", key, data, use, arguments), Signature)

    async def verify_batch(
        self,
        key: str,
        pairs: Sequence[tuple[bytes, bytes]],
        *,
        signing_algorithm: SigningAlgorithm,
        message_type: MessageType = "RAW",
        key_version: int | None = None,
        **use: Unpack[Use],
    ) -> list[bool]:
        """Verify many pairs of message and signature. Raises the first item's error that is no verdict."""
        data, kind = prepared([message for message, _ in pairs], signing_algorithm, message_type)
        arguments = use_arguments(
            "Verify", signing_algorithm=signing_algorithm, message_type=kind, key_version=key_version
        )
        items = [_joined(signature, message) for (_, signature), message in zip(pairs, data, strict=True)]
        return _verdicts(await self._many_plain("Verify", key, items, use, arguments), _NO["Verify"])

    async def generate_mac(self, key: str, message: bytes, *, mac_algorithm: MacAlgorithm, **use: Unpack[Use]) -> Mac:
        """Return the HMAC of a message by the key's current version."""
        arguments = use_arguments("GenerateMac", mac_algorithm=mac_algorithm)
        return Mac(*await self._one("GenerateMac", key, item_bytes(message), None, use, arguments=arguments))

    async def verify_mac(
        self,
        key: str,
        message: bytes,
        mac: bytes,
        *,
        mac_algorithm: MacAlgorithm,
        key_version: int | None = None,
        **use: Unpack[Use],
    ) -> bool:
        """Tell whether this is the whole HMAC by `key_version` (None: the current one) of this message."""
        arguments = use_arguments("VerifyMac", mac_algorithm=mac_algorithm, key_version=key_version)
        return await self._verdict("VerifyMac", key, _joined(mac, message), use, arguments)

    async def generate_mac_batch(
        self, key: str, messages: Sequence[bytes], *, mac_algorithm: MacAlgorithm, **use: Unpack[Use]
    ) -> list[Mac | KeyfoldError]:
        """Return the HMACs of many messages; see `encrypt_batch`."""
        arguments = use_arguments("GenerateMac", mac_algorithm=mac_algorithm)
        return each(await self._many_plain("GenerateMac", key, messages, use, arguments), Mac)

    async def verify_mac_batch(
        self,
        key: str,
        pairs: Sequence[tuple[bytes, bytes]],
        *,
        mac_algorithm: MacAlgorithm,
        key_version: int | None = None,
        **use: Unpack[Use],
    ) -> list[bool]:
        """Verify many pairs of message and MAC; see `verify_batch`."""
        arguments = use_arguments("VerifyMac", mac_algorithm=mac_algorithm, key_version=key_version)
        items = [_joined(mac, message) for message, mac in pairs]
        return _verdicts(await self._many_plain("VerifyMac", key, items, use, arguments), _NO["VerifyMac"])

    async def _verdict(self, verb: str, key: str, item: bytes, use: Use, arguments: str) -> bool:
        try:
            data, _ = await self._one(verb, key, item, None, use, arguments=arguments)
        except _NO[verb]:
            return False
        return _valid(data)


def prepared(
    messages: Sequence[bytes], algorithm: SigningAlgorithm, message_type: MessageType
) -> tuple[list[bytes], MessageType]:
    """Return messages as they are sent, and what they are then. Raises `InvalidArgument` and `BatchTooLarge`."""
    if message_type not in message_types(algorithm):
        raise InvalidArgument(f"{algorithm} takes messages of type {' or '.join(message_types(algorithm))}")
    if message_type == "RAW":
        if algorithm in DIGEST_BYTES and any(len(message) > _LONGEST for message in messages):
            return [digest(algorithm, message) for message in messages], "DIGEST"
        return [item_bytes(message) for message in messages], "RAW"
    size = MU_BYTES if message_type == "EXTERNAL_MU" else DIGEST_BYTES[algorithm]
    if any(len(message) != size for message in messages):
        raise InvalidArgument(f"{message_type} of {algorithm} has {size} bytes")
    return [item_bytes(message) for message in messages], message_type


def _joined(proof: bytes, message: bytes) -> bytes:
    return item_bytes(parts.join(item_bytes(proof), item_bytes(message)))


def _verdicts(batch: Batched, invalid: type[KeyfoldError]) -> list[bool]:
    found: list[bool] = []
    for result in batch.results:
        if isinstance(result, KeyfoldError) and not isinstance(result, invalid):
            raise result
        found.append(not isinstance(result, KeyfoldError) and _valid(result))
    return found


def _valid(data: bytes) -> bool:
    """A valid signature's result is empty. Anything else is no verdict, and must not pass for one."""
    if data:
        raise InternalError("the service answered with a malformed verdict; see its logs")
    return True
