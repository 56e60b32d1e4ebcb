"""Load for fault tests: several clients that use, change and create keys at random, and remember what they were told.

Seeded, so that the same choices can be made again (what meets which fault still depends on time). It judges only what a
caller can see: each call succeeds or ends with a typed error, and what was decrypted is what was encrypted.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.kill_proofs import Proofs
from tests.support.log_checker import Acknowledged
from tests.support.whole_system import WholeSystem

from keyfold.client import Completed, Keyfold, KeyMetadata, unwrap
from keyfold.events.errors import KeyfoldError, Unavailable
from keyfold.events.streams import partition_of
from keyfold.identity import create_identity

LOADER = "loader"
Operation = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Kept:
    """A ciphertext and what must come out of it."""

    key_id: str
    context: dict[str, str]
    plaintext: bytes
    ciphertext: bytes


@dataclass(slots=True)
class Tally:
    """What callers saw. `served` holds (partition, started, ended) of calls that succeeded, in monotonic seconds."""

    acknowledged: Acknowledged = field(default_factory=Acknowledged)
    kept: list[Kept] = field(default_factory=list)
    served: list[tuple[int, float, float]] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Load:
    """Clients at work between `start` and `finish`.

    `steady` keys are always enabled, `changing` ones and their versions are not. The keys of `proofs` sign and
    authenticate; they are steady, too.
    """

    def __init__(self, system: WholeSystem, seed: int, directory: Path) -> None:
        self._system, self._seed, self._directory = system, seed, directory
        self._random = self._source("setup")
        self._stop = asyncio.Event()
        self._exit = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._clients: list[Keyfold] = []
        self.steady: list[str] = []
        self.changing: list[str] = []
        self.tally = Tally()
        self.proofs = Proofs(self._count, self.tally.wrong)
        self._disabled: set[tuple[str, int]] = set()

    async def start(self, clients: int = 3) -> None:
        """Register a principal, create keys in every partition, and begin."""
        self._admin = await self._exit.enter_async_context(self._system.client("admin-1", call_timeout_s=60.0))
        path = self._directory / f"{LOADER}.json"
        identity = create_identity(path, LOADER, self._system.deployment)
        self._note(await self._admin.register_principal(LOADER, identity.signer.public_key), "RegisterPrincipal")
        text = f'permit (principal == Principal::"{LOADER}", action, resource);'
        self._note(await self._admin.put_policy("load", text), "PutPolicy")
        self.steady = await self._create_keys()
        self.changing = await self._create_keys()
        self.tally.acknowledged.commands |= dict.fromkeys(await self.proofs.create(self._admin), "CreateKey")
        for _ in range(clients):
            client = self._system.client(path, call_timeout_s=60.0, retry_attempts=20)
            self._clients.append(await self._exit.enter_async_context(client))
        for number in range(2 * clients):
            self._spawn(f"user-{number}", self._user(self._clients[number % clients], number))
        self._spawn("changer", self._changer())
        self._spawn("namer", self._namer())

    async def finish(self) -> None:
        """End the load, and decrypt everything that was ever encrypted."""
        self._stop.set()
        done, late = await asyncio.wait(self._tasks, timeout=120)
        assert not late, f"{len(late)} callers never came back"
        for task in done:
            task.result()
        for key_id in self.changing:
            await self._call(self._enable(key_id), key_id)
        for key_id, version in sorted(self._disabled):
            await self._call(self._enable_version(key_id, version), None)
        by_key: dict[str, list[Kept]] = {}
        for kept in self.tally.kept:
            by_key.setdefault(kept.key_id, []).append(kept)
        for key_id, all_kept in by_key.items():
            await self._decrypt_all(key_id, all_kept)
        await self.proofs.verify_all(self._clients[0])

    async def close(self) -> None:
        """Disconnect, also when the test failed before."""
        self._stop.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._exit.aclose()

    async def recovered(self, since: float, timeout_s: float = 60.0) -> float:
        """Return when every data partition has served a call that began after `since`; waits at most `timeout_s`."""
        wanted = set(range(1, self._system.config.partitions))
        first: dict[int, float] = {}
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            first = {}
            for partition, began, ended in reversed(self.tally.served):
                if ended < since:
                    break
                if began >= since:
                    first[partition] = ended
            if first.keys() >= wanted:
                return max(first.values()) - since
            await asyncio.sleep(0.05)
        raise AssertionError(f"no call was served in partitions {sorted(wanted - first.keys())} within {timeout_s} s")

    def _source(self, name: str) -> random.Random:
        return random.Random(f"{self._seed}/{name}")  # noqa: S311 - choices of a test

    def _spawn(self, name: str, work: Awaitable[None]) -> None:
        self._tasks.append(asyncio.create_task(_run(work), name=name))

    async def _create_keys(self) -> list[str]:
        """One key per protection level in each partition but the registry's."""
        partitions = self._system.config.partitions
        made = []
        for partition in range(1, partitions):
            for protection in ("SOFTWARE", "HSM"):
                key_id = self._admin.new_key_id()
                while partition_of(f"key/{key_id}", partitions) != partition:
                    key_id = self._admin.new_key_id()
                self._note(await self._admin.create_key(protection=protection, key_id=key_id), "CreateKey")
                made.append(key_id)
        return made

    def _note(self, done: Completed | KeyMetadata, verb: str) -> None:
        self.tally.acknowledged.commands[done.command_id] = verb

    async def _call(self, work: Awaitable[None], key_id: str | None) -> None:
        """Make one call: it succeeds or ends with a typed error, and on a steady key only with unavailability."""
        began = time.monotonic()
        try:
            await work
        except KeyfoldError as error:
            self.tally.errors[error.code] += 1
            if (key_id in self.steady or key_id in self.proofs.keys) and not isinstance(error, Unavailable):
                self.tally.wrong.append(f"a steady key was refused: {error}")
            return
        except Exception as error:  # noqa: BLE001 - what is not typed is what this looks for
            self.tally.wrong.append(f"not a typed error: {type(error).__name__}: {error}")
            return
        if key_id is not None:
            partition = partition_of(f"key/{key_id}", self._system.config.partitions)
            self.tally.served.append((partition, began, time.monotonic()))

    # Users

    async def _user(self, client: Keyfold, number: int) -> None:
        source = self._source(f"user-{number}")
        while not self._stop.is_set():
            if source.random() < 0.2:
                key_id, prove = self.proofs.choose(source)
                await self._call(prove(client, source), key_id)
            else:
                key_id = source.choice(self.steady if source.random() < 0.8 else self.changing)
                operation = source.choices(
                    [self._encrypt_batch, self._encrypt_one, self._decrypt, self._data_key, self._random_bytes],
                    [4, 3, 4, 2, 1],
                )[0]
                await self._call(operation(client, source, key_id), key_id)
            await asyncio.sleep(source.uniform(0.002, 0.03))

    def _count(self, verb: str, key_id: str, items: int) -> None:
        self.tally.acknowledged.items[LOADER, verb, key_id] += items

    async def _encrypt_batch(self, client: Keyfold, source: random.Random, key_id: str) -> None:
        context = {"order": str(source.randrange(1000))}
        plaintexts = [source.randbytes(source.randrange(200)) for _ in range(source.randrange(2, 40))]
        found = unwrap(await client.encrypt_batch(key_id, plaintexts, context=context))
        self._count("Encrypt", key_id, len(found))
        index = source.randrange(len(found))
        self.tally.kept.append(Kept(key_id, context, plaintexts[index], found[index]))

    async def _encrypt_one(self, client: Keyfold, source: random.Random, key_id: str) -> None:
        plaintext = source.randbytes(32)
        ciphertext = await client.encrypt(key_id, plaintext, context={"one": "1"})
        self._count("Encrypt", key_id, 1)
        self.tally.kept.append(Kept(key_id, {"one": "1"}, plaintext, ciphertext))

    async def _decrypt(self, client: Keyfold, source: random.Random, key_id: str) -> None:
        candidates = [kept for kept in self.tally.kept[-200:] if kept.key_id == key_id]
        if not candidates:
            return await self._encrypt_one(client, source, key_id)
        kept = source.choice(candidates)
        plaintext = await client.decrypt(key_id, kept.ciphertext, context=kept.context)
        self._count("Decrypt", key_id, 1)
        if plaintext != kept.plaintext:
            self.tally.wrong.append(f"a ciphertext of {key_id} opened to something else")
        return None

    async def _data_key(self, client: Keyfold, source: random.Random, key_id: str) -> None:
        made = await client.generate_data_key(key_id, context={"file": "f"})
        self._count("GenerateDataKey", key_id, 1)
        self.tally.kept.append(Kept(key_id, {"file": "f"}, made.plaintext, made.ciphertext))

    async def _random_bytes(self, client: Keyfold, source: random.Random, key_id: str) -> None:
        if len(await client.generate_random(24)) != 24:
            self.tally.wrong.append("random bytes of another length")
        await self._encrypt_one(client, source, key_id)

    async def _decrypt_all(self, key_id: str, all_kept: list[Kept]) -> None:
        for start in range(0, len(all_kept), 200):
            part = all_kept[start : start + 200]
            results = await self._clients[0].decrypt_batch(
                key_id, [kept.ciphertext for kept in part], contexts=[kept.context for kept in part]
            )
            for kept, result in zip(part, results, strict=True):
                if result != kept.plaintext:
                    self.tally.wrong.append(f"what was encrypted under {key_id} does not come back: {result!r:.100}")

    # Those who change keys and names

    async def _changer(self) -> None:
        source = self._source("changer")
        while not self._stop.is_set():
            key_id = source.choice(self.changing)
            await self._call(self._change(source, key_id), None)
            await asyncio.sleep(source.uniform(0.01, 0.1))

    async def _change(self, source: random.Random, key_id: str) -> None:
        admin = self._admin
        chosen = source.randrange(7)
        if chosen == 0:
            self._note(await admin.disable_key(key_id, reason="test"), "DisableKey")
            self._note(await admin.enable_key(key_id), "EnableKey")
        elif chosen == 1:
            self._note(await admin.rotate_key(source.choice([*self.steady, *self.proofs.keys])), "RotateKey")
        elif chosen == 2:
            self._note(await admin.schedule_key_deletion(key_id, 20), "ScheduleKeyDeletion")
            self._note(await admin.cancel_key_deletion(key_id), "CancelKeyDeletion")
        elif chosen == 3:
            await self._enable(key_id)
        elif chosen == 4:
            text = "forbid (principal, action, resource) when { context.items == 999 };"
            self._note(await admin.put_policy("limits", text, key=key_id), "PutPolicy")
        elif chosen == 5:
            await self._disable_version(key_id)
        else:
            await self._create_and_use(source)

    async def _disable_version(self, key_id: str) -> None:
        """The version before a new one, for a while: what it has encrypted does not open meanwhile."""
        done = await self._admin.rotate_key(key_id)
        self._note(done, "RotateKey")
        version = (done.version or 2) - 1
        self._disabled.add((key_id, version))
        self._note(await self._admin.disable_key_version(key_id, version, reason="test"), "DisableKeyVersion")
        await asyncio.sleep(0.1)
        await self._enable_version(key_id, version)

    async def _enable_version(self, key_id: str, version: int) -> None:
        self._note(await self._admin.enable_key_version(key_id, version), "EnableKeyVersion")
        self._disabled.discard((key_id, version))

    async def _create_and_use(self, source: random.Random) -> None:
        """Pipelined: the key is used before its creation was answered."""
        key_id = self._admin.new_key_id()
        made, used = await asyncio.gather(
            self._admin.create_key(protection="SOFTWARE", key_id=key_id),
            self._encrypt_one(self._clients[0], source, key_id),
            return_exceptions=True,
        )
        if isinstance(used, KeyfoldError):
            self.tally.errors[used.code] += 1  # two clients have no common order
        if isinstance(made, BaseException):
            raise made
        self._note(made, "CreateKey")
        await self._encrypt_one(self._clients[0], source, key_id)

    async def _enable(self, key_id: str) -> None:
        try:
            self._note(await self._admin.cancel_key_deletion(key_id), "CancelKeyDeletion")
        except KeyfoldError as error:
            self.tally.errors[error.code] += 1
        self._note(await self._admin.enable_key(key_id), "EnableKey")

    async def _namer(self) -> None:
        """Aliases and policies of the registry: partition 0 is under load, too."""
        source = self._source("namer")
        names = [f"alias/load/{number}" for number in range(4)]
        while not self._stop.is_set():
            name, key_id = source.choice(names), source.choice(self.steady)
            await self._call(self._rename(source, name, key_id), None)
            await asyncio.sleep(source.uniform(0.02, 0.2))

    async def _rename(self, source: random.Random, name: str, key_id: str) -> None:
        admin, chosen = self._admin, source.randrange(4)
        if chosen == 0:
            self._note(await admin.create_alias(name, key_id), "CreateAlias")
        elif chosen == 1:
            self._note(await admin.update_alias(name, key_id), "UpdateAlias")
        elif chosen == 2:
            self._note(await admin.delete_alias(name), "DeleteAlias")
        else:
            text = "forbid (principal, action, resource) when { context.items == 998 };"
            self._note(await admin.put_policy("items", text), "PutPolicy")


async def _run(work: Awaitable[None]) -> None:
    await work
