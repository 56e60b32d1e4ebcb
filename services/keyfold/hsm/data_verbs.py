"""The data-plane verbs: what is done with the items of one command, on whichever side its key's material lies.

Symmetric encryption and data keys are here, what has algorithms of its own in `algorithm_verbs`. It counts and
protects; the sealed body, the reply and the event around them are `engine`'s. Results stand in the order of the items,
and an item's failure costs that item only.
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Final, Protocol

from keyfold.custody import (
    Handle,
    HandleCache,
    MaterialProvider,
    Operations,
    Protection,
    SealingPrivateKey,
    generate_key_pair,
)
from keyfold.events import commands
from keyfold.events.ciphertext import HEADER_BYTES, parse_header
from keyfold.events.errors import (
    Expired,
    InvalidCiphertext,
    InvalidCommand,
    KeyVersionUnusable,
    Refusal,
    SealingKeyRetired,
)
from keyfold.events.parts import join
from keyfold.events.streams import key_id_bytes
from keyfold.hsm.algorithm_verbs import AlgorithmVerbs
from keyfold.hsm.jobs import Items, Job, KeyCustody, Served, served
from keyfold.hsm.keystore import Draft
from keyfold.hsm.tickets import Ticket
from keyfold.hsm.transfers import Route, Sealing, Unpacker, pack

__all__ = ["DataVerbs", "KeyCustody", "Served"]

_VERSION_AT: Final = slice(HEADER_BYTES - 5, HEADER_BYTES - 1)


class SealingPrivateKeys(Protocol):
    """Where the private halves of sealing keys are (`keyfold.hsm.keyring.Keyring`)."""

    def private(self, name: str, *, token: bool) -> SealingPrivateKey: ...


class DataVerbs:
    """Executes items. `random` draws data keys of SOFTWARE keys; those of HSM keys come from the token."""

    def __init__(
        self,
        custody: KeyCustody,
        cache: HandleCache,
        providers: Mapping[Protection, MaterialProvider],
        operations: Mapping[Protection, Operations],
        *,
        sealing_keys: SealingPrivateKeys,
        clock_ms: Callable[[], int],
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._custody, self._cache, self._providers, self._random = custody, cache, providers, random
        self._sealing_keys, self._clock_ms = sealing_keys, clock_ms
        self._algorithms = AlgorithmVerbs(operations)
        self._handlers: dict[type[commands.AnyCommand], Callable[[Job], Served]] = {
            commands.Encrypt: self._encrypt,
            commands.Decrypt: self._decrypt,
            commands.ReEncrypt: self._re_encrypt,
            commands.ReEncryptFrom: self._re_encrypt_from,
            commands.ReEncryptTo: self._re_encrypt_to,
            commands.GenerateDataKey: self._generate_data_key,
            commands.GenerateDataKeyWithoutPlaintext: self._generate_data_key_without_plaintext,
            commands.GenerateDataKeyPair: self._generate_data_key_pair,
            commands.GenerateDataKeyPairWithoutPlaintext: self._generate_data_key_pair,
            commands.GenerateRandom: self._generate_random,
            **self._algorithms.handlers,
        }

    def serve(self, ticket: Ticket, command: commands.AnyCommand, items: Items, draft: Draft, *, token: bool) -> Served:
        """Execute all items. Raises a `Refusal` that strikes them all, `TokenNeeded` or `TokenUnavailable`."""
        with ExitStack() as stack:
            job = Job(ticket, command, items, draft, token, stack, self._custody, self._cache)
            return self._handlers[type(command)](job)

    def _encrypt(self, job: Job) -> Served:
        if job.command.data.arguments.encryption_algorithm != "SYMMETRIC_DEFAULT":
            return self._algorithms.encrypt(job)
        return _all(job, self._protect(job, job.items))

    def _decrypt(self, job: Job) -> Served:
        if job.command.data.arguments.encryption_algorithm != "SYMMETRIC_DEFAULT":
            return self._algorithms.decrypt(job)
        opened = self._unprotect(job)
        return served(job, opened, _versions(job, opened))

    def _re_encrypt(self, job: Job) -> Served:
        """Counts items under the version that protects them now, so that items add up."""
        destinations = _destinations(job.command)
        opened = self._unprotect(job)
        good = [
            (destinations[context], found)
            for (context, _), found in zip(job.items, opened, strict=True)
            if isinstance(found, bytes)
        ]
        made = iter(self._protect(job, good))
        done = served(job, [next(made) if isinstance(found, bytes) else found for found in opened])
        done.opened = _versions(job, opened)
        return done

    def _re_encrypt_from(self, job: Job) -> Served:
        opened = self._unprotect(job)
        data = job.command.data
        route = Route(data.principal, job.key_id, data.arguments.destination_key_id)
        private_key = self._sealing_keys.private(data.sealing_key, token=job.token)
        sealing = Sealing(data.sealing_key, private_key, self._custody.transfer_mac)
        good = [found for found in opened if isinstance(found, bytes)]
        parcels = iter(pack(good, route, sealing, self._clock_ms(), self._random))
        results = [next(parcels) if isinstance(found, bytes) else found for found in opened]
        return served(job, results, _versions(job, opened))

    def _re_encrypt_to(self, job: Job) -> Served:
        data = job.command.data
        route = Route(data.principal, data.arguments.source_key_id, job.key_id)

        def private(name: str) -> SealingPrivateKey:
            try:
                return self._sealing_keys.private(name, token=job.token)
            except SealingKeyRetired:
                raise Expired from None

        unpacker = Unpacker(route, private, self._custody.transfer_mac, self._clock_ms())
        opened = [unpacker.open(parcel) for _, parcel in job.items]
        good = [
            (context, found) for (context, _), found in zip(job.items, opened, strict=True) if isinstance(found, bytes)
        ]
        made = iter(self._protect(job, good))
        return served(job, [next(made) if isinstance(found, bytes) else found for found in opened])

    def _generate_data_key(self, job: Job) -> Served:
        size = job.command.data.arguments.number_of_bytes
        keys = job.draw(size, self._random, token=job.protection == "HSM")
        prefix = size.to_bytes(2, "big")
        made = self._protect(job, [(context, key) for (context, _), key in zip(job.items, keys, strict=True)])
        return _all(job, [prefix + key + ciphertext for key, ciphertext in zip(keys, made, strict=True)])

    def _generate_data_key_without_plaintext(self, job: Job) -> Served:
        keys = job.draw(job.command.data.arguments.number_of_bytes, self._random, token=job.protection == "HSM")
        return _all(job, self._protect(job, [(item[0], key) for item, key in zip(job.items, keys, strict=True)]))

    def _generate_data_key_pair(self, job: Job) -> Served:
        """The pairs are made in this process: they are to be used outside of the token anyway."""
        plain = isinstance(job.command, commands.GenerateDataKeyPair)
        pairs = [generate_key_pair(job.command.data.arguments.key_pair_spec) for _ in job.items]
        private = [(context, pair[0]) for (context, _), pair in zip(job.items, pairs, strict=True)]
        made = self._protect(job, private)
        return _all(
            job,
            [
                join(*pair, ciphertext) if plain else join(pair[1], ciphertext)
                for pair, ciphertext in zip(pairs, made, strict=True)
            ],
        )

    def _generate_random(self, job: Job) -> Served:
        return Served(job.draw(job.command.data.arguments.number_of_bytes, self._random, token=True))

    def _protect(self, job: Job, items: Items) -> list[bytes]:
        return self._providers[job.protection].protect(job.handle(job.material()), job.contexts(), items)

    def _unprotect(self, job: Job) -> list[bytes | Refusal]:
        job.require_material()
        refused = job.refused

        def resolve(version: int) -> Handle | None:
            material = None if version in refused else job.draft.material(job.key_id, version)
            return None if material is None else job.handle(material)

        provider = self._providers[job.protection]
        opened = provider.unprotect(key_id_bytes(job.key_id), resolve, job.contexts(), job.items)
        if not refused:
            return list(opened)
        return [
            _unusable(data, key_id_bytes(job.key_id), refused) if isinstance(found, InvalidCiphertext) else found
            for (_, data), found in zip(job.items, opened, strict=True)
        ]


def _unusable(ciphertext: bytes, key_id: bytes, refused: frozenset[int]) -> Refusal:
    """Tell a ciphertext of a version that must not be used from one that does not open."""
    try:
        named, version, _ = parse_header(ciphertext)
    except InvalidCiphertext as error:
        return error
    return KeyVersionUnusable() if named == key_id and version in refused else InvalidCiphertext()


def _versions(job: Job, opened: Sequence[bytes | Refusal]) -> dict[str, int]:
    """Count what was opened by the version that the ciphertext names."""
    named = Counter(
        data[_VERSION_AT] for (_, data), found in zip(job.items, opened, strict=True) if isinstance(found, bytes)
    )
    return {str(int.from_bytes(version, "big")): count for version, count in named.items()}


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
