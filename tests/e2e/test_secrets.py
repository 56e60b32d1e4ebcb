"""No secret is anywhere but where it belongs: a search over everything that a busy deployment has written.

Plaintexts, data keys, PINs and signing keys are looked for in topics' log files, logs, Postgres (its files and a dump),
token directories, settings, and in the command lines and environments of all processes. Each search has a control that
must be found, so it can see. The second half takes everything but the PINs, and gets nothing out of it.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from tests.support.scene import FORGED, PLAIN, SECRET, Scene, spellings, stage
from tests.support.wire import bus_of

from keyfold.bus import Outbound
from keyfold.cli.demo.needles import Needles
from keyfold.config import Config
from keyfold.events import facts, topics
from keyfold.events.errors import KeyfoldError
from keyfold.events.streams import partition_of

pytestmark = pytest.mark.stack
pytest_plugins = ["tests.support.running_stack"]

CONTROL = "public-" + SECRET[-8:].hex()
CONTEXT = {"control": CONTROL}


@pytest.fixture(scope="module")
def data_keys(scene: Scene) -> list[bytes]:
    """Keep the deployment busy with planted plaintexts; return the data keys that it made meanwhile."""
    return asyncio.run(_busy(scene))


async def _busy(scene: Scene) -> list[bytes]:
    found: list[bytes] = []
    async with scene.client("alice") as kms, scene.admin() as admin, stage(scene) as on:
        for name in ("software", "hsm"):
            key = scene.keys[name]
            plaintexts = [SECRET + b"%d" % number for number in range(50)]
            ciphertexts = await kms.encrypt_batch(key, plaintexts, context=CONTEXT)
            await admin.rotate_key(key)
            opened = await kms.decrypt_batch(key, [c for c in ciphertexts if isinstance(c, bytes)], context=CONTEXT)
            assert opened == plaintexts
            made = await kms.generate_data_key_batch(key, 20, context=CONTEXT)
            found += [one.plaintext for one in made if not isinstance(one, KeyfoldError)]
            found.append(await kms.generate_random(32))
            with pytest.raises(KeyfoldError):
                await kms.encrypt(scene.keys["disabled"], SECRET, context=CONTEXT)
        await on.failed(on.encrypt(data={"items": 9}), "InvalidBody")
        await on.rejected(on.encrypt(value=PLAIN.encode()), "InvalidCommand", told=False)
        await on.wire.send(Outbound(topics.COMMANDS, 1, b"key/" + PLAIN.encode(), PLAIN.encode()))
        await on.wire.send(Outbound(topics.EVENTS, 1, b"key/" + FORGED, FORGED))
        await on.goes_on()
    assert len(found) == 42
    return found


def files_under(*places: Path) -> list[Path]:
    """Every file that has content, but for Kafka's indexes: large, sparse, and made of numbers only."""
    found = [path for place in places for path in sorted(place.rglob("*")) if path.is_file() and not path.is_symlink()]
    return [path for path in found if path.suffix not in {".index", ".timeindex"} and _size(path)]


