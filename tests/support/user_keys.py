"""The keys of a responder that are used by algorithms other than symmetric encryption, and its open imports."""

import base64
from dataclasses import dataclass, field
from typing import Any

from tests.support import pairs

from keyfold.events.command_envelope import Command, DataPlaneData
from keyfold.events.replies import ItemResult
from keyfold.events.specs import default_usage
from keyfold.events.streams import key_id_of


@dataclass
class UserKeys:
    """`versions` holds the material of each key, `imports` private key and wrapping algorithm by import token."""

    specs: dict[str, tuple[str, str]] = field(default_factory=dict)
    versions: dict[str, list[Any]] = field(default_factory=dict)
    imports: dict[str, tuple[Any, str]] = field(default_factory=dict)

    def create(self, key_id: str, arguments: Any) -> None:
        """Make the first version; a key of origin EXTERNAL waits for it."""
        spec, usage = arguments.key_spec, arguments.key_usage or default_usage(arguments.key_spec)
        self.specs[key_id] = spec, usage or ""
        if arguments.origin == "EXTERNAL":
            self.versions[key_id] = []
        elif spec != "SYMMETRIC_DEFAULT":
            self.versions[key_id] = [pairs.make(spec)]

    def rotate(self, key_id: str) -> None:
        """Make the next version."""
        made = self.versions.get(key_id)
        if made is not None:
            made.append(pairs.make(self.specs[key_id][0], len(made)))

    def told(self, command: Command) -> dict[str, Any]:
        """What the summaries of two verbs say beside the version."""
        arguments, key_id = command.data.arguments, key_id_of(command.subject) or ""
        if command.verb == "GetPublicKey" and key_id in self.versions:
            version = arguments.key_version or len(self.versions[key_id])
            public = base64.b64encode(pairs.spki(self.versions[key_id][version - 1])).decode()
            spec, usage = self.specs[key_id]
            return {"version": version, "key_spec": spec, "key_usage": usage, "public_key": public}
        if command.verb == "GetParametersForImport":
            private = pairs.rsa_key(int(arguments.wrapping_key_spec[4:]))
            self.imports[command.id] = private, arguments.wrapping_algorithm
            public = base64.b64encode(pairs.spki(private)).decode()
            told = {"import_token": command.id, "wrapping_algorithm": arguments.wrapping_algorithm}
            end = {"expires_at": "2999-01-31T12:00:00.000Z"}
            return {**told, **end, "version": arguments.key_version or 1, "public_key": public}
        return {}

    def answer(self, command: Command, data: bytes) -> ItemResult | None:
        """Use a key on one item; None where it is not one of these."""
        key_id, arguments = key_id_of(command.subject) or "", command.data.arguments
        if key_id not in self.versions:
            return None
        assert isinstance(command.data, DataPlaneData)
        assert command.data.contexts == [{}]
        if command.verb == "ImportKeyMaterial":
            return self._import(key_id, arguments.import_token, data)
        version = getattr(arguments, "key_version", None) or len(self.versions[key_id])
        return pairs.use(command.verb, arguments, self.versions[key_id][version - 1], data)

    def _import(self, key_id: str, token: str, wrapped: bytes) -> ItemResult:
        found = self.imports.pop(token, None)
        if found is None:
            return ItemResult(b"", "ImportTokenInvalid")
        material = pairs.unwrap_material(*found, wrapped)
        if material is None:
            return ItemResult(b"", "InvalidCiphertext")
        self.versions[key_id].append(material)
        return ItemResult(b'{"key_check_value":"abcdef"}')
