"""The data-plane verbs: what is done with the items of one command, on whichever side its key's material lies.

It counts and protects; the sealed body, the reply and the event around them are `engine`'s. Results stand in the order
of the items, and an item's failure costs that item only.
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from keyfold.custody import Handle, HandleCache, KeyReference, MaterialProvider, Protection, Resolver
from keyfold.events import commands, facts
from keyfold.events.ciphertext import HEADER_BYTES, encode_context
from keyfold.events.errors import InvalidCiphertext, InvalidCommand, InvalidState
from keyfold.events.streams import key_id_bytes
from keyfold.hsm.errors import TokenNeeded
from keyfold.hsm.keystore import Draft, Material
from keyfold.hsm.tickets import Ticket

Items = Sequence[tuple[int, bytes]]
_VERSION_AT: Final = slice(HEADER_BYTES - 5, HEADER_BYTES - 1)


class KeyCustody(Protocol):
    """What the worker asks of custody (`keyfold.custody.Custody`)."""

    def generate(self, reference: KeyReference) -> bytes: ...

    def open(self, reference: KeyReference, blob: bytes) -> Handle: ...

    def generate_random(self, size: int) -> bytes: ...


@dataclass(slots=True, repr=False)
class Served:
    """Results by item (empty where it failed), items served by version, and failed items by code."""

    results: list[bytes]
    versions: dict[str, int] = field(default_factory=dict)
    failures: dict[str, list[int]] = field(default_factory=dict)


@dataclass(slots=True, repr=False)
class Job:
    """One data-plane command under way. Without `token` nothing may ask the token: `TokenNeeded` is raised."""

    ticket: Ticket
    command: Any
    items: Items
    draft: Draft
    token: bool
    open: ExitStack

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

    def contexts(self) -> list[bytes]:
        """The distinct contexts, each encoded once."""
        return [encode_context(context) for context in self.command.data.contexts]


class DataVerbs:
    """Executes items. `random` draws data keys of SOFTWARE keys; those of HSM keys come from the token."""

    def __init__(
        self,
        custody: KeyCustody,
        cache: HandleCache,
        providers: Mapping[Protection, MaterialProvider],
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._custody, self._cache, self._providers, self._random = custody, cache, providers, random
        self._handlers: dict[type[commands.AnyCommand], Callable[[Job], Served]] = {
            commands.Encrypt: self._encrypt,
            commands.Decrypt: self._decrypt,
            commands.ReEncrypt: self._re_encrypt,
            commands.GenerateDataKey: self._generate_data_key,
            commands.GenerateDataKeyWithoutPlaintext: self._generate_data_key_without_plaintext,
            commands.GenerateRandom: self._generate_random,
        }

    def serve(self, ticket: Ticket, command: commands.AnyCommand, items: Items, draft: Draft, *, token: bool) -> Served:
        """Execute all items. Raises a `Refusal` that strikes them all, `TokenNeeded` or `TokenUnavailable`."""
        # Handles stay open until the last item is done; the cache destroys none that is in use.
        with ExitStack() as stack:
            return self._handlers[type(command)](Job(ticket, command, items, draft, token, stack))

    def _encrypt(self, job: Job) -> Served:
        return _all(job, self._protect(job, job.items))

    def _decrypt(self, job: Job) -> Served:
        opened = self._unprotect(job)
        versions = Counter(
            data[_VERSION_AT]
            for (_, data), found in zip(job.items, opened, strict=True)
            if not isinstance(found, InvalidCiphertext)
        )
        counts = {str(int.from_bytes(version, "big")): count for version, count in versions.items()}
        return _some(opened, counts)

    def _re_encrypt(self, job: Job) -> Served:
        """Counts items under the version that protects them now, so that items add up."""
        destinations = _destinations(job.command)
        opened = self._unprotect(job)
        good = [
            (destinations[context], found)
            for (context, _), found in zip(job.items, opened, strict=True)
            if not isinstance(found, InvalidCiphertext)
        ]
        made = iter(self._protect(job, good))
        results = [found if isinstance(found, InvalidCiphertext) else next(made) for found in opened]
        return _some(results, {str(job.ticket.version): len(good)} if good else {})

    def _generate_data_key(self, job: Job) -> Served:
        keys = self._draw(job, token=job.protection == "HSM")
        prefix = job.command.data.arguments.number_of_bytes.to_bytes(2, "big")
        made = self._protect(job, [(context, key) for (context, _), key in zip(job.items, keys, strict=True)])
        return _all(job, [prefix + key + ciphertext for key, ciphertext in zip(keys, made, strict=True)])

    def _generate_data_key_without_plaintext(self, job: Job) -> Served:
        keys = self._draw(job, token=job.protection == "HSM")
        return _all(job, self._protect(job, [(item[0], key) for item, key in zip(job.items, keys, strict=True)]))

    def _generate_random(self, job: Job) -> Served:
        return Served(self._draw(job, token=True))

    def _draw(self, job: Job, *, token: bool) -> list[bytes]:
        if token and not job.token:
            raise TokenNeeded
        size = job.command.data.arguments.number_of_bytes
        total = size * len(job.items)
        drawn = self._custody.generate_random(total) if token else self._random(total)
        return [drawn[at : at + size] for at in range(0, total, size)]

    def _protect(self, job: Job, items: Items) -> list[bytes]:
        version = job.ticket.version
        material = job.draft.versions(job.key_id).get(version)
        if material is None:
            raise InvalidState(f"there is no material of version {version}; describe the key to see its state")
        return self._providers[job.protection].protect(self._handle(job, material), job.contexts(), items)

    def _unprotect(self, job: Job) -> list[bytes | InvalidCiphertext]:
        versions = job.draft.versions(job.key_id)
        if not versions:
            raise InvalidState("there is no material of this key; describe the key to see its state")

        def resolve(version: int) -> Handle | None:
            material = versions.get(version)
            return None if material is None else self._handle(job, material)

        resolver: Resolver = resolve
        key_id = key_id_bytes(job.key_id)
        return self._providers[job.protection].unprotect(key_id, resolver, job.contexts(), job.items)

    def _handle(self, job: Job, material: Material) -> Handle:
        def load() -> Handle:
            if not job.token:
                raise TokenNeeded
            return self._custody.open(material.reference, material.blob)

        return job.open.enter_context(self._cache.get(material.reference, load))


def _destinations(command: commands.ReEncrypt) -> Sequence[int]:
    count = len(command.data.contexts)
    chosen = command.data.arguments.destination
    if not chosen:
        return range(count)
    if len(chosen) != count or max(chosen) >= count:
        raise InvalidCommand("destination must name one of the contexts for each of the contexts")
    return chosen


def _all(job: Job, results: list[bytes]) -> Served:
    return Served(results, {str(job.ticket.version): len(results)})


def _some(found: Sequence[bytes | InvalidCiphertext], versions: dict[str, int]) -> Served:
    failed = [index for index, each in enumerate(found) if isinstance(each, InvalidCiphertext)]
    results = [b"" if isinstance(each, InvalidCiphertext) else each for each in found]
    return Served(results, versions, {InvalidCiphertext.code: failed} if failed else {})
