"""The command `keyfold demo`: brings the system up, plays the acts, shows the evidence, and serves until Ctrl-C."""

import shutil
import signal
import time
from pathlib import Path
from typing import Annotated, Final

import typer
import uvloop

from keyfold.cli import key_show, output, parts, system
from keyfold.cli.demo import acts, evidence
from keyfold.cli.demo.files import Document, Places, choose
from keyfold.cli.demo.narration import Narrator
from keyfold.cli.demo.vocabulary import vocabulary
from keyfold.cli.exits import Differs
from keyfold.cli.records import as_line
from keyfold.cli.session import Session, now_ms, of
from keyfold.client import Keyfold
from keyfold.config import Config
from keyfold.embedded import Stack
from keyfold.events import topics
from keyfold.projections.ports import Queries

_KEPT_RUNS: Final = 3
_ADMINISTRATOR: Final = "admin-1"
_TRIES: Final = (
    "keyfold status",
    "keyfold events tail",
    "keyfold key describe alias/demo",
    "keyfold --as demo data-key alias/demo",
)


def demo(
    context: typer.Context,
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="[PATH]...", help="Files and directories to protect; else its own.")
    ] = None,
    *,
    once: Annotated[bool, typer.Option("--once", help="Leave after the demonstration instead of serving.")] = False,
) -> None:
    """Show the main job on real files: protect them, rotate the key, bring them back, and prove what is claimed.

    Starts what does not run, and stops on Ctrl-C (or at the end, with --once) what it started, and nothing else.

    Example: keyfold demo --once ~/Documents
    """
    session = of(context)
    documents = choose(paths or [])
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    stack = session.stack()
    before = parts.running(stack)
    narrator = Narrator(as_json=session.as_json)
    try:
        with narrator.step("Start Kafka, Postgres, the tokens and the services"):
            config = system.bring_up(session, stack)
            narrator.tell(
                f"deployment {config.deployment}\ndata in {session.data}, broker at {config.bootstrap_servers}",
                deployment=config.deployment,
                already_running=sorted(before),
            )
        uvloop.run(Play(session, config, documents, narrator).perform())
        narrator.close()
        if not once:
            _serve(session, stack)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave half of it running
        system.stop_what_was_started(stack, before)


def _serve(session: Session, stack: Stack) -> None:
    """Wait for Ctrl-C, or until somebody else took everything down."""
    session.say("serving; Ctrl-C stops what this command started. In another terminal, try:")
    for line in _TRIES:
        session.say(f"  {line}")
    try:
        while parts.running(stack) - {"supervisor"}:
            time.sleep(1.0)
    except KeyboardInterrupt:
        session.say("stopping")


