"""The synchronous facade, from threads."""

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from keyfold.client import ClientClosed, DryRun, Keyfold, sync
from keyfold.client.control_verbs import ControlVerbs
from keyfold.client.core import Core
from keyfold.client.data_verbs import DataVerbs
from keyfold.events.errors import InvalidCiphertext


@pytest.fixture
def client(new_deployment: Callable[[], Any]) -> Iterator[sync.Keyfold]:
    """A blocking client whose deployment answers from its own loop (memory has no threads)."""
    deployment = new_deployment()
    kms = deployment.connect()

    class Both(Keyfold):
        async def __aenter__(self) -> "Both":
            await deployment.start()
            await kms.__aenter__()
            return self

        async def __aexit__(self, *args: Any) -> None:
            await kms.__aexit__(*args)
            await deployment.stop()

    both = Both.__new__(Both)
    both.__dict__ = kms.__dict__
    with sync.Keyfold(both) as found:
        yield found


def test_calls_block_until_their_answer(client: sync.Keyfold) -> None:
    """From any number of threads; errors are the same."""
    key = client.create_key(protection="SOFTWARE")
    with ThreadPoolExecutor(8) as pool:
        ciphertexts = list(pool.map(lambda n: client.encrypt(key.key_id, b"%d" % n, context={"a": "b"}), range(40)))
    assert client.decrypt_batch(key.key_id, ciphertexts, context={"a": "b"}) == [b"%d" % n for n in range(40)]
    with pytest.raises(InvalidCiphertext):
        client.decrypt(key.key_id, ciphertexts[0])
    assert (client.principal, len(client.deployment), len(client.sealing_keys())) == ("alice", 64, 1)
    assert len(client.new_key_id()) == 36
    assert isinstance(client.rotate_key(key.key_id, dry_run=True), DryRun)


def test_it_has_every_verb_with_the_same_signature() -> None:
    """Whoever adds a verb adds it to both."""
    verbs = [
        (name, verb)
        for owner in (DataVerbs, ControlVerbs, Core)
        for name, verb in inspect.getmembers(owner, inspect.iscoroutinefunction)
        if not name.startswith("_")
    ]
    assert {"dry_run", "create_grant", "propose", "put_issuer", "resolve"} <= {name for name, _ in verbs}
    for name, verb in verbs:
        assert inspect.signature(getattr(sync.Keyfold, name)) == inspect.signature(verb), name


def test_outside_with_it_is_closed(new_deployment: Callable[[], Any]) -> None:
    """Before and after; no thread is left."""
    deployment = new_deployment()
    with pytest.raises(ClientClosed):
        sync.Keyfold(deployment.connect()).encrypt("alias/a", b"")
    kms = sync.Keyfold(deployment.connect(connect_timeout_s=0.05))
    with pytest.raises(Exception, match="genesis"), kms:
        pass
    with pytest.raises(ClientClosed):
        kms.create_key()
    with pytest.raises(ClientClosed), kms:
        pass
    assert not [thread for thread in threading.enumerate() if thread.name == "keyfold-client"]


def test_a_blocking_call_in_its_own_loop_is_refused(client: sync.Keyfold) -> None:
    """It would wait for itself."""

    async def call() -> None:
        client.create_key()

    assert client._loop is not None
    with pytest.raises(RuntimeError):
        asyncio.run_coroutine_threadsafe(call(), client._loop).result()
