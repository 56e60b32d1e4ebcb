"""Small archives, told step by step, and looking at the decisions in them."""

import random
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from tests.support.archive import Archive
from tests.support.people import PARTITIONS, RULES, key_on

from keyfold.deciding.replaying import Recorded, replay
from keyfold.events.streams import REGISTRY

ONE = key_on(1)
KEY_ID = ONE.removeprefix("key/")
T = TypeVar("T")
Wish = tuple[str, str, dict[str, Any]]


def quiet(rules: str = RULES) -> Archive:
    """An archive in which nothing but introductions has happened, and which everybody has read.

    alice and bob are administrators, dave and erin readers, carol is in no group.
    """
    made = Archive(random.Random(1), rules=rules)  # noqa: S311 - choices of a test
    read(made)
    return made


def read(made: Archive) -> None:
    """Let everybody read everything."""
    for partition in range(PARTITIONS):
        made.follow(partition, 10**6)
        made.catch_up(partition, 10**6)


def asked(made: Archive, *wishes: Wish, by: str = "alice") -> None:
    """Let one principal ask, one batch for each command."""
    for verb, stream, options in wishes:
        made.send([made.asked(by, (verb, stream, dict(options)))])


def put(name: str, text: str, stream: str = REGISTRY) -> Wish:
    return "PutPolicy", stream, {"arguments": {"policy": name, "text": text}}


def recorded(made: Archive) -> Iterator[Recorded]:
    return replay(made.sources())


def last(made: Archive, look: Callable[[Recorded], T], partition: int = 1) -> T:
    """Look at the last decision of a partition while its world is live."""
    for each in replay({0: iter(made.log[0]), partition: iter(made.log[partition])}):
        if each.leaf.partition == partition and each.leaf.position == len(made.log[partition]) - 1:
            return look(each)
    raise AssertionError("it was not replayed")
