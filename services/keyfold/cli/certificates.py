"""Erasure certificates as documents: the worker's signed records with all that a stranger needs to believe them. Pure.

A bundle holds, verbatim, genesis (it names the root key), what root certified and revoked, the records that epoch keys
were destroyed and sealing keys erased, and `KeyErased`. Each is checked by its author's signature and inclusion path,
from the deployment's fingerprint alone. That nothing later revokes a key, no file can say: it is as old as its export.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from keyfold.cli.exits import Differs
from keyfold.events import facts
from keyfold.events.directory import verify_verbatim
from keyfold.events.errors import InvalidCommand, UnsupportedVersion
from keyfold.events.statements import PATH_HEADER, SIGNATURE_HEADER, SIGNER_HEADER, STATEMENT_HEADER, Header
from keyfold.events.trust import Trust

FORMAT: Final = "keyfold-erasure-certificate-v1"
_TEXTS: Final = (SIGNER_HEADER, STATEMENT_HEADER)
_BYTES: Final = (SIGNATURE_HEADER, PATH_HEADER)


@dataclass(frozen=True, slots=True)
class Record:
    """An event, verbatim, with the headers by which it is believed."""

    value: bytes
    headers: tuple[Header, ...]

    def as_data(self) -> dict[str, str]:
        """Return it as a document: text where it is text, hexadecimal where not."""
        found = {name: value or b"" for name, value in self.headers}
        texts = {name: found[name].decode() for name in _TEXTS}
        return {"value": self.value.decode(), **texts, **{name: found[name].hex() for name in _BYTES}}

    @classmethod
    def from_data(cls, data: Mapping[str, str]) -> "Record":
        """Take a document back. Raises `KeyError`, `ValueError` or `AttributeError` for another."""
        texts = [(name, data[name].encode()) for name in _TEXTS]
        return cls(data["value"].encode(), (*texts, *((name, bytes.fromhex(data[name])) for name in _BYTES)))


@dataclass(frozen=True, slots=True)
class Bundle:
    """What is exported. `root` begins with genesis and holds what root said, in its order."""

    root: tuple[Record, ...]
    storage_epochs: tuple[Record, ...]
    sealing_keys: tuple[Record, ...]
    erased: tuple[Record, ...]

    def as_data(self) -> dict[str, Any]:
        """Return it as a document."""
        return {
            "format": FORMAT,
            **{name: [record.as_data() for record in getattr(self, name)] for name in self.__slots__},
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> "Bundle":
        """Take a document back. Raises `KeyError`, `ValueError`, `TypeError` or `AttributeError` for another."""
        if data["format"] != FORMAT:
            raise ValueError(FORMAT)
        return cls(*(tuple(Record.from_data(record) for record in data[name]) for name in cls.__slots__))


@dataclass(frozen=True, slots=True)
class Checked:
    """A bundle whose records are authentic and belong together."""

    deployment: str
    epochs: tuple[facts.StorageEpochKeyDestroyed, ...]
    sealing_keys: tuple[facts.SealingKeyErased, ...]
    erased: tuple[facts.KeyErased, ...]


def check(bundle: Bundle, deployment: str) -> Checked:
    """Believe a bundle from the deployment's fingerprint. Raises `UntrustedRecord`, and `Differs` for gaps in it."""
    genesis = _genesis(bundle)
    partitions = genesis.data.partitions
    trust = Trust.pin(deployment, bytes.fromhex(genesis.data.root_public_key))
    for record in bundle.root:
        event = verify_verbatim(trust, partitions, record.value, record.headers)
        trust = trust.with_event(_only((facts.Genesis, facts.ServiceKeyCertified, facts.ServiceKeyRevoked), event))

    def believed(records: Iterable[Record]) -> list[facts.Event]:
        return [verify_verbatim(trust, partitions, record.value, record.headers) for record in records]

    epochs = [event for event in believed(bundle.storage_epochs) if isinstance(event, facts.StorageEpochKeyDestroyed)]
    sealing = [event for event in believed(bundle.sealing_keys) if isinstance(event, facts.SealingKeyErased)]
    erased = [event for event in believed(bundle.erased) if isinstance(event, facts.KeyErased)]
    if not erased or len({event.data.key_id for event in erased}) > 1:
        raise Differs("there is not exactly one key that this is about")
    for certificate in erased:
        _check_whole(certificate, epochs, sealing)
    return Checked(deployment, tuple(epochs), tuple(sealing), tuple(erased))


def _check_whole(
    certificate: facts.KeyErased,
    epochs: Sequence[facts.StorageEpochKeyDestroyed],
    sealing: Sequence[facts.SealingKeyErased],
) -> None:
    """What the certificate rests on must be here too: every epoch up to the last of the blobs, and the sealing key."""
    data = certificate.data
    destroyed = {event.data.epoch for event in epochs if event.data.found_after == 0}
    missing = sorted(set(range(1, data.epoch + 1)) - destroyed)
    if missing:
        raise Differs(f"there is no record that the key of storage epoch {missing[0]} is destroyed")
    if data.epoch_key_destroyed not in {event.id for event in epochs}:
        raise Differs("the record that ended the last storage epoch is not the one that the certificate names")
    if data.sealing_key is not None and data.sealing_key not in {event.data.sealing_key for event in sealing}:
        raise Differs("there is no record that the last sealing key of the key's commands is erased")


def _genesis(bundle: Bundle) -> facts.Genesis:
    try:
        first = facts.parse_event(bundle.root[0].value)
    except (IndexError, InvalidCommand, UnsupportedVersion):
        first = None
    if not isinstance(first, facts.Genesis):
        raise Differs("the certificate does not begin with genesis")
    return first


def _only(kinds: tuple[type[facts.Event], ...], event: facts.Event) -> facts.Event:
    if not isinstance(event, kinds):
        raise Differs(f"{event.type} is not what root says about keys of services")
    return event
