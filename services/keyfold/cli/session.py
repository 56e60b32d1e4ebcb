"""What every command works with: where the deployment lies, who acts, how to print, and its connections.

Global options may stand anywhere on the command line: `main` moves them to the front. Every start of the program
imports this module, so that each connection imports what it needs when it is asked for.
"""

import io
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import typer

from keyfold.cli.exits import NotReady
from keyfold.events.errors import Unavailable
from keyfold.logging import configure_at_first_logger, configure_logging

if TYPE_CHECKING:
    from keyfold.bus import Bus
    from keyfold.client import Keyfold
    from keyfold.config import Config
    from keyfold.embedded import Stack
    from keyfold.identity import Identity
    from keyfold.projections.store import PostgresQueries

T = TypeVar("T")
DATA_VARIABLE: Final = "KEYFOLD_DATA"
PRINCIPAL_VARIABLE: Final = "KEYFOLD_PRINCIPAL"
DEFAULT_PRINCIPAL: Final = "admin-1"


def checkout() -> Path | None:
    """The source checkout that this program runs from, if it does."""
    root = Path(__file__).resolve().parents[3]
    return root if (root / "pyproject.toml").is_file() and (root / "scripts" / "run").is_file() else None


def default_data() -> Path:
    """The data directory without a setting: `.keyfold` in a checkout, else the user's data directory."""
    if (root := checkout()) is not None:
        return root / ".keyfold"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "keyfold"


@dataclass(frozen=True, slots=True)
class Session:
    """One run of the command line. `principal` is a name in the identities directory, or a path to a file."""

    data: Path
    principal: str = DEFAULT_PRINCIPAL
    as_json: bool = False

    @property
    def settings_file(self) -> Path:
        """Where the settings of the deployment are kept."""
        from keyfold.config import CONFIG_FILE

        return self.data / CONFIG_FILE

    def stack(self, *, development: bool = False) -> "Stack":
        """The local stack in the data directory, kept running by its supervisor."""
        from keyfold.embedded import Stack

        return Stack(self.data, supervised=True, development=development, report=self.say)

    @property
    def config(self) -> "Config":
        """The deployment's settings. Raises `NotReady` where there is none yet, `ConfigError` where they are wrong."""
        from keyfold.config import load_config

        if not self.settings_file.exists():
            raise NotReady(f"there is no deployment in {self.data}; run `keyfold up`, or name another with --data")
        config = load_config(self.settings_file)
        if config.deployment is None:
            raise NotReady("this deployment was not initialised; run `keyfold init` (or `keyfold up`)")
        return config

    def bus(self, config: "Config") -> "Bus":
        """The bus of the deployment."""
        from keyfold.bus import BusSettings, KafkaBus

        return KafkaBus(BusSettings.of(config, "keyfold-cli"))

    def identity(self, config: "Config") -> Path:
        """The identity file of who acts."""
        from keyfold.identity import principal_path

        if "/" in self.principal or self.principal.endswith(".json"):
            return Path(self.principal).expanduser()
        return principal_path(config.identities_directory, self.principal)

    def client(self, config: "Config", identity: "Identity | Path | None" = None) -> "Keyfold":
        """A client, to be entered with `async with`."""
        from keyfold.bus import BusSettings
        from keyfold.client import Keyfold

        return Keyfold.connect(
            bus_settings=BusSettings.of(config, "keyfold-cli"),
            identity=identity or self.identity(config),
            deployment=config.deployment,
        )

    @asynccontextmanager
    async def queries(self, config: "Config") -> "AsyncIterator[PostgresQueries]":
        """The projections, as a reader."""
        from keyfold.projections.store import PostgresQueries

        reading = PostgresQueries(config.postgres_reader_dsn)
        try:
            yield reading
        finally:
            await reading.close()

    def ask(self, question: "Callable[[PostgresQueries], Awaitable[T]]") -> T:
        """Ask the projections and return what they say. Raises as `run` does, and what the question raises."""
        config = self.config

        async def work() -> T:
            async with self.queries(config) as queries:
                return await question(queries)

        return self.run(work())

    def say(self, line: str) -> None:
        """Tell what goes on, on standard error, so that standard output holds results only."""
        sys.stderr.write(f"keyfold: {line}\n")
        sys.stderr.flush()

    def show(self, value: Any, human: str) -> None:
        """Print a result: as data with `--json`, else as text."""
        from keyfold.cli.output import to_json

        sys.stdout.write((to_json(value) if self.as_json else human) + "\n")
        sys.stdout.flush()

    def show_lines(self, rows: Iterable[tuple[Any, str]]) -> None:
        """Print results as they come, one line each."""
        from keyfold.cli.output import to_json

        for value, human in rows:
            sys.stdout.write((to_json(value, lines=True) if self.as_json else human) + "\n")
        sys.stdout.flush()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run asynchronous work to its end. Raises `NotReady` instead of what follows from nothing being started."""
        import uvloop

        try:
            return uvloop.run(work)
        except Unavailable:
            from keyfold.cli.parts import is_down
            from keyfold.embedded import Stack

            if not is_down(Stack(self.data)):
                raise
            raise NotReady(f"the deployment in {self.data} is not running; run `keyfold up`") from None


def of(context: typer.Context) -> Session:
    """Return the session of a command."""
    session = context.obj
    if not isinstance(session, Session):
        raise TypeError("the command was called outside `main`")
    return session


def buffered_output() -> None:
    """See that standard output takes all that is written to it.

    Under PYTHONUNBUFFERED (common in containers) it is a raw file, whose `write` may take a part only, for example when
    a signal interrupts it on a pipe; what is left would be lost without a word.
    """
    if isinstance(sys.stdout.buffer, io.RawIOBase):
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(sys.stdout.buffer), encoding="utf-8", errors="surrogateescape")


def quiet_logging() -> None:
    """Libraries' log lines would break the one-line errors; KEYFOLD_DEBUG=1 shows them."""
    debug = bool(os.environ.get("KEYFOLD_DEBUG"))

    def configure() -> None:
        configure_logging("cli", "debug" if debug else "error")
        if not debug:
            logging.getLogger().setLevel(logging.CRITICAL + 1)

    if debug:
        configure()
    else:
        logging.getLogger().setLevel(logging.CRITICAL + 1)
        configure_at_first_logger(configure)


def now_ms() -> int:
    """The wall clock, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000