def _size(path: Path) -> int:
    """The size in bytes; 0 of what is gone meanwhile: the broker and the database run."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def search(paths: Iterable[Path], needles: Iterable[bytes]) -> set[tuple[str, bytes]]:
    """Return (file, needle) for every needle that occurs in a file."""
    found: set[tuple[str, bytes]] = set()
    sieve = Needles(needles)
    for path in paths:
        with suppress(FileNotFoundError):  # gone meanwhile
            found |= {(str(path), needle) for needle in sieve.within(path.read_bytes())}
    return found


def all_spellings(secrets: Iterable[bytes]) -> list[bytes]:
    """Every spelling of every secret."""
    return [spelling for secret in secrets for spelling in spellings(secret)]


def test_plaintexts_and_data_keys_are_in_no_file(scene: Scene, data_keys: list[bytes]) -> None:
    """Nothing in the data directory has them; the control, an encryption context, is in topics and in Postgres."""
    everything = files_under(scene.config.data_directory)
    found = search(everything, [CONTROL.encode(), *all_spellings([SECRET, *data_keys])])
    controls = {path for path, needle in found if needle == CONTROL.encode()}
    assert {one for one in found if one[1] != CONTROL.encode()} == set()
    for topic in ("keyfold.commands-", "keyfold.authorized-", "keyfold.events-"):
        assert any(topic in path for path in controls), topic
    assert any("/postgres/" in path for path in controls)


def test_what_strangers_write_stays_where_they_wrote_it(scene: Scene, data_keys: list[bytes]) -> None:
    """A record that is no command, or no event, is in no log line, dead letter, event or table."""
    found = search(files_under(scene.config.data_directory), [PLAIN.encode(), FORGED])
    assert {path for path, needle in found if needle == PLAIN.encode()}
    assert [path for path, needle in found if needle == PLAIN.encode() and "/keyfold.commands-" not in path] == []
    assert {path for path, needle in found if needle == FORGED}
    assert [path for path, needle in found if needle == FORGED and "/kafka/data/" not in path] == []


def test_a_dump_of_postgres_has_no_secret(scene: Scene, data_keys: list[bytes]) -> None:
    """Compressed values are not in the files as they are: what a reader can select is searched as well."""
    dump = b"".join(_dump(scene.config))
    assert CONTROL.encode() in dump
    for spelling in all_spellings([SECRET, *data_keys, *_pins(scene.config), *_private_keys(scene.config)]):
        assert spelling not in dump


def test_pins_and_signing_keys_are_in_their_own_files_only(scene: Scene, data_keys: list[bytes]) -> None:
    """Each PIN once in `pins`, each private key once in `identities`; nowhere else, in no spelling."""
    config = scene.config
    pins, keys = _pins(config), _private_keys(config)
    assert len(pins) >= 4
    assert len(keys) >= 5
    found = search(files_under(config.data_directory), [*pins, *(key.hex().encode() for key in keys)])
    own = (str(config.pins_directory), str(config.identities_directory))
    assert {needle for _, needle in found} == {*pins, *(key.hex().encode() for key in keys)}
    assert [path for path, _ in found if not path.startswith(own)] == []
    assert len(found) == len(pins) + len(keys)
    other = [spelling for key in keys for spelling in spellings(key) if spelling != key.hex().encode()]
    other += [bytes.fromhex(pin.decode()) for pin in pins]
    assert search(files_under(config.data_directory), other) == set()
    for path in files_under(config.pins_directory, config.identities_directory):
        assert path.stat().st_mode & 0o077 == 0, path


def test_command_lines_and_environments_have_no_secret(scene: Scene, data_keys: list[bytes]) -> None:
    """Of every process of the deployment: what any user of the machine, or its owner, can read of it."""
    config = scene.config
    forbidden = [*_pins(config), *all_spellings([SECRET, *data_keys, *_private_keys(config)])]
    seen = 0
    for record in sorted(config.run_directory.glob("*.pid")):
        pid = json.loads(record.read_text())["pid"]
        for name in ("cmdline", "environ"):
            content = Path(f"/proc/{pid}/{name}").read_bytes()
            assert content
            assert [needle for needle in forbidden if needle in content] == [], (record.name, name)
        seen += str(config.data_directory).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert seen >= 4


def test_without_the_pins_tokens_and_topics_give_nothing(scene: Scene, data_keys: list[bytes], tmp_path: Path) -> None:
    """Blobs open with the token and its PIN, and not with a wrong PIN, nor with fresh tokens whose PINs are known."""
    blobs = asyncio.run(_blobs(scene))
    assert {blob["protection"] for blob in blobs} == {"HSM", "SOFTWARE", "sealing"}
    assert _attempt(scene.config, tmp_path / "thief", blobs, "pin") == {"opened": len(blobs)}
    assert _attempt(scene.config, tmp_path / "guess", blobs, "wrong pin") == {"PinIncorrect": 1}
    fresh = _attempt(scene.config, tmp_path / "fresh", blobs, "fresh")
    assert fresh == {"InvalidBlob": 2, "SealingKeyRetired": 1}


def _attempt(config: Config, place: Path, blobs: list[dict[str, Any]], how: str) -> dict[str, int]:
    """Try to open blobs in a process of its own, on a copy of the token directory (or on a new one)."""
    place.mkdir()
    tokens = place / "softhsm"
    assert config.softhsm2_conf is not None
    if how == "fresh":
        (tokens / "tokens").mkdir(parents=True)
    else:
        shutil.copytree(config.softhsm2_conf.parent, tokens)
    conf = tokens / config.softhsm2_conf.name
    text = config.softhsm2_conf.read_text().replace(str(config.softhsm2_conf.parent), str(tokens))
    conf.write_text(text)
    shutil.copytree(config.pins_directory, place / "pins")
    if how == "fresh":
        shutil.rmtree(place / "pins")
        (place / "pins").mkdir(mode=0o700)
    if how == "wrong pin":
        (place / "pins" / "kms").write_text(os.urandom(16).hex() + "\n")
    changed = config.model_copy(update={"softhsm2_conf": conf, "pins_directory": place / "pins"})
    task = {"config": changed.model_dump(mode="json"), "blobs": blobs, "fresh": how == "fresh"}
    program = [sys.executable, "-m", "tests.support.thief"]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        program, input=json.dumps(task), capture_output=True, text=True, timeout=60, check=False, cwd=root
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout)
    return found


async def _blobs(scene: Scene) -> list[dict[str, Any]]:
    """One blob of each protection level, and the current sealing key's, from the keystore topic."""
    wanted = {scene.keys["hsm"], scene.keys["software"]}
    found: dict[str, dict[str, Any]] = {}
    places = {0, *(partition_of(f"key/{key}", scene.config.partitions) for key in wanted)}
    for place in places:
        reader = bus_of(scene.config).reader(topics.KEYSTORE, place, committed=True)
        await reader.start(None)
        async for records in reader.read_to_end():
            for record in records:
                try:
                    event = facts.parse_event(record.value or b"")
                except KeyfoldError:
                    continue
                if isinstance(event, facts.KeyMaterialStored) and event.data.key_id in wanted:
                    data = event.data
                    found[data.protection] = {
                        "protection": data.protection, "id": data.key_id, "version": data.version, "blob": data.blob,
                    }  # fmt: skip
                if isinstance(event, facts.SealingKeyStored):
                    found["sealing"] = {
                        "protection": "sealing", "id": event.data.sealing_key, "version": 0, "blob": event.data.blob,
                    }  # fmt: skip
        await reader.stop()
    assert all(b64decode(blob["blob"]) for blob in found.values())
    return list(found.values())


def _pins(config: Config) -> list[bytes]:
    return [path.read_bytes().strip() for path in files_under(config.pins_directory)]


def _private_keys(config: Config) -> list[bytes]:
    files = [json.loads(path.read_text()) for path in files_under(config.identities_directory)]
    return [bytes.fromhex(file["ed25519"]) for file in files]


def _dump(config: Config) -> Iterable[bytes]:
    """Every row of every table that the owner of the projections sees."""
    with psycopg.connect(config.postgres_dsn) as connection:
        tables = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE NOT starts_with(schemaname, 'pg_')"
            " AND schemaname <> 'information_schema'"
        ).fetchall()
        assert tables
        for schema, table in tables:
            query = sql.SQL("COPY (SELECT * FROM {}) TO STDOUT").format(sql.Identifier(schema, table))
            with connection.cursor().copy(query) as copy:
                for block in copy:
                    yield bytes(block)
