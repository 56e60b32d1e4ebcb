"""One data-plane command under way, and what came of its items. No verb is carried out here."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

from keyfold.custody import Generated, Handle, HandleCache, Imported, KeyReference, Protection, TokenIdentity
from keyfold.events import facts
from keyfold.events.ciphertext import encode_context
from keyfold.events.errors import InvalidCommand, InvalidState, KeyVersionUnusable, Refusal
from keyfold.hsm import metrics
from keyfold.hsm.errors import TokenNeeded
from keyfold.hsm.keystore import Draft, Material
from keyfold.hsm.tickets import Ticket

Items = Sequence[tuple[int, bytes]]


class KeyCustody(Protocol):
    """What the worker asks of custody (`keyfold.custody.Custody`)."""

    def generate(self, reference: KeyReference) -> Generated: ...

    def open(self, reference: KeyReference, blob: bytes) -> Handle: ...

    def erase(self, reference: KeyReference, blob: bytes) -> bool: ...

    def rewrap(self, reference: KeyReference, blob: bytes) -> bytes: ...

    def epoch_of(self, blob: bytes) -> int: ...

    def generate_import_key(self, import_id: bytes, wrapping_spec: str) -> Generated: ...

    def rewrap_import(self, import_id: bytes, blob: bytes) -> bytes: ...

    def import_material(
        self, reference: KeyReference, import_id: bytes, import_blob: bytes, wrapping_algorithm: str, wrapped: bytes
    ) -> Imported: ...

    def generate_random(self, size: int) -> bytes: ...

    def begin_epoch(self, epoch: int) -> None: ...

    def adopt_epoch(self, epoch: int) -> bool: ...

    def end_epoch(self, epoch: int) -> None: ...

    def epochs(self) -> list[int]: ...

    def epoch_floor(self) -> int: ...

    def transfer_mac(self, message: bytes) -> bytes: ...

    def identity(self) -> TokenIdentity: ...


@dataclass(slots=True, repr=False)
class Served:
    """Results by item (empty where it failed), items served by version, and failed items by code.

    `opened` counts items by the version that they were under before, where another protects them now.
    """

    results: list[bytes]
    versions: dict[str, int] = field(default_factory=dict)
    failures: dict[str, list[int]] = field(default_factory=dict)
    opened: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True, repr=False)
class Job:
    """One data-plane command under way. Without `token` nothing may ask the token: `TokenNeeded` is raised.

    Handles stay open until the stack is closed; the cache destroys none that is in use.
    """

    ticket: Ticket
    command: Any
    items: Items
    draft: Draft
    token: bool
    stack: ExitStack
    custody: KeyCustody
    cache: HandleCache

    @property
    def key_id(self) -> str:
        """The key that the command is for."""
        if self.ticket.key_id is None:
            raise InvalidCommand(f"{self.ticket.verb} needs a key's stream")
        return self.ticket.key_id

    @property
    def protection(self) -> Protection:
        """Where the key's material is, as decided."""
        event = self.ticket.event
        if not isinstance(event, facts.CommandAuthorized) or event.data.protection is None:
            raise InvalidCommand(f"{self.ticket.verb} was not authorized on a key")
        return event.data.protection

    @property
    def refused(self) -> frozenset[int]:
        """Versions that must not be used, as decided."""
        event = self.ticket.event
        return frozenset(event.data.refused_versions if isinstance(event, facts.CommandAuthorized) else ())

    def contexts(self) -> list[bytes]:
        """The distinct contexts, each encoded once."""
        return [encode_context(context) for context in self.command.data.contexts]

    def require_material(self) -> None:
        """Raise `InvalidState` where the key has no material at all."""
        if not self.draft.holds(self.key_id):
            raise InvalidState("there is no material of this key; describe the key to see its state")

    def material(self) -> Material:
        """Return the material of the version that was decided on. Raises `InvalidState`, `KeyVersionUnusable`."""
        self.require_material()
        material = self.draft.material(self.key_id, self.ticket.version)
        if material is None:
            raise KeyVersionUnusable(f"there is no material of version {self.ticket.version} of this key")
        return material

    def handle(self, material: Material) -> Handle:
        """Return an open handle that stays open until the job is done. Raises `TokenNeeded`."""

        def load() -> Handle:
            if not self.token:
                raise TokenNeeded
            with metrics.UNWRAP.time():
                return self.custody.open(material.reference, material.blob)

        return self.stack.enter_context(self.cache.get(material.reference, load))

    def draw(self, size: int, random: Callable[[int], bytes], *, token: bool) -> list[bytes]:
        """Draw random bytes for each item, from the token or from `random`."""
        if token and not self.token:
            raise TokenNeeded
        total = size * len(self.items)
        drawn = self.custody.generate_random(total) if token else random(total)
        return [drawn[at : at + size] for at in range(0, total, size)]


def served(job: Job, found: Sequence[bytes | Refusal], versions: dict[str, int] | None = None) -> Served:
    """Sort results from failures; by default what succeeded counts for the version that was decided on."""
    results: list[bytes] = []
    failures: dict[str, list[int]] = {}
    for index, each in enumerate(found):
        if isinstance(each, Refusal):
            failures.setdefault(each.code, []).append(index)
            results.append(b"")
        else:
            results.append(each)
    if versions is None:
        good = len(found) - sum(len(indexes) for indexes in failures.values())
        versions = {str(job.ticket.version): good} if good else {}
    return Served(results, versions, failures)
