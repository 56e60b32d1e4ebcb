"""What the load calls: one act for each verb, on keys that are always enabled, and what was made by them.

An act makes one call (a switch two), and returns the stream that it was about and the command's id. What comes back is
compared with what went in; all that was ever made is opened and verified at the end. Every plaintext, message and
value begins with the run's marker.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, TypeVar

from keyfold.client import Completed, Keyfold, KeyMetadata, unwrap
from keyfold.client.receipts import Receipt
from keyfold.events.errors import InvalidState
from keyfold.events.specs import KeySpec, KeyUsage
from keyfold.events.streams import partition_of

_KEPT: Final = 4000
_SAMPLES: Final = 8
_BATCH: Final = 200
ECDSA: Final = "ECDSA_SHA_256"
HMAC: Final = "HMAC_SHA_256"
T = TypeVar("T")
K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Done:
    """What a call was about: its stream, and the command's id."""

    stream: str
    command: str | None


@dataclass(frozen=True, slots=True)
class Kept:
    """A ciphertext and what must come out of it."""

    key_id: str
    plaintext: bytes
    ciphertext: bytes


@dataclass(frozen=True, slots=True)
class Proof:
    """A signature or MAC of a message by one version of a key."""

    key_id: str
    version: int
    message: bytes
    proof: bytes


@dataclass(slots=True)
class Made:
    """What callers hold. `wrong` is what no caller may ever see; `samples` are secrets that the service made."""

    kept: list[Kept] = field(default_factory=list)
    signatures: list[Proof] = field(default_factory=list)
    macs: list[Proof] = field(default_factory=list)
    samples: list[bytes] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def keep(self, kept: Kept) -> None:
        """Remember a ciphertext, of the first ones all."""
        if len(self.kept) < _KEPT:
            self.kept.append(kept)

    def sample(self, secret: bytes) -> None:
        """Remember a secret to be looked for."""
        if len(self.samples) < _SAMPLES:
            self.samples.append(secret)


Act = Callable[[random.Random], Awaitable[Done]]


