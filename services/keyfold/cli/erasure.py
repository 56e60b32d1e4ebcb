"""`keyfold key erasure-certificate` and `check-certificate`: evidence that destroyed key material is beyond recovery.

What a certificate is, and how it is believed, is in `certificates`.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from keyfold.bus import Bus
from keyfold.cli import output
from keyfold.cli.arguments import KeyName
from keyfold.cli.certificates import Bundle, Checked, Record, check
from keyfold.cli.exits import UsageError
from keyfold.cli.session import of
from keyfold.client.identifiers import is_alias
from keyfold.events import facts, topics
from keyfold.events.entities import Alias
from keyfold.events.errors import NotFound
from keyfold.events.statements import PATH_HEADER, SIGNATURE_HEADER, SIGNER_HEADER, STATEMENT_HEADER
from keyfold.events.streams import key_stream, partition_of
from keyfold.log import RegistryFollower
from keyfold.projections.fold import Leaf
from keyfold.projections.positions import Offsets
from keyfold.projections.replay import Replay

app = typer.Typer()

WORDS: Final[dict[str, str]] = {
    "keystore": "the keystore: no blob of these versions is in it",
    "log": "the log: older records of the blobs do not open any more",
    "log-backups": "backups of the log: the storage epoch's key, without which copies do not open, is destroyed",
    "payloads-of-commands": "recorded commands: the sealing keys that their bodies were sealed to are erased",
    "token-backups": "backups of the token, of its keys or its files, if somebody made one",
    "token-media": "the media that the token itself is stored on, as a token in software is",
    "copies-by-users-of-the-token": "copies that somebody with the token's PIN made while the keys were in it",
    "plaintext-that-callers-hold": "plaintexts and data keys that callers were given",
}
"""The terms of `KeyErased`, in words."""
_HEADERS: Final = frozenset({SIGNER_HEADER, STATEMENT_HEADER, SIGNATURE_HEADER, PATH_HEADER})
_DEMONSTRATION: Final = (
    "DEMONSTRATION: this token is software. Whoever has its files and PIN has its keys, also those it has destroyed, "
    "as far as the disk still holds them"
)


@app.command("erasure-certificate")
def erasure_certificate(
    context: typer.Context,
    key: KeyName,
    *,
    to: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where the certificate goes (JSON).")
    ] = None,
) -> None:
    """Export the proof that destroyed versions of a key are erased, verbatim from the verified log.

    Example: keyfold key erasure-certificate alias/orders -o orders-erased.json
    """
    session = of(context)
    config = session.config
    bundle = session.run(_gathered(session.bus(config), config.deployment or "", key))
    checked = check(bundle, config.deployment or "")
    if to is not None:
        to.write_text(json.dumps(bundle.as_data(), indent=2) + "\n", "utf-8")
        session.say(f"certificate written to {to}")
    session.show(bundle.as_data(), in_words(checked))


@app.command("check-certificate")
def check_certificate(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `key erasure-certificate -o` wrote.")],
    *,
    deployment: Annotated[
        str | None, typer.Option(metavar="FINGERPRINT", help="The deployment's fingerprint; else that of the settings.")
    ] = None,
) -> None:
    """Check an erasure certificate offline, from the deployment's fingerprint alone. Exit code 4 if it is forged.

    Example: keyfold key check-certificate orders-erased.json --deployment "$(cat fingerprint.txt)"
    """
    session = of(context)
    pinned = deployment or session.config.deployment or ""
    try:
        bundle = Bundle.from_data(json.loads(file.read_text("utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError):
        made = "`keyfold key erasure-certificate -o` writes them"
        raise UsageError(f"{file} holds no erasure certificate; {made}") from None
    checked = check(bundle, pinned)
    session.show({"authentic": True, **as_data(checked)}, f"authentic\n\n{in_words(checked)}")


def as_data(checked: Checked) -> dict[str, Any]:
    """Return what a checked bundle says, as a document."""
    erased = [{"id": event.id, "time": event.time, **event.data.model_dump(mode="json")} for event in checked.erased]
    return {"deployment": checked.deployment, "erased": erased}


def in_words(checked: Checked) -> str:
    """Return what a checked bundle says, what it covers and what not."""
    return "\n\n".join(_one(checked, certificate) for certificate in checked.erased)


def _one(checked: Checked, certificate: facts.KeyErased) -> str:
    data = certificate.data
    ended = next(event for event in checked.epochs if event.id == data.epoch_key_destroyed)
    about = [
        ("key", data.key_id),
        ("versions", data.versions),
        ("erased", f"{certificate.time}, by statement of the HSM worker"),
        ("deployment", checked.deployment),
        ("destroyed by", {version: f"command at offset {offset}" for version, offset in data.destroyed_by.items()}),
        ("storage epoch", f"{data.epoch}; its key and all before are destroyed ({ended.time})"),
        ("token", f"{ended.data.token}, serial {ended.data.serial}, {ended.data.module}"),
        ("the token said", f"{ended.data.answer}; it finds {ended.data.found_after} such keys afterwards"),
        ("sealing key", f"{data.sealing_key} and all before are erased" if data.sealing_key else None),
        ("blobs (SHA-256)", data.blob_digests),
    ]
    covers, not_ = (_list(terms) for terms in (data.covers, data.does_not_cover))
    label = [_DEMONSTRATION] if data.demonstration else []
    return "\n".join([*label, output.pairs(about), "it covers", covers, "it does not cover", not_])


def _list(terms: list[str]) -> str:
    return "\n".join(f"  - {WORDS.get(term, term)}" for term in terms) or "  - nothing"


async def _gathered(bus: Bus, deployment: str, key: str) -> Bundle:
    """Read the registry and the key's partition. Raises `NotFound` where nothing is certified, `ChainGap`."""
    follower = RegistryFollower(bus, deployment)
    try:
        await follower.start()
        key_id = _key_id(follower, key)
        of_root, epochs, sealing = [], [], []
        for event, record in await _records(bus, follower, 0, _is_registry_evidence):
            match event:
                case facts.StorageEpochKeyDestroyed():
                    epochs.append(record)
                case facts.SealingKeyErased():
                    sealing.append((event.data.sealing_key, record))
                case _:
                    of_root.append(record)
        partition = partition_of(key_stream(key_id), follower.deployment_entity.partitions)
        erased = await _records(bus, follower, partition, lambda event: _is_certificate(event, key_id))
    finally:
        await follower.stop()
    if not erased:
        raise NotFound(f"no version of {key} is certified as erased; `keyfold key versions` and `hsm status` say why")
    named = {event.data.sealing_key for event, _ in erased}
    return Bundle(
        tuple(of_root),
        tuple(epochs),
        tuple(record for sealing_key, record in sealing if sealing_key in named),
        tuple(record for _, record in erased),
    )


