"""What the tests of ceremonies share: settings with an empty token directory, a log in memory, and reading it back."""

from pathlib import Path

from tests.conftest import SoftHSM

from keyfold.bus import Bus, MemoryCluster
from keyfold.bus.topic_plan import plan
from keyfold.ceremony import Initialised, initialise, tokens
from keyfold.config import Config
from keyfold.embedded.softhsm import prepare_softhsm
from keyfold.events import facts, topics
from keyfold.events.chains import ChainReader, read_event
from keyfold.events.signatures import fingerprint
from keyfold.events.trust import Trust

NOW_MS = 1_800_000_000_000


def now() -> int:
    """The clock of these tests."""
    return NOW_MS


def settings(home: Path, softhsm: SoftHSM, **changes: object) -> Config:
    """Settings of a deployment that has not begun, in a directory of its own."""
    home.mkdir(exist_ok=True)
    values = {
        "data_directory": home,
        "bootstrap_servers": "127.0.0.1:1",
        "postgres_dsn": "none",
        "postgres_reader_dsn": "none",
        "pkcs11_module": softhsm.module,
        "softhsm2_conf": prepare_softhsm(home),
        "pins_directory": home / "pins",
        "identities_directory": home / "identities",
        "partitions": 3,
    }
    return Config.model_validate({**values, **changes})


def empty_topics() -> MemoryCluster:
    """A cluster as the ceremony would have made it, with nothing on it."""
    cluster = MemoryCluster(topics=(), clock_ms=now)
    for row in plan(3, topics.TOPICS, (), 1):
        cluster.create(row)
    return cluster


async def begin(config: Config, bus: Bus) -> Initialised:
    """Hold the first ceremony, without a word."""
    return await initialise(config, bus, now, lambda _line: None)


async def events_of(bus: Bus, partitions: int = 3) -> list[facts.Event]:
    """Read partition 0 as every reader does: genesis pins the root, chains and signatures are checked."""
    chains = ChainReader(topics.EVENTS, 0, partitions)
    trust: Trust | None = None
    found: list[facts.Event] = []
    reader = bus.reader(topics.EVENTS, 0, committed=True)
    await reader.start(None)
    async for batch in reader.read_to_end():
        for record in batch:
            if trust is None:
                genesis = facts.parse_event(record.value or b"")
                assert isinstance(genesis, facts.Genesis)
                key = bytes.fromhex(genesis.data.root_public_key)
                trust = Trust.pin(fingerprint(key), key)
            accepted = chains.accept(trust, record.key, record.value, record.headers, record.timestamp_ms)
            found.append(read_event(accepted, topics.EVENTS))
            trust = trust.with_event(found[-1])
    await reader.stop()
    return found


def notary_keys(config: Config) -> tuple[bytes, bytes]:
    """The public keys in the token `notary`."""
    with tokens.token_module(config) as module:
        return tokens.notary_keys(module, config.pins_directory)
