"""What a client believes of a deployment: trust, sealing keys, aliases, public keys. Folds directory records; no I/O.

Every record is a verbatim signed event and is believed by its author's signature alone, never because of who published
it or where it stands: a stale directory can hide what is new, never invent. Rules:
 1. root's events count in any order and however often they are published: trust is built anew from all of them;
 2. a record that isn't believed yet is kept (a bounded number) and looked at again when trust has grown;
 3. of one name, the event with the latest broker time counts, so re-publishing an old one changes nothing;
 4. the sealing key in use is the latest published one that is not erased;
 5. a key's current public key is that of the highest version which is known here.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hpke import MLKEM768X25519PublicKey

from keyfold.bus import Inbound
from keyfold.client.public_keys import PublicKey, stated
from keyfold.events import facts
from keyfold.events.directory import directory_names, verify_verbatim
from keyfold.events.errors import InvalidCommand, UnsupportedVersion
from keyfold.events.statements import UntrustedRecord
from keyfold.events.storage import Capability
from keyfold.events.times import to_milliseconds
from keyfold.events.trust import Trust

_MLKEM_BYTES: Final = 1184
_MAX_DEFERRED: Final = 1000


@dataclass(frozen=True, slots=True)
class SealingKey:
    """A key that command bodies are sealed to."""

    id: str
    public_key: MLKEM768X25519PublicKey
    published_ms: int


@dataclass(frozen=True, slots=True)
class SealingKeyPeriod:
    """When a sealing key was in use; `retired_ms` is None for the one in use now."""

    id: str
    published_ms: int
    retired_ms: int | None


@dataclass(frozen=True, slots=True)
class _Pointer:
    time_ms: int
    key_id: str | None


class View:
    """One deployment as its directory shows it. `untrusted` counts records that were not believed."""

    def __init__(self, deployment: str) -> None:
        self.deployment = deployment
        self.trust: Trust | None = None
        self.partitions: int | None = None
        self.untrusted = 0
        self._root_events: dict[tuple[str, str], facts.Event] = {}
        self._sealing_keys: dict[str, SealingKey] = {}
        self._erased: set[str] = set()
        self._aliases: dict[str, _Pointer] = {}
        self._hints: dict[str, str | None] = {}
        self._public_keys: dict[str, dict[int, PublicKey]] = {}
        self._capabilities: tuple[int, list[Capability]] = (0, [])
        self._current: SealingKey | None = None
        self._deferred: deque[Inbound] = deque(maxlen=_MAX_DEFERRED)

    @property
    def sealing_key(self) -> SealingKey | None:
        """The sealing key to use now."""
        return self._current

    def sealing_keys(self) -> list[SealingKeyPeriod]:
        """Return the sealing keys that are not erased, oldest first."""
        known = sorted(self._sealing_keys.values(), key=lambda key: key.published_ms)
        retired = [*(key.published_ms for key in known[1:]), None]
        return [SealingKeyPeriod(key.id, key.published_ms, end) for key, end in zip(known, retired, strict=True)]

    def key_of(self, alias: str) -> str | None:
        """Return the key that an alias points to, as far as is known here."""
        if alias in self._hints:
            return self._hints[alias]
        pointer = self._aliases.get(alias)
        return pointer.key_id if pointer else None

    def public_key(self, key_id: str, version: int | None) -> PublicKey | None:
        """Return the public half of a version (None: the current one), as far as is known here."""
        known = self._public_keys.get(key_id, {})
        return known.get(max(known, default=0) if version is None else version)

    def capabilities(self) -> list[Capability]:
        """Return what the deployment offers, as its HSM worker found last; empty where nothing was said."""
        return list(self._capabilities[1])

    def hint(self, alias: str, key_id: str | None) -> None:
        """Remember what the service just answered about an alias, until the directory says something newer."""
        self._hints[alias] = key_id

    def offer(self, records: Iterable[Inbound]) -> None:
        """Fold what can be believed of these records."""
        known = len(self._root_events)
        for record in records:
            self._offer(record)
        while len(self._root_events) > known and self._deferred:
            known = len(self._root_events)
            waiting, self._deferred = self._deferred, deque(maxlen=_MAX_DEFERRED)
            self.untrusted -= len(waiting)
            for record in waiting:
                self._offer(record)

    def _offer(self, record: Inbound) -> None:
        try:
            self._believe(record)
        except UntrustedRecord:
            self.untrusted += 1
            self._deferred.append(record)

    def _believe(self, record: Inbound) -> None:
        value = record.value or b""
        trust, partitions = (self.trust, self.partitions) if self.trust else self._pin(value)
        event = verify_verbatim(trust, partitions or 0, value, record.headers)
        name = (record.key or b"").decode("utf-8", "replace")
        if name not in directory_names(event):
            raise UntrustedRecord("the record key is no name that the event answers for")
        if isinstance(event, facts.Genesis | facts.ServiceKeyCertified | facts.ServiceKeyRevoked):
            self._root_events[name, event.id] = event
            self._rebuild_trust()
        else:
            self._fold(event, to_milliseconds(event.time))

    def _pin(self, value: bytes) -> tuple[Trust, int]:
        """Start from the pinned fingerprint, with the only record that names the root key itself."""
        try:
            event = facts.parse_event(value)
        except (InvalidCommand, UnsupportedVersion):
            raise UntrustedRecord("a directory record is no known event") from None
        if not isinstance(event, facts.Genesis):
            raise UntrustedRecord("genesis has not been read yet")
        return Trust.pin(self.deployment, bytes.fromhex(event.data.root_public_key)), event.data.partitions

    def _rebuild_trust(self) -> None:
        genesis = next(event for event in self._root_events.values() if isinstance(event, facts.Genesis))
        trust = Trust.pin(self.deployment, bytes.fromhex(genesis.data.root_public_key))
        for event in self._root_events.values():
            trust = trust.with_event(event)
        self.trust, self.partitions = trust, genesis.data.partitions

    def _fold(self, event: facts.Event, time_ms: int) -> None:
        match event:
            case facts.SealingKeyPublished():
                self._publish(event.data.sealing_key, event.data.public_key, time_ms)
            case facts.SealingKeyErased():
                self._erased.add(event.data.sealing_key)
                self._sealing_keys.pop(event.data.sealing_key, None)
                self._choose()
            case facts.AliasCreated() | facts.AliasUpdated():
                self._point(event.data.alias, event.data.key_id, time_ms)
            case facts.AliasDeleted():
                self._point(event.data.alias, None, time_ms)
            case facts.KeyMaterialGenerated() | facts.KeyMaterialImported():
                self._state(event)
            case facts.TokenCapabilitiesFound():
                self._capabilities = max(self._capabilities, (time_ms, event.data.capabilities), key=lambda at: at[0])
            case _:
                pass

    def _publish(self, identifier: str, public_key: str, time_ms: int) -> None:
        if identifier in self._erased:
            return
        raw = bytes.fromhex(public_key)
        try:
            key = MLKEM768X25519PublicKey(
                MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM_BYTES]),
                X25519PublicKey.from_public_bytes(raw[_MLKEM_BYTES:]),
            )
        except ValueError:
            raise UntrustedRecord("a published sealing key is malformed") from None
        self._sealing_keys[identifier] = SealingKey(identifier, key, time_ms)
        self._choose()

    def _state(self, event: facts.KeyMaterialGenerated | facts.KeyMaterialImported) -> None:
        try:
            key = stated(event)
        except ValueError:
            raise UntrustedRecord("a stated public key is malformed") from None
        if key is not None:
            self._public_keys.setdefault(key.key_id, {})[key.version] = key

    def _choose(self) -> None:
        self._current = max(self._sealing_keys.values(), key=lambda key: key.published_ms, default=None)

    def _point(self, alias: str, key_id: str | None, time_ms: int) -> None:
        known = self._aliases.get(alias)
        if known is None or time_ms >= known.time_ms:
            self._aliases[alias] = _Pointer(time_ms, key_id)
            self._hints.pop(alias, None)
