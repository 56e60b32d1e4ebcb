"""The scene of the bad-input tests: principals, keys in every state, and planted secrets that must be seen nowhere.

Whatever a test sends carries `SECRET` where only the HSM worker may see it, `PLAIN` where it is no command and stands
on the commands topic in the clear, and `FORGED` in garbage on other topics. All are drawn anew in each run, so one
search over all files covers every test of the run.
"""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from tests.support.forge import Forge, Forged, Items
from tests.support.wire import Told, Wire, bus_of, wire

from keyfold.bus import Outbound
from keyfold.client import Keyfold
from keyfold.config import Config
from keyfold.events import facts
from keyfold.events.errors import KeyDestroyed
from keyfold.events.streams import REGISTRY, key_stream, partition_of
from keyfold.identity import Identity, create_identity, load_identity

SECRET: Final = b"\xf5SECRET" + secrets.token_bytes(16)
PLAIN: Final = "PLAIN" + secrets.token_hex(16)
FORGED: Final = b"FORGED" + secrets.token_hex(16).encode()
USERS: Final = ("alice", "mallory", "rita", "stranger")
_DATA_VERBS: Final = ("Encrypt", "Decrypt", "ReEncrypt", "GenerateDataKey", "GenerateRandom")


def spellings(secret: bytes) -> list[bytes]:
    """A secret as it is, in hexadecimal, and in base64 at each alignment (the part that depends on nothing else)."""
    shifts = [base64.b64encode(bytes(shift) + secret)[start:-4] for shift, start in enumerate((0, 2, 3))]
    return [secret, secret.hex().encode(), secret.hex().upper().encode(), *shifts]


@dataclass(slots=True)
class Scene:
    """What was set up once for a module. `people` are identities by role, `keys` key ids by state."""

    config: Config
    group: str = field(default_factory=lambda: "users-" + secrets.token_hex(4))
    people: dict[str, Identity] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)

    def admin(self) -> Keyfold:
        """A client of the first administrator."""
        return self.client("admin-1")

    def client(self, name: str) -> Keyfold:
        """A client of somebody in the scene, or of an identity that the ceremony made."""
        identity = self.people.get(name) or load_identity(self.config.identities_directory / f"{name}.json")
        return Keyfold.connect(bus=bus_of(self.config), identity=identity, deployment=self.config.deployment)

    def stream(self, key: str) -> str:
        """The stream of a key by its name in the scene."""
        return key_stream(self.keys[key])


@dataclass(slots=True)
class Stage:
    """One test's connection to the scene: a wire, and a forge for each principal."""

    scene: Scene
    wire: Wire

    def forge(self, who: str = "alice") -> Forge:
        """Forge as somebody, sealed to the current key, answered here."""
        return Forge(self.scene.people[who], self.scene.config.partitions, self.wire.sealing_key, self.wire.reply)

    def encrypt(self, key: str = "software", who: str = "alice", items: Items | None = None, **parts: Any) -> Forged:
        """A command that is good unless `parts` says otherwise."""
        items = [(0, SECRET + b"item")] if items is None else items
        return self.forge(who).command("Encrypt", self.scene.stream(key), items=items, **parts)

    def decrypt(self, key: str, ciphertexts: Sequence[bytes], context: Mapping[str, str] | None = None) -> Forged:
        """Decrypt ciphertexts under one context."""
        items = [(0, ciphertext) for ciphertext in ciphertexts]
        return self.forge().command("Decrypt", self.scene.stream(key), items=items, contexts=[context or {}])

    async def send(self, command: Forged) -> tuple[str, int, int]:
        """Send a command; return its place."""
        record = command.record
        return record.topic, record.partition, await self.wire.send(record)

    async def encrypted(self, key: str, plaintexts: Sequence[bytes], context: Mapping[str, str]) -> list[bytes]:
        """Encrypt honestly and return the ciphertexts."""
        command = self.encrypt(key, items=[(0, plaintext) for plaintext in plaintexts], contexts=[context])
        await self.send(command)
        told = await self.wire.told(command)
        assert told.data.code is None, told
        return [item.data for item in told.items]

    async def goes_on(self, stream: str | None = None) -> None:
        """A good command on the same partition, sent now, is executed and answered."""
        good = self._good(stream or self.scene.stream("software"))
        await self.send(good)
        told = await self.wire.told(good)
        assert told.sealed, told
        assert told.data.code is None, told
        outcome = await self.wire.event(good, facts.Outcome)
        assert not isinstance(outcome, facts.OperationFailed.Data), outcome

    async def refused(self, command: Forged, code: str) -> Told:
        """The command is denied by policy: a signed clear error and a `CommandDenied`; no ticket, no outcome."""
        place = await self.send(command)
        told = await self.wire.told(command)
        denied = await self.wire.event(command, facts.CommandDenied)
        await self.goes_on(command.record.key.decode() if command.record.key else None)
        assert (told.data.code, told.sealed) == (code, False)
        assert denied.code == code
        assert denied.decision.offset == place[2]
        assert [type(event) for event in self.wire.events_of(command)] == [facts.CommandDenied]
        assert len(self.wire.replies_to(command)) == 1
        return told

    async def rejected(self, command: Forged, code: str, *, told: bool) -> None:
        """The record is no command: a dead letter, no event; a clear error where `told`, else silence."""
        place = await self.send(command)
        await self.dead(place, code, command.record)
        stream = partition_stream(self.scene, place[1])
        if told:
            answer = await self.wire.told(command)
            assert (answer.data.code, answer.sealed) == (code, False)
        await self.goes_on(stream)
        assert len(self.wire.replies_to(command)) == int(told)
        assert self.wire.events_of(command) == []

    async def dead(self, place: tuple[str, int, int], reason: str, record: Outbound, service: str = "policy") -> None:
        """A dead letter says where, why and the hash; nothing of the record's content."""
        letter = await self.wire.letter(place, service)
        assert letter["reason"].startswith(f"{reason}:"), letter
        assert letter.keys() <= {
            "service",
            "topic",
            "partition",
            "offset",
            "reason",
            "sha256",
            "suppressed_before",
            "code",
            "principal",
        }
        # Who wrote it is said where a signature says so, never of what anybody may claim.
        assert "principal" not in letter or reason not in {"UnknownPrincipal", "InvalidSignature"}
        assert PLAIN not in str(letter)

    async def failed(self, command: Forged, code: str) -> Told:
        """The command is authorized and fails in the worker: an `OperationFailed` and an error reply."""
        await self.send(command)
        told = await self.wire.told(command)
        failed = await self.wire.event(command, facts.OperationFailed)
        await self.goes_on(command.record.key.decode() if command.record.key else None)
        assert (told.data.code, failed.code) == (code, code)
        assert sum(isinstance(event, facts.Outcome) for event in self.wire.events_of(command)) == 1
        assert len(self.wire.replies_to(command)) == 1
        return told

    def _good(self, stream: str) -> Forged:
        partition = partition_of(stream, self.scene.config.partitions)
        if partition == 0:
            ping = {"policy": f"{self.scene.group}-ping", "text": _NOBODY}
            return self.forge("admin").command("PutPolicy", REGISTRY, arguments=ping)
        stream = partition_stream(self.scene, partition)
        return self.forge().command("Encrypt", stream, items=[(0, SECRET + b"good")])


