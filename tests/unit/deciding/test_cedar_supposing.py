"""Questions about registries that may never be: answered from what is read already, without a trace in the original."""

from typing import Any

import cedarpy
import pytest
from tests.unit.deciding.cedar_requests import K1, key, registry, request

from keyfold.deciding.cedar import Authorizer
from keyfold.events.entities import Deployment, Entity

ALL = "permit(principal, action, resource);"
NONE = "forbid(principal, action, resource);"
ITEMS = "permit(principal, action, resource) when { context.items < 10 };"
KEY = key(K1, ITEMS, ALL, revision=1)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect every text that Cedar parses."""
    texts: list[str] = []
    real = cedarpy.policies_to_json_str

    def parse(text: str) -> str:
        texts.append(text)
        return real(text)

    monkeypatch.setattr(cedarpy, "policies_to_json_str", parse)
    return texts


def deployed(*texts: str, revision: int = 1) -> dict[str, Entity]:
    deployment = Deployment(root_public_key="0" * 64, partitions=4, development=True, policies_revision=revision)
    return registry(*texts) | {"deployment": deployment}


def remembered(authorizer: Authorizer) -> list[Any]:
    library = authorizer._library
    caches = (authorizer._plans, authorizer._verdicts, authorizer._entities, library._keys, library._sets)
    return [
        authorizer._revision,
        library._texts,
        library._registry,
        *([(name, id(value)) for name, value in cache._entries.items()] for cache in caches),
    ]


@pytest.mark.parametrize("revision", [1, 2])
def test_the_supposed_registry_decides(revision: int) -> None:
    """The answer is that of the supposed registry, at a new revision or at the same; the original's stays."""
    authorizer, asked = Authorizer(), request("Encrypt", KEY)
    assert authorizer.authorize(asked, deployed(ALL), 1).allowed
    supposed = deployed(ALL, NONE, revision=revision)
    assert not authorizer.supposing(supposed).authorize(asked, supposed, revision).allowed
    assert authorizer.authorize(asked, deployed(ALL), 1).allowed


def test_before_genesis() -> None:
    """A registry without a deployment is read with the first question."""
    supposed = registry(NONE)
    assert Authorizer().supposing(supposed).authorize(request("Encrypt", KEY), supposed, 0).policies == (
        "registry/p0#0",
    )


def test_nothing_is_read_twice(parsed: list[str]) -> None:
    """Only new texts are parsed, of the registry and of a key; also for a question upon a question."""
    authorizer = Authorizer()
    authorizer.authorize(request("Encrypt", KEY), deployed(ALL, ITEMS), 1)
    assert parsed == [ALL, ITEMS, ITEMS, ALL]
    parsed.clear()
    supposed = deployed(ALL, ITEMS, NONE, revision=2)
    once = authorizer.supposing(supposed)
    twice = once.supposing(supposed)
    for asking in (once, twice):
        asking.authorize(request("Encrypt", KEY), supposed, 2)
    assert parsed == [NONE]
    parsed.clear()
    changed = key(K1, ITEMS, NONE, revision=2)
    assert not authorizer.supposing(supposed).authorize(request("Encrypt", changed), supposed, 2).allowed
    assert parsed == [NONE, NONE]


def test_the_original_is_not_disturbed() -> None:
    """Questions change nothing that the original remembers, not even the order in which it would forget."""
    authorizer, policies = Authorizer(), deployed(ALL, ITEMS)
    for verb in ("Encrypt", "Decrypt"):
        authorizer.authorize(request(verb, KEY), policies, 1)
    authorizer.authorize(request("Encrypt", key("01890000-0000-7000-8000-000000000009", ITEMS)), policies, 1)
    before = remembered(authorizer)
    supposed = authorizer.supposing(deployed(NONE, revision=2))
    for asked in (request("Encrypt", KEY), request("Decrypt", key(K1, NONE, revision=9)), request("GenerateRandom")):
        assert not supposed.authorize(asked, deployed(NONE, revision=2), 2).allowed
    authorizer.supposing(policies).authorize(request("Encrypt", KEY), policies, 1)
    assert remembered(authorizer) == before
