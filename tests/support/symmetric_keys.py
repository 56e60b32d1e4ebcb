"""The symmetric keys of a responder: what the service would make of one item of a data-plane verb."""

import json
import os
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.support import pairs

from keyfold.events import parts
from keyfold.events.command_envelope import Command, DataPlaneData
from keyfold.events.replies import ItemResult
from keyfold.events.streams import key_id_of


@dataclass
class SymmetricKeys:
    """Every key is derived from one secret and the key's stream; a key has one material, whatever its version."""

    secret: bytes = field(default_factory=lambda: os.urandom(32))

    def answer(self, command: Command, index: int, data: bytes) -> ItemResult:
        """Use the command's key on one item. `index` is that of the item's context among the command's."""
        verb = command.verb
        arguments: Any = command.data.arguments
        assert isinstance(command.data, DataPlaneData)
        contexts = [json.dumps(context, sort_keys=True).encode() for context in command.data.contexts]
        key = AESGCM(sha256(self.secret + command.subject.encode()).digest())
        if "crypt" in verb and verb != "Encrypt":
            opening, context = (self._transfer(command), b"") if verb == "ReEncryptTo" else (key, contexts[index])
            try:
                data = opening.decrypt(data[:12], data[12:], context)
            except (InvalidTag, ValueError):
                return ItemResult(b"", "InvalidCiphertext")
        if "DataKey" in verb:
            return self._data_key(verb, arguments, key, contexts[index])
        if verb == "ReEncryptFrom":
            return ItemResult(_sealed(self._transfer(command), data, b""))
        destination = getattr(arguments, "destination", None)
        context = contexts[destination[index] if destination else index]
        return ItemResult(data if verb == "Decrypt" else _sealed(key, data, context))

    def _data_key(self, verb: str, arguments: Any, key: AESGCM, context: bytes) -> ItemResult:
        if "Pair" in verb:
            pair = pairs.make(arguments.key_pair_spec)
            private, public = pairs.pkcs8(pair), pairs.spki(pair)
            told = (public, _sealed(key, private, context))
            return ItemResult(parts.join(*told) if "Without" in verb else parts.join(private, *told))
        fresh = os.urandom(arguments.number_of_bytes)
        ciphertext = _sealed(key, fresh, context)
        return ItemResult(ciphertext if "Without" in verb else len(fresh).to_bytes(2, "big") + fresh + ciphertext)

    def _transfer(self, command: Command) -> AESGCM:
        """What seals parcels between the two halves of re-encryption to another key."""
        here, arguments = key_id_of(command.subject) or "", command.data.arguments
        to = getattr(arguments, "destination_key_id", None)
        ends = here + to if to else arguments.source_key_id + here
        return AESGCM(sha256(self.secret + ends.encode()).digest())


def _sealed(key: AESGCM, data: bytes, context: bytes) -> bytes:
    nonce = os.urandom(12)
    return nonce + key.encrypt(nonce, data, context)
