"""A backup of what the bus holds, as whoever took it may read it: blobs, import keys and sealed bodies.

It opens nothing. Custody and the tokens that would are the test's.
"""

from base64 import b64decode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.support.key_orders import Kind

from keyfold.bus import Inbound
from keyfold.custody import KeyReference, blobs
from keyfold.custody.forms import import_reference
from keyfold.events import facts
from keyfold.events.commands import parse_command
from keyfold.events.statements import SEALED_HEADER
from keyfold.events.streams import key_id_bytes


@dataclass
class Copies:
    """A backup: every keystore record and every ticket, with the sealed bodies, as they lay in the log."""

    keystore: list[Inbound]
    tickets: list[Inbound]

    def materials(self) -> Iterator[tuple[KeyReference, bytes]]:
        """Every blob of key material, with what it is of."""
        references: dict[tuple[str, int], KeyReference] = {}
        for record in self.keystore:
            event = facts.parse_event(record.value or b"")
            if isinstance(event, facts.KeyMaterialStored):
                kind_of = Kind(event.data.key_spec, event.data.key_usage, event.data.protection)
                reference = kind_of.reference(event.data.key_id, event.data.version)
                references[event.data.key_id, event.data.version] = reference
                yield reference, b64decode(event.data.blob)
            elif isinstance(event, facts.KeyMaterialRewrapped):
                for version, blob in event.data.blobs.items():
                    yield references[event.data.key_id, int(version)], b64decode(blob)

    def import_keys(self) -> Iterator[tuple[KeyReference, bytes]]:
        """Every blob of an import key."""
        for event in (facts.parse_event(record.value or b"") for record in self.keystore):
            if isinstance(event, facts.ImportKeyStored):
                identifier, blob = bytes.fromhex(event.data.import_token.replace("-", "")), b64decode(event.data.blob)
                yield import_reference(identifier, blobs.spec_of(blob)), blob

    def bodies(self) -> Iterator[tuple[str, bytes, bytes]]:
        """Every sealed body: the sealing key, the command, what was sealed."""
        for record in self.tickets:
            event = facts.parse_event(record.value or b"")
            assert isinstance(event, facts.PolicyEvent)
            command = event.data.decision.command.encode()
            yield parse_command(command).data.sealing_key, command, record.header(SEALED_HEADER) or b""


def of_keys(copies: Copies, keys: Iterable[str]) -> list[tuple[KeyReference, bytes]]:
    """The blobs of these keys."""
    wanted = {key_id_bytes(key_id) for key_id in keys}
    return [(reference, blob) for reference, blob in copies.materials() if reference.key_id in wanted]
