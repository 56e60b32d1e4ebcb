"""Orders as the tests of the worker need them: keys are made and rotated, and used."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from tests.unit.hsm.deployment import Deployment
from tests.unit.hsm.exchange import Order

from keyfold.events import facts
from keyfold.events.streams import key_stream, principal_stream


def new_key() -> str:
    """An id that no key has."""
    return str(uuid4())


def create(deployment: Deployment, key_id: str, protection: str = "SOFTWARE") -> Order:
    """A symmetric key is made."""
    spec = {"key_spec": "SYMMETRIC_DEFAULT", "protection": protection}
    fact = {**spec, "description": "", "tags": {}, "created_by": "alice"}
    return deployment.order("CreateKey", key_stream(key_id), arguments=spec, decided=(facts.KeyCreated, fact))


def rotate(deployment: Deployment, key_id: str, version: int, protection: str = "SOFTWARE") -> Order:
    """Its next version is made."""
    fact = {"version": version, "key_spec": "SYMMETRIC_DEFAULT", "protection": protection, "cause": "requested"}
    return deployment.order("RotateKey", key_stream(key_id), decided=(facts.KeyRotated, fact))


def use(deployment: Deployment, verb: str, key_id: str, items: Sequence[tuple[int, bytes]], **more: Any) -> Order:
    """A data-plane verb on the first version, unless told otherwise."""
    more = {"version": 1, "protection": "SOFTWARE", **more}
    return deployment.order(verb, key_stream(key_id), items, **more)


def random_bytes(deployment: Deployment, count: int, size: int) -> Order:
    """So many times so many bytes."""
    stream = principal_stream("alice")
    arguments = {"number_of_bytes": size}
    return deployment.order("GenerateRandom", stream, [(0, b"")] * count, arguments=arguments)
