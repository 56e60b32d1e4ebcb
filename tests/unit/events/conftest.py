"""Golden vectors and examples for the tests of `keyfold.events`, and a small deployment to sign records with."""

import json
import runpy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.events.book import Book

from keyfold.events import facts
from keyfold.events.signatures import Signer
from keyfold.events.statements import Chain, ChainHead, Entry, Header, sign_entries
from keyfold.events.streams import partition_of
from keyfold.events.times import to_milliseconds
from keyfold.events.trust import Trust

FOLDER = Path(__file__).resolve().parents[2] / "vectors"


@cache
def _vectors(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text("utf-8"))


@cache
def _examples() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(FOLDER / "examples.py")))


@cache
def _events() -> dict[type[facts.Event], facts.Event]:
    return {type(event): event for event in _examples().events()}


@pytest.fixture(scope="session")
def vectors() -> Callable[[str], Any]:
    """Read a golden vector file by its name without suffix."""
    return _vectors


@pytest.fixture(scope="session")
def examples() -> Any:
    """The examples that the vectors are made of."""
    return _examples()


@pytest.fixture
def document(examples: Any) -> Callable[..., dict[str, Any]]:
    """A command's example with changes: a name with `__` for each level sets or (None) removes a field."""

    def make(name: str, **changes: Any) -> dict[str, Any]:
        made: dict[str, Any] = json.loads(json.dumps(examples.command_document(name)))
        for path, value in changes.items():
            *parents, last = path.split("__")
            target = made
            for parent in parents:
                target = target[parent]
            if value is None:
                del target[last]
            else:
                target[last] = value
        return made

    return make


@dataclass(frozen=True)
class Record:
    """What a consumer hands to a reader."""

    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]

    def with_header(self, name: str, value: bytes) -> "Record":
        return replace(self, headers=tuple((n, value if n == name else v) for n, v in self.headers))

    def without(self, name: str) -> "Record":
        return replace(self, headers=tuple(h for h in self.headers if h[0] != name))

    def header(self, name: str) -> bytes:
        return dict(self.headers)[name]


class Author:
    """Signs statements of one role on one topic partition, in order."""

    def __init__(self, deployment: str, role: str, signer: Signer, topic: str, partition: int) -> None:
        self.chain = Chain(deployment, topic, role, partition)
        self.signer = signer
        self.head = ChainHead()

    def write(self, entries: Sequence[Entry]) -> list[Record]:
        self.head, headers = sign_entries(self.chain, self.head, entries, self.signer.fingerprint, self.signer.sign)
        return [Record(entry.key, entry.value, made) for entry, made in zip(entries, headers, strict=True)]

    def write_events(self, *events: facts.Event) -> list[Record]:
        return self.write([Entry(event.subject.encode(), event.to_value()) for event in events])


class World:
    """A deployment of four partitions with certified policy and hsm keys, at the examples' time."""

    partitions = 4

    def __init__(self) -> None:
        self.examples = _examples()
        self.now = to_milliseconds(self.examples.TIME)
        self.deployment: str = self.examples.DEPLOYMENT
        self.key_stream: str = self.examples.KEY_STREAM
        self.partition = partition_of(self.key_stream, self.partitions)
        self.bare = Trust.pin(self.deployment, self.examples.ROOT.public_key)
        self.trust = self.bare.with_event(self.certificate("policy")).with_event(self.certificate("hsm"))

    def certificate(
        self,
        service: str,
        *,
        topics: Sequence[str] = ("keyfold.events", "keyfold.authorized", "keyfold.keystore"),
        not_before: str = "2026-01-01T00:00:00.000Z",
        not_after: str = "2026-03-01T00:00:00.000Z",
        signer: Signer | None = None,
    ) -> facts.ServiceKeyCertified:
        event = facts.ServiceKeyCertified.new(
            "certificate",
            "registry",
            self.examples.TIME,
            public_key=(signer or self.examples.signer(service)).public_key.hex(),
            service=service,
            topics=list(topics),
            not_before=not_before,
            not_after=not_after,
        )
        assert isinstance(event, facts.ServiceKeyCertified)
        return event

    def revocation(self, service: str, last_valid: dict[str, int]) -> facts.ServiceKeyRevoked:
        public_key = self.examples.signer(service).public_key.hex()
        event = facts.ServiceKeyRevoked.new(
            "revocation", "registry", self.examples.TIME, public_key=public_key, last_valid=last_valid
        )
        assert isinstance(event, facts.ServiceKeyRevoked)
        return event

    def author(self, role: str, *, topic: str = "keyfold.events", partition: int | None = None) -> Author:
        place = self.partition if partition is None else partition
        return Author(self.deployment, role, self.examples.signer(role), topic, place)

    def entries(self, count: int, text: str = "record") -> list[Entry]:
        return [Entry(self.key_stream.encode(), f"{text} {i}".encode()) for i in range(count)]

    def event(self, kind: type[facts.Event]) -> facts.Event:
        return _events()[kind]


@pytest.fixture(scope="session")
def world() -> World:
    """A deployment to sign records with."""
    return World()


@pytest.fixture
def book(world: World) -> Book:
    """A deployment after genesis."""
    made = Book(world)
    made.tell(facts.Genesis)
    return made


@pytest.fixture
def with_key(book: Book) -> Book:
    """A deployment with one key."""
    book.tell(facts.KeyCreated)
    return book
