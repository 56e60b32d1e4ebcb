"""Entities: the current state of keys, principals, aliases, policies and sealing keys, as frozen values.

An entity has one name (`key/<id>`, `principal/<id>`, `alias/<name>`, `policy/<name>`, `sealing-key/<id>`, …), under
which policy keeps it in its state topic. How events change entities is in `evolve`.
"""

from typing import Final, Literal

from pydantic import Field

from keyfold.events.commands import KeySpec, Protection, Tags
from keyfold.events.streams import AliasName, Fingerprint, KeyId, Name, Uuid
from keyfold.events.strictjson import Frozen

KeyStatus = Literal["Enabled", "Disabled", "PendingDeletion", "Destroyed", "Failed"]
VersionStatus = Literal["Active", "Destroyed", "Failed"]

MAX_PROTECTED_ITEMS: Final = 2**31


class KeyVersion(Frozen):
    """One version of a key's material. `offset` is the command that made it; `protected_items` counts its use."""

    version: int
    offset: int
    created_at: str
    status: VersionStatus = "Active"
    protected_items: int = 0


class AttachedPolicy(Frozen):
    """Cedar text under a name, on a key or on the registry."""

    policy: Name
    text: str


class Key(Frozen):
    """A key and its versions; `policy_revision` counts changes of the key's own policies."""

    kind: Literal["key"] = "key"
    key_id: KeyId
    key_spec: KeySpec
    protection: Protection
    description: str
    tags: Tags
    status: KeyStatus
    created_at: str
    created_by: Name
    versions: tuple[KeyVersion, ...]
    current_version: int
    reason: str = ""
    deletion_date: str | None = None
    policies: tuple[AttachedPolicy, ...] = ()
    policy_revision: int = 0

    def version(self, number: int) -> KeyVersion:
        """Return a version; versions are numbered from 1 without holes. Raises KeyError."""
        if not 1 <= number <= len(self.versions):
            raise KeyError(f"key/{self.key_id} version {number}")
        return self.versions[number - 1]


class Principal(Frozen):
    """Who may sign commands. `public_key` is raw Ed25519, hex; a revoked principal stays, so its name is not reused."""

    kind: Literal["principal"] = "principal"
    principal: Name
    public_key: Fingerprint
    signing_key: Fingerprint
    groups: tuple[Name, ...] = ()
    tags: Tags = Field(default_factory=dict)
    status: Literal["Active", "Revoked"] = "Active"
    registered_at: str


class SigningKey(Frozen):
    """Index from a signing key's fingerprint to its principal."""

    kind: Literal["signing-key"] = "signing-key"
    principal: Name


class Alias(Frozen):
    kind: Literal["alias"] = "alias"
    alias: AliasName
    key_id: KeyId
    updated_at: str


class RegistryPolicy(Frozen):
    kind: Literal["policy"] = "policy"
    policy: Name
    text: str
    updated_at: str


class SealingKey(Frozen):
    """`retired_at` is set when a newer key was published."""

    kind: Literal["sealing-key"] = "sealing-key"
    sealing_key: Uuid
    public_key: str
    published_at: str
    retired_at: str | None = None
    erased_at: str | None = None


class Deployment(Frozen):
    """What Genesis fixed, and the registry revision (accepted policy records on partition 0)."""

    kind: Literal["deployment"] = "deployment"
    root_public_key: Fingerprint
    partitions: int
    development: bool
    revision: int = 0
    policies_revision: int = 0
    current_sealing_key: Uuid | None = None


Entity = Key | Principal | SigningKey | Alias | RegistryPolicy | SealingKey | Deployment
DEPLOYMENT: Final = "deployment"


def name_of(entity: Entity) -> str:
    """Return the name that an entity is kept under; a signing key's name holds its fingerprint, not its content."""
    match entity:
        case Key():
            return f"key/{entity.key_id}"
        case Principal():
            return f"principal/{entity.principal}"
        case Alias():
            return entity.alias
        case RegistryPolicy():
            return f"policy/{entity.policy}"
        case SealingKey():
            return f"sealing-key/{entity.sealing_key}"
        case Deployment():
            return DEPLOYMENT
        case SigningKey():
            raise TypeError("a signing key is kept under its fingerprint")
