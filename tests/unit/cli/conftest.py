"""The command line against a deployment in memory: real commands on a bus, and projections as a test says."""

import functools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from tests.support.symmetric_keys import SymmetricKeys
from tests.support.user_keys import UserKeys
from tests.unit.client.deployment import Deployment

from keyfold.bus import MemoryBus, MemoryCluster
from keyfold.cli import main
from keyfold.cli.session import Session
from keyfold.client import Keyfold
from keyfold.config import Config, save_config
from keyfold.events.entities import (
    Alias,
    Capabilities,
    Grant,
    Issuer,
    Key,
    KeyVersion,
    Limit,
    Principal,
    Proposal,
    SealingKey,
)
from keyfold.events.signatures import Signer, Verifier
from keyfold.identity import Identity, create_identity, load_identity
from keyfold.projections.rows import LastUse, PublicKeyRow, StorageEpoch, Usage, VersionRow

KEY = "01890a5d-ac96-774b-bcce-b302099a8057"
ORDERS = "alias/orders"
built = functools.cache(typer.main.get_command)
"""Building all commands costs more than running one."""
CREATED = "2026-01-31T12:00:00.000Z"
FAST = {"retry_initial_s": 0.005, "alias_wait_s": 0.05}


@dataclass
class Projected:
    """What the projections show. Every command's outcome is there at once."""

    grants_: list[Grant] = field(default_factory=list)
    proposals_: list[Proposal] = field(default_factory=list)
    principals_: list[Principal] = field(default_factory=list)
    limits_: list[Limit] = field(default_factory=list)
    issuers_: list[Issuer] = field(default_factory=list)
    keys_: dict[str, Key] = field(default_factory=dict)
    last_use_: tuple[LastUse, ...] = ()
    public_key_: PublicKeyRow | None = None
    capabilities_: Capabilities | None = None
    epochs_: list[StorageEpoch] = field(default_factory=list)
    sealing_keys_: tuple[SealingKey, ...] = ()
    rows_: tuple[Any, ...] = (SimpleNamespace(outcome="completed"),)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    async def audit(self, wanted: Any, **_: Any) -> Any:
        return SimpleNamespace(rows=self.rows_, next=None)

    async def describe_key(self, key_id: str) -> Key | None:
        return self.keys_.get(key_id)

    async def key_versions(self, key_id: str) -> tuple[VersionRow, ...]:
        return tuple(version_row(key_id, version) for version in self.keys_[key_id].versions)

    async def usage(self, *, stream: str | None = None, principal: str | None = None) -> tuple[Usage, ...]:
        return (Usage(stream or "", 1, "alice", "Encrypt", 2, 7, 99, 0, CREATED),)

    async def aliases(self, *, key_id: str | None = None) -> tuple[Alias, ...]:
        return (Alias(alias=ORDERS, key_id=KEY, updated_at=CREATED),) if key_id == KEY else ()

    async def last_use(self, key_id: str) -> tuple[LastUse, ...]:
        return self.last_use_

    async def public_key(self, key_id: str, version: int | None = None) -> PublicKeyRow | None:
        return self.public_key_

    async def capabilities(self) -> Capabilities | None:
        return self.capabilities_

    async def storage_epoch(self) -> StorageEpoch | None:
        """Each look shows what comes next; the last stays."""
        return self.epochs_.pop(0) if len(self.epochs_) > 1 else (self.epochs_ or [None])[0]

    async def sealing_keys(self) -> tuple[SealingKey, ...]:
        return self.sealing_keys_

    async def resolve_alias(self, alias: str) -> Alias | None:
        return Alias(alias=alias, key_id=KEY, updated_at="") if alias == ORDERS else None

    async def principals(self) -> tuple[Principal, ...]:
        return tuple(self.principals_)

    async def principal(self, name: str) -> Principal | None:
        return next((each for each in self.principals_ if each.principal == name), None)

    async def issuers(self) -> tuple[Issuer, ...]:
        return tuple(self.issuers_)

    async def limits(self) -> tuple[Limit, ...]:
        return tuple(self.limits_)

    async def grants(self, **wanted: Any) -> tuple[Grant, ...]:
        self.asked.append(("grants", wanted))
        return tuple(self.grants_)

    async def grant(self, grant_id: str) -> Grant | None:
        return next((each for each in self.grants_ if each.grant == grant_id), None)

    async def proposals(self, **wanted: Any) -> tuple[Proposal, ...]:
        self.asked.append(("proposals", wanted))
        return tuple(self.proposals_)

    async def proposal(self, proposal_id: str) -> Proposal | None:
        return next((each for each in self.proposals_ if each.proposal == proposal_id), None)


