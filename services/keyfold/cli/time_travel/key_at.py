"""A key as of a time, from its events alone: what the projections would have shown then. Pure but for the reading."""

from dataclasses import dataclass, field
from typing import Any, Final

from keyfold.cli.policy_sources import Source
from keyfold.cli.time_travel.reading import as_of, milliseconds
from keyfold.events import facts
from keyfold.events.entities import Alias, Grant, Key, KeyVersion
from keyfold.projections.rows import PublicKeyRow, Usage, VersionRow
from keyfold.projections.usage import UsageKey, add, usage_of

_EVIDENCE: Final = ("generated_at", "imported_at", "erased_at")


@dataclass(frozen=True, slots=True)
class KeyAt:
    """A key with all that was known of it at `at_ms`."""

    key: Key
    versions: tuple[VersionRow, ...]
    aliases: tuple[str, ...]
    usage: tuple[Usage, ...]
    public_key: PublicKeyRow | None
    grants: tuple[Grant, ...]
    at_ms: int


@dataclass(slots=True)
class Evidence:
    """What the HSM worker said of a key's material, and how it was used. Give it the key's events."""

    material: dict[int, dict[str, str | None]] = field(default_factory=dict)
    public: dict[int, PublicKeyRow] = field(default_factory=dict)
    used: dict[UsageKey, Usage] = field(default_factory=dict)

    def add(self, event: facts.Event) -> None:
        """Take in one event."""
        for more in usage_of(event):
            add(self.used, more)
        match event:
            case facts.KeyMaterialGenerated():
                self._material(event, generated_at=event.time)
            case facts.KeyMaterialImported():
                self._material(event, imported_at=event.time, erased_at=None)
            case facts.KeyUseCeased(data=data):
                for version in data.erased_versions:
                    self.material.setdefault(version, {})["erased_at"] = event.time
            case _:
                return

    def _material(self, event: facts.KeyMaterialGenerated | facts.KeyMaterialImported, **known: str | None) -> None:
        data = event.data
        self.material.setdefault(data.version, {}).update(known)
        if data.public_key is not None:
            self.public[data.version] = PublicKeyRow(
                data.key_id, data.version, data.key_spec, data.key_usage, data.public_key
            )

    def version_row(self, key_id: str, version: KeyVersion) -> VersionRow:
        """Return a version as the projections show it."""
        uses = [use for use in self.used.values() if use.version == version.version]
        known: dict[str, Any] = version.model_dump(
            include={
                "version", "status", "created_at", "protected_items", "reason", "changed_at", "compromised_at",
                "occurred_at", "compromise_reason", "material", "valid_to", "key_check_value",
            }
        )  # fmt: skip
        evidence: dict[str, Any] = {name: self.material.get(version.version, {}).get(name) for name in _EVIDENCE}
        return VersionRow(
            key_id=key_id,
            command_offset=version.offset,
            used_items=sum(use.items for use in uses),
            last_used_at=max((use.last_used_at for use in uses if use.items), default=None),
            certified_at=version.erased_at,
            **known,
            **evidence,
        )


async def key_at(log: Source, name: str, at: str | None) -> KeyAt:
    """Read a key as of a time. Raises `NotFound` where it did not exist yet."""
    evidence = Evidence()
    found = await as_of(log, name, at, evidence)
    key = found.key()
    names = (entity for entity in found.registry.values() if isinstance(entity, Alias))
    grants = (entity for entity in found.entities.values() if isinstance(entity, Grant))
    return KeyAt(
        key=key,
        versions=tuple(evidence.version_row(key.key_id, version) for version in key.versions),
        aliases=tuple(sorted(alias.alias for alias in names if alias.key_id == key.key_id)),
        usage=tuple(sorted(evidence.used.values(), key=lambda use: (use.version, use.principal, use.verb))),
        public_key=evidence.public.get(key.current_version),
        grants=tuple(sorted(grants, key=lambda grant: grant.created_at)),
        at_ms=milliseconds(at),
    )