class Play:
    """One performance."""

    def __init__(self, session: Session, config: Config, documents: list[Document], narrator: Narrator) -> None:
        self._session, self._config, self._narrator = session, config, narrator
        self._documents = documents
        self._bus = session.bus(config)
        self._began_s = time.time()
        runs = session.data / "demo"
        runs.mkdir(mode=0o700, exist_ok=True)
        self._places = Places(runs / time.strftime("%Y%m%dT%H%M%S"))
        self._places.home.mkdir(mode=0o700)
        for old in sorted(path for path in runs.iterdir() if path.is_dir())[:-_KEPT_RUNS]:
            shutil.rmtree(old)

    async def perform(self) -> None:
        """Play all acts. Raises `Differs` where anything is not as it must be."""
        start = await evidence.end_of_log(self._bus)
        admin_file = self._config.identities_directory / f"{_ADMINISTRATOR}.json"
        async with (
            self._session.queries(self._config) as queries,
            self._session.client(self._config, admin_file) as admin,
        ):
            tell = self._narrator.tell
            with self._narrator.step(f"{_ADMINISTRATOR} registers an ordinary principal, makes a key and a policy"):
                identity, registered = await acts.ensure_principal(self._session, self._config, queries, admin)
                key_id, created = await acts.ensure_key(admin, queries, identity.name)
                tell(f"principal {identity.name} {'registered' if registered else 'is known from before'}")
                tell(f"key {key_id} {'created in the token' if created else 'is there from before'}, {acts.ALIAS}",
                     key_id=key_id)  # fmt: skip
                tell(acts.policy_text(identity.name).rstrip())
            path = self._config.identities_directory / f"{identity.name}.json"
            async with self._session.client(self._config, path) as kms:
                await self._protect(kms, admin, key_id)
                await self._be_refused(kms)
            await self._show(queries, start, identity.name, key_id)
        self._prove(key_id, identity.name)

    async def _protect(self, kms: Keyfold, admin: Keyfold, key_id: str) -> None:
        tell, documents = self._narrator.tell, self._documents
        half = max(1, len(documents) // 2)
        first, rest = documents[:half], documents[half:]
        with self._narrator.step(f"{kms.principal} protects {len(first)} files, each with a data key of its own"):
            count = await acts.protect(kms, first, self._places)
            tell(f"{output.size(count)} encrypted into {self._places.home / 'encrypted'}", bytes=count)
        with self._narrator.step(f"{admin.principal} rotates the key; {kms.principal} protects the rest"):
            rotated = await admin.rotate_key(acts.ALIAS)
            later = rest or first  # a single file is protected again: the new version must be used in any case
            old = acts.versions_used(first, self._places)
            count = await acts.protect(kms, later, self._places)
            new = acts.versions_used(later, self._places)
            if new != {rotated.version} or (rest and not max(old) < rotated.version):
                raise Differs(f"version {rotated.version} is current, but {sorted(new)} was used")
            tell(f"{len(later)} files, {output.size(count)}, under version {rotated.version}; before {sorted(old)}")
        with self._narrator.step(f"{kms.principal} decrypts all {len(documents)} files and compares them"):
            count = await acts.bring_back(kms, documents, self._places, key_id)
            tell(f"{output.size(count)} came back, byte for byte the same", files=len(documents), bytes=count)

    async def _be_refused(self, kms: Keyfold) -> None:
        with self._narrator.step(f"{kms.principal} tries what it must not"):
            self._narrator.tell(await acts.be_refused(kms), code="AccessDenied")
            self._narrator.tell(await acts.be_mistaken(kms, self._documents[0], self._places))

    async def _show(self, queries: Queries, start: dict[int, int], principal: str, key_id: str) -> None:
        tell = self._narrator.tell
        with self._narrator.step("The events that this made, verified from the log itself"):
            rows = await evidence.events_since(
                self._bus, self._config.deployment or "", start, frozenset({principal, _ADMINISTRATOR})
            )
            denied = [row for row in rows if row.outcome == "denied"]
            if not denied or not any(row.verb == "GenerateDataKey" and row.outcome == "completed" for row in rows):
                raise Differs("the log does not show what was done and denied")
            tell("\n".join(as_line(row) for row in rows), events=len(rows), denied=len(denied))
        with self._narrator.step("State and audit trail in Postgres"):
            audited = await evidence.audit_of(queries, rows)
            tell(key_show.description(await key_show.described(queries, key_id, now_ms())))
            tell(f"{len(audited)} audit rows, each the exact bytes of its event", audit_rows=len(audited))

    def _prove(self, key_id: str, principal: str) -> None:
        with self._narrator.step("No plaintext in any topic's log files"):
            proof = evidence.no_plaintext(
                self._config.data_directory / "kafka" / "data",
                self._documents,
                public=acts.policy_text(principal).encode() + vocabulary(),
                known=key_id.encode(),
                must_have=(topics.COMMANDS, topics.AUTHORIZED, topics.EVENTS, topics.KEYSTORE),
                since_s=self._began_s,
            )
            self._narrator.tell(
                f"{proof.pieces} pieces of {proof.documents} files, as text, hex and base64: "
                f"none in {proof.files} files ({output.size(proof.bytes)}) of the broker\n"
                f"the same search does find the key's id in {', '.join(proof.controls)}",
                proof=proof,
            )