def a_key(*versions: KeyVersion, **fields: Any) -> Key:
    """The key, as the projections show it."""
    known = versions or (KeyVersion(version=1, offset=3, created_at=CREATED, protected_items=7),)
    return Key(
        **{
            "key_id": KEY, "key_spec": "SYMMETRIC_DEFAULT", "protection": "HSM", "description": "", "tags": {},
            "status": "Enabled", "created_at": CREATED, "created_by": "admin-1",
            "current_version": len(known), **fields,
        },
        versions=known,
    )  # fmt: skip


def version_row(key_id: str, version: KeyVersion) -> VersionRow:
    """A version, as its row says it."""
    return VersionRow(
        key_id=key_id, version=version.version, status=version.status, created_at=version.created_at,
        command_offset=version.offset, protected_items=version.protected_items, used_items=0, last_used_at=None,
        generated_at=None, erased_at=None, reason=version.reason, changed_at=version.changed_at,
        compromised_at=version.compromised_at, occurred_at=version.occurred_at,
        compromise_reason=version.compromise_reason, material=version.material, imported_at=None,
        valid_to=version.valid_to, key_check_value=version.key_check_value, certified_at=version.erased_at,
    )  # fmt: skip


@dataclass
class Ran:
    """What one command line did: its exit code, its output, and the commands that it sent."""

    code: int
    out: str
    err: str
    received: list[Any]

    @property
    def document(self) -> Any:
        return json.loads(self.out)


@dataclass
class Terminal:
    """Runs command lines in one deployment. `prepare` is called with the deployment before each connection.

    The keys, `symmetric` and `held`, outlive a command line, and so do versions.
    """

    data: Path
    capture: pytest.CaptureFixture[str]
    root: Signer = field(default_factory=lambda: Signer(b"r" * 32))
    projected: Projected = field(default_factory=Projected)
    prepare: list[Callable[[Deployment], None]] = field(default_factory=list)
    received: list[Any] = field(default_factory=list)
    symmetric: SymmetricKeys = field(default_factory=lambda: SymmetricKeys(b"s" * 32))
    held: UserKeys = field(default_factory=UserKeys)
    versions: dict[str, int] = field(default_factory=lambda: {KEY: 1})

    @property
    def identities(self) -> Path:
        return self.data / "identities"

    @property
    def deployment(self) -> str:
        return self.root.fingerprint

    def __call__(self, *words: str) -> Ran:
        self.received.clear()
        self.capture.readouterr()
        code = main.run(["--data", str(self.data), *words])
        shown = self.capture.readouterr()
        return Ran(code, shown.out, shown.err, list(self.received))

    def done(self, *words: str) -> Ran:
        ran = self(*words)
        assert ran.code == 0, ran.err
        return ran

    def set_up(self) -> None:
        self.identities.mkdir(parents=True)
        create_identity(self.identities / "admin-1.json", "admin-1", self.deployment)
        save_config(
            Config(
                data_directory=self.data,
                bootstrap_servers="unused:1",
                deployment=self.deployment,
                postgres_dsn="unused",
                postgres_reader_dsn="unused",
                pkcs11_module=Path("unused"),
                pins_directory=self.data / "pins",
                identities_directory=self.identities,
                development=True,
            )
        )

    @asynccontextmanager
    async def connected(self, identity: Identity | Path) -> AsyncIterator[Keyfold]:
        bus = MemoryBus(MemoryCluster(4))
        deployment = Deployment(bus, root=self.root, symmetric=self.symmetric, held=self.held, keys=self.versions)
        for path in [*self.identities.glob("*.json"), *([identity] if isinstance(identity, Path) else [])]:
            signer = load_identity(path).signer
            deployment.signers[signer.fingerprint] = Verifier(signer.public_key, signer.algorithm)
        for prepare in self.prepare:
            prepare(deployment)
        await deployment.start()
        try:
            for key_id, held in self.held.versions.items():
                for version in range(1, len(held) + 1):
                    await deployment.publish(deployment.material_event(key_id, version))
            await deployment.publish_alias(ORDERS, KEY)
            settings: dict[str, Any] = {**FAST}
            kms = Keyfold.connect(bus=deployment.bus, identity=identity, deployment=self.deployment, **settings)
            async with kms:
                yield kms
        finally:
            await deployment.stop()
            self.received += deployment.received


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """A command line in a deployment with one administrator, a key and its alias."""
    made = Terminal(tmp_path / "data", capsys)
    made.set_up()

    def client(session: Session, config: Config, identity: Identity | Path | None = None) -> Any:
        return made.connected(identity or session.identity(config))

    @asynccontextmanager
    async def queries(session: Session, config: Config) -> AsyncIterator[Projected]:
        yield made.projected

    made.projected.keys_[KEY] = a_key()
    monkeypatch.setattr(typer.main, "get_command", built)
    monkeypatch.setattr(Session, "client", client)
    monkeypatch.setattr(Session, "queries", queries)
    return made


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the files of command lines lie."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
