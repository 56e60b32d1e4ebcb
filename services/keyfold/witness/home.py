"""A witness's directory: its key, what it pinned, and one small file of state for each log. Synchronous file work.

    key.json              the cosigner's keys (0600)
    pins.json             the deployment's fingerprint, its number of partitions, and the notary's keys
    state/<partition>     the last checkpoint that was cosigned, as a signed note with the witness's own line
    evidence/<...>        checkpoints that contradict the state, beside what they contradict
    position              where in the checkpoints topic to go on; a hint
    lock                  held while a witness runs

The state is what a cosignature promises: who loses it, or runs on an old copy, can cosign a fork.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from keyfold.events.checkpoints import SignedCheckpoint, open_checkpoint, origin_of
from keyfold.events.notes import Note, NoteInvalid
from keyfold.witness.cosigner import (
    ALGORITHMS,
    Cosigner,
    CosignerAlgorithm,
    WitnessUnusable,
    create_cosigner,
    load_cosigner,
)
from keyfold.witness.files import sync_directory, write_durably

NotaryKey = tuple[bytes, bytes | None]
"""Ed25519 and, if there is one, ML-DSA-44, as `Trust.notary_keys` has them."""
_FORMAT: Final = "keyfold-witness-v1"


@dataclass(frozen=True, slots=True)
class Pins:
    """What the witness believes of the deployment. `notary_keys` were certified by root when they were pinned."""

    deployment: str
    partitions: int
    notary_keys: tuple[NotaryKey, ...]


class Home:
    """The directory of one witness."""

    def __init__(self, directory: Path, cosigner: Cosigner, pins: Pins) -> None:
        self.directory, self.cosigner, self.pins = directory, cosigner, pins

    def state(self, partition: int) -> SignedCheckpoint | None:
        """Return the last checkpoint of a log that this witness cosigned. Raises `WitnessUnusable`."""
        path = self._state(partition)
        try:
            signed = open_checkpoint(path.read_bytes(), self.cosigner.vkeys)
        except FileNotFoundError:
            return None
        except NoteInvalid as error:
            raise WitnessUnusable(f"{path} is no checkpoint that this witness cosigned: {error}") from None
        if signed.checkpoint.origin != origin_of(self.pins.deployment, partition):
            raise WitnessUnusable(f"{path} is of another log")
        return signed

    def keep(self, partition: int, note: Note) -> None:
        """Make a cosigned checkpoint the state of its log, durably."""
        write_durably(self._state(partition), note.to_bytes())

    def keep_evidence(self, partition: int, kept: Note, found: Note) -> Path:
        """Keep two checkpoints that contradict each other; return where. The same two are kept once."""
        name = sha256(found.text.encode()).hexdigest()[:16]
        directory = self.directory / "evidence" / f"{partition}-{name}"
        if not directory.exists():
            directory.mkdir(parents=True)
            write_durably(directory / "kept", kept.to_bytes())
            write_durably(directory / "found", found.to_bytes())
            sync_directory(directory.parent)
        return directory

    def evidence(self) -> list[Path]:
        """Return what was kept."""
        return sorted((self.directory / "evidence").glob("*"))

    def position(self) -> int | None:
        """Return where to go on in the checkpoints topic, if that is known."""
        try:
            return int((self.directory / "position").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def keep_position(self, position: int) -> None:
        """Note where to go on. If we crash before, checkpoints are looked at again, which changes nothing."""
        write_durably(self.directory / "position", f"{position}\n".encode())

    def pin(self, notary_keys: Sequence[NotaryKey]) -> None:
        """Pin other keys of the notary."""
        self.pins = Pins(self.pins.deployment, self.pins.partitions, tuple(notary_keys))
        _write_pins(self.directory, self.pins)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one who runs on this directory. Raises `WitnessUnusable`."""
        descriptor = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise WitnessUnusable(f"a witness runs in {self.directory} already") from None
        finally:
            os.close(descriptor)

    def _state(self, partition: int) -> Path:
        return self.directory / "state" / str(partition)


def create_home(directory: Path, name: str, pins: Pins, algorithms: Sequence[CosignerAlgorithm] = ALGORITHMS) -> Home:
    """Make a witness in a new or empty directory. Raises `WitnessUnusable`."""
    if directory.exists() and any(directory.iterdir()):
        raise WitnessUnusable(f"{directory} is not empty; a witness begins in a directory of its own")
    (directory / "state").mkdir(parents=True, mode=0o700)
    _write_pins(directory, pins)
    cosigner = create_cosigner(directory / "key.json", name, algorithms)
    sync_directory(directory.parent)
    return Home(directory, cosigner, pins)


def open_home(directory: Path) -> Home:
    """Open a witness's directory. Raises `WitnessUnusable`."""
    path = directory / "pins.json"
    try:
        document: dict[str, Any] = json.loads(path.read_text())
        if document["format"] != _FORMAT:
            raise WitnessUnusable(f"{path} is of another version")
        keys = tuple(
            (bytes.fromhex(each["ed25519"]), bytes.fromhex(each["ml-dsa-44"]) if each["ml-dsa-44"] else None)
            for each in document["notary_keys"]
        )
        pins = Pins(document["deployment"], document["partitions"], keys)
    except FileNotFoundError:
        raise WitnessUnusable(f"there is no witness in {directory}; run `keyfold witness init`") from None
    except (ValueError, KeyError, TypeError):
        raise WitnessUnusable(f"{path} does not hold the pins of a witness") from None
    return Home(directory, load_cosigner(directory / "key.json"), pins)


def _write_pins(directory: Path, pins: Pins) -> None:
    keys = [{"ed25519": one.hex(), "ml-dsa-44": two.hex() if two else None} for one, two in pins.notary_keys]
    document = {
        "format": _FORMAT, "deployment": pins.deployment, "partitions": pins.partitions, "notary_keys": keys,
    }  # fmt: skip
    write_durably(directory / "pins.json", (json.dumps(document, indent=2) + "\n").encode())