class Verbs:
    """The acts. `admin` changes keys and the registry, `clients` use keys."""

    def __init__(self, admin: Keyfold, clients: list[Keyfold], partitions: int, marker: bytes) -> None:
        self._admin, self._clients, self._partitions, self._marker = admin, clients, partitions, marker
        self.made = Made()
        self._switch = asyncio.Lock()
        self._next_alias = 0

    async def prepare(self) -> None:
        """Create the keys: of each kind one in every partition but the registry's."""
        data = range(1, self._partitions)
        self._keys = [await self._key(p, protection=level) for p in data for level in _LEVELS]
        self._signing = [await self._key(p, "ECC_NIST_P256", "SIGN_VERIFY") for p in data]
        self._macs = [await self._key(p, "HMAC_256", "GENERATE_VERIFY_MAC") for p in data]
        self._switched = await self._key(1, protection="SOFTWARE")
        source = random.Random(0)  # noqa: S311
        for act in (self.encrypt, self.sign, self.generate_mac):
            await act(source)

    def table(self) -> dict[str, tuple[float, Act]]:
        """Return by verb the mean pause between two calls in seconds, and the act."""
        return {
            "Encrypt": (0.5, self.encrypt),
            "Decrypt": (0.5, self.decrypt),
            "GenerateDataKey": (1.0, self.generate_data_key),
            "Sign": (1.0, self.sign),
            "Verify": (1.0, self.verify),
            "GenerateMac": (1.0, self.generate_mac),
            "VerifyMac": (1.0, self.verify_mac),
            "GenerateRandom": (1.0, self.generate_random),
            "CreateKey": (1.5, self.create_key),
            "RotateKey": (2.0, self.rotate_key),
            "TagResource": (1.0, self.tag_resource),
            "DisableKey": (2.0, self.disable_key),
            "PutPolicy": (1.5, self.put_policy),
            "CreateAlias": (1.5, self.create_alias),
        }

    # Using keys

    async def encrypt(self, source: random.Random) -> Done:
        client, key_id = self._any(source), source.choice(self._keys)
        plaintexts = [self._secret(source) for _ in range(source.choice((1, 1, 1, 20)))]
        with client.with_receipts() as receipts:
            found = unwrap(await client.encrypt_batch(key_id, plaintexts))
        for plaintext, ciphertext in zip(plaintexts, found, strict=True):
            self.made.keep(Kept(key_id, plaintext, ciphertext))
        return _done(key_id, receipts)

    async def decrypt(self, source: random.Random) -> Done:
        client, kept = self._any(source), source.choice(self.made.kept)
        with client.with_receipts() as receipts:
            self._compare(kept, await client.decrypt(kept.key_id, kept.ciphertext))
        return _done(kept.key_id, receipts)

    async def generate_data_key(self, source: random.Random) -> Done:
        client, key_id = self._any(source), source.choice(self._keys)
        with client.with_receipts() as receipts:
            made = await client.generate_data_key(key_id)
        self.made.sample(made.plaintext)
        self.made.keep(Kept(key_id, made.plaintext, made.ciphertext))
        return _done(key_id, receipts)

    async def generate_random(self, source: random.Random) -> Done:
        client = self._any(source)
        with client.with_receipts() as receipts:
            found = await client.generate_random(32)
        self.made.sample(found)
        return Done(f"principal/{client.principal}", receipts[-1].command_id if receipts else None)

    async def sign(self, source: random.Random) -> Done:
        client, key_id, message = self._any(source), source.choice(self._signing), self._secret(source)
        with client.with_receipts() as receipts:
            made = await client.sign(key_id, message, signing_algorithm=ECDSA)
        self.made.signatures.append(Proof(key_id, made.key_version, message, made.signature))
        return _done(key_id, receipts)

    async def verify(self, source: random.Random) -> Done:
        client, proof = self._any(source), source.choice(self.made.signatures)
        with client.with_receipts() as receipts:
            self._valid("Verify", proof, await self._verified(client, [proof]))
        return _done(proof.key_id, receipts)

    async def generate_mac(self, source: random.Random) -> Done:
        client, key_id, message = self._any(source), source.choice(self._macs), self._secret(source)
        with client.with_receipts() as receipts:
            made = await client.generate_mac(key_id, message, mac_algorithm=HMAC)
        self.made.macs.append(Proof(key_id, made.key_version, message, made.mac))
        return _done(key_id, receipts)

    async def verify_mac(self, source: random.Random) -> Done:
        client, proof = self._any(source), source.choice(self.made.macs)
        with client.with_receipts() as receipts:
            self._valid("VerifyMac", proof, await self._verified_macs(client, [proof]))
        return _done(proof.key_id, receipts)

    # Changing keys and the registry

    async def create_key(self, source: random.Random) -> Done:
        made = await self._admin.create_key(protection=source.choice(_LEVELS))
        return Done(f"key/{made.key_id}", made.command_id)

    async def rotate_key(self, source: random.Random) -> Done:
        key_id = source.choice(self._keys)
        return _changed(key_id, await self._admin.rotate_key(key_id))

    async def tag_resource(self, source: random.Random) -> Done:
        key_id = source.choice(self._keys)
        return _changed(key_id, await self._admin.tag_key(key_id, {"n": str(source.randrange(1000))}))

    async def disable_key(self, _source: random.Random) -> Done:
        """Disable a key and enable it again; where an answer was lost before, it may be in either state."""
        async with self._switch:
            try:
                done = await self._admin.disable_key(self._switched)
            except InvalidState:
                return _changed(self._switched, await self._admin.enable_key(self._switched))
            await self._admin.enable_key(self._switched)
        return _changed(self._switched, done)

    async def put_policy(self, source: random.Random) -> Done:
        text = f"forbid (principal, action, resource) when {{ context.items == {source.randrange(900, 1000)} }};"
        return Done("registry", (await self._admin.put_policy("items", text)).command_id)

    async def create_alias(self, source: random.Random) -> Done:
        self._next_alias += 1
        name = f"alias/load/{self._next_alias}"
        return Done("registry", (await self._admin.create_alias(name, source.choice(self._keys))).command_id)

    # Afterwards

    async def open_all(self) -> None:
        """Decrypt and verify all that was kept; what is wrong is in `made`."""
        client = self._clients[0]
        for key_id, all_kept in _grouped(self.made.kept, lambda kept: kept.key_id):
            for part in _parts(all_kept):
                results = await client.decrypt_batch(key_id, [kept.ciphertext for kept in part])
                for kept, result in zip(part, results, strict=True):
                    self._compare(kept, result)
        for _, proofs in _grouped(self.made.signatures, _version):
            for some in _parts(proofs):
                self._valid("Verify", some[0], await self._verified(client, some))
        for _, proofs in _grouped(self.made.macs, _version):
            for some in _parts(proofs):
                self._valid("VerifyMac", some[0], await self._verified_macs(client, some))

    def _compare(self, kept: Kept, result: object) -> None:
        if result != kept.plaintext:
            what = type(result).__name__ if isinstance(result, Exception) else "something else"
            self.made.wrong.append(f"what was encrypted under {kept.key_id} comes back as {what}")

    def _valid(self, verb: str, proof: Proof, verdicts: list[bool]) -> None:
        if not all(verdicts):
            self.made.wrong.append(
                f"{verb}: a proof by version {proof.version} of {proof.key_id} is said to be invalid"
            )

    async def _verified(self, client: Keyfold, proofs: list[Proof]) -> list[bool]:
        pairs = [(proof.message, proof.proof) for proof in proofs]
        first = proofs[0]
        found = await client.verify_batch(first.key_id, pairs, signing_algorithm=ECDSA, key_version=first.version)
        return [each is True for each in found]

    async def _verified_macs(self, client: Keyfold, proofs: list[Proof]) -> list[bool]:
        pairs = [(proof.message, proof.proof) for proof in proofs]
        first = proofs[0]
        found = await client.verify_mac_batch(first.key_id, pairs, mac_algorithm=HMAC, key_version=first.version)
        return [each is True for each in found]

    async def _key(
        self,
        partition: int,
        spec: KeySpec = "SYMMETRIC_DEFAULT",
        usage: KeyUsage = "ENCRYPT_DECRYPT",
        protection: Literal["SOFTWARE", "HSM"] = "HSM",
    ) -> str:
        key_id = self._admin.new_key_id()
        while partition_of(f"key/{key_id}", self._partitions) != partition:
            key_id = self._admin.new_key_id()
        await self._admin.create_key(key_spec=spec, key_usage=usage, protection=protection, key_id=key_id)
        return key_id

    def _any(self, source: random.Random) -> Keyfold:
        return source.choice(self._clients)

    def _secret(self, source: random.Random) -> bytes:
        return self.marker_and(source.randbytes(source.randrange(100)))

    def marker_and(self, rest: bytes) -> bytes:
        """Return bytes that begin with the run's marker."""
        return self._marker + rest


_LEVELS: Final[tuple[Literal["SOFTWARE", "HSM"], ...]] = ("SOFTWARE", "HSM")


def _done(key_id: str, receipts: list[Receipt]) -> Done:
    return Done(f"key/{key_id}", receipts[-1].command_id if receipts else None)


def _changed(key_id: str, done: Completed | KeyMetadata) -> Done:
    return Done(f"key/{key_id}", done.command_id)


def _version(proof: Proof) -> tuple[str, int]:
    return proof.key_id, proof.version


def _grouped(things: Iterable[T], key: Callable[[T], K]) -> Iterable[tuple[K, list[T]]]:
    groups: dict[K, list[T]] = {}
    for thing in things:
        groups.setdefault(key(thing), []).append(thing)
    return groups.items()


def _parts(things: list[T]) -> Iterable[list[T]]:
    return (things[start : start + _BATCH] for start in range(0, len(things), _BATCH))