_NOBODY: Final = 'forbid (principal == Principal::"nobody", action, resource);'


def partition_stream(scene: Scene, partition: int) -> str:
    """The stream of a working key on a partition."""
    return REGISTRY if partition == 0 else key_stream(scene.keys[f"partition-{partition}"])


@asynccontextmanager
async def stage(scene: Scene) -> AsyncIterator[Stage]:
    """Open a test's connection."""
    async with wire(scene.config) as opened:
        yield Stage(scene, opened)


def set_up(config: Config, directory: Path) -> Scene:
    """Register principals and make keys in every state. Blocks."""
    return asyncio.run(_set_up(config, directory))


async def _set_up(config: Config, directory: Path) -> Scene:
    scene = Scene(config)
    scene.people["admin"] = load_identity(config.identities_directory / "admin-1.json")
    async with scene.admin() as kms:
        await kms.put_policy(scene.group, _policy(scene.group))
        for who in USERS:
            name = f"{who}-{scene.group[-8:]}"
            scene.people[who] = create_identity(directory / f"{name}.json", name, config.deployment or "")
            if who != "stranger":
                await kms.register_principal(name, scene.people[who].signer.public_key, groups=[scene.group])
        revoked = kms.revoke_principal(scene.people["rita"].name)
        await asyncio.gather(revoked, _make_keys(scene, kms))
    return scene


async def _make_keys(scene: Scene, kms: Keyfold) -> None:
    async def create(name: str, partition: int | None = None, protection: Any = "SOFTWARE") -> None:
        key_id = kms.new_key_id()
        while partition is not None and partition_of(key_stream(key_id), scene.config.partitions) != partition:
            key_id = kms.new_key_id()
        scene.keys[name] = (await kms.create_key(protection=protection, key_id=key_id)).key_id

    names = ["software", "other", "disabled", "pending", "destroyed"]
    await asyncio.gather(
        *(create(name) for name in names),
        *(create(name, protection="HSM") for name in ("hsm", "other-hsm")),
        *(create(f"partition-{number}", number) for number in range(1, scene.config.partitions)),
    )
    scene.keys["unknown"] = kms.new_key_id()
    scene.aliases["orders"] = f"alias/{scene.group}/orders"
    await asyncio.gather(
        kms.disable_key(scene.keys["disabled"]),
        kms.schedule_key_deletion(scene.keys["pending"], 7),
        _destroy(scene),
        kms.create_alias(scene.aliases["orders"], scene.keys["software"]),
    )


async def _destroy(scene: Scene) -> None:
    async with scene.admin() as kms:
        await kms.schedule_key_deletion(scene.keys["destroyed"], timedelta(seconds=1))
        await asyncio.sleep(1.1)
        with suppress(KeyDestroyed):  # the deployment's scheduler may have been faster
            await kms.destroy_key(scene.keys["destroyed"])


def _policy(group: str) -> str:
    actions = ", ".join(f'Action::"{verb}"' for verb in _DATA_VERBS)
    return f'permit (principal in Group::"{group}", action in [{actions}], resource);'