def _is_registry_evidence(event: facts.Event) -> bool:
    of_root = facts.Genesis | facts.ServiceKeyCertified | facts.ServiceKeyRevoked
    return isinstance(event, of_root | facts.StorageEpochKeyDestroyed | facts.SealingKeyErased)


def _is_certificate(event: facts.Event, key_id: str) -> bool:
    return isinstance(event, facts.KeyErased) and event.data.key_id == key_id


def _key_id(follower: RegistryFollower, key: str) -> str:
    if not is_alias(key):
        return key
    alias = follower.view.get(key)
    if not isinstance(alias, Alias):
        raise NotFound(f"there is no {key} in the registry; a destroyed key is named by its id")
    return alias.key_id


async def _records(
    bus: Bus, follower: RegistryFollower, partition: int, wanted: Callable[[facts.Event], bool]
) -> list[tuple[facts.Event, Record]]:
    """Return the events of a partition that are wanted, believed, with their headers."""
    believing = Replay(follower.deployment_entity.partitions, Offsets(partition))
    found: list[tuple[facts.Event, Record]] = []
    reader = bus.reader(topics.EVENTS, partition, committed=True)
    await reader.start(None)
    try:
        async for batch in reader.read_to_end():
            for record in batch:
                leaf = believing.read(follower.trust, record)
                if isinstance(leaf, Leaf) and wanted(leaf.event):
                    headers = tuple(pair for pair in leaf.headers if pair[0] in _HEADERS)
                    found.append((leaf.event, Record(leaf.accepted.entry.value, headers)))
    finally:
        await reader.stop()
    return found
