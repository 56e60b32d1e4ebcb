"""The client for programs without asyncio: the same verbs, blocking, from any number of threads.

It runs one event loop in a thread of its own (uvloop where it is installed). Concurrent calls of several threads are
coalesced like those of tasks. Not for use inside an event loop: there, use `keyfold.client.Keyfold`.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from keyfold.client import connection
from keyfold.client.errors import ClientClosed
from keyfold.client.receipts import Receipt
from keyfold.client.view import SealingKeyPeriod
from keyfold.events.storage import Capability

P = ParamSpec("P")
R = TypeVar("R")
Async = connection.Keyfold


def _blocking(
    verb: Callable[Concatenate[Async, P], Coroutine[Any, Any, R]],
) -> "Callable[Concatenate[Keyfold, P], R]":
    @wraps(verb)
    def call(self: "Keyfold", /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._wait(verb(self._kms, *args, **kwargs))

    return call


class Keyfold:
    """A connected client; see `keyfold.client.Keyfold` for the verbs, which have the same arguments and errors.

    with Keyfold.connect(bootstrap_servers="localhost:9092", identity="alice.json") as kms:
        ciphertext = kms.encrypt("alias/orders", b"...")
    """

    def __init__(self, kms: Async) -> None:
        self._kms = kms
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    def connect(cls, **arguments: Any) -> Self:
        """Return a client to be entered with `with`. The arguments are those of `keyfold.client.Keyfold.connect`."""
        return cls(Async.connect(**arguments))

    def __enter__(self) -> Self:
        if self._thread is not None:
            raise ClientClosed("a client is entered once; connect another")
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), name="keyfold-client", daemon=True)
        self._thread.start()
        started.wait()
        try:
            self._wait(self._kms.__aenter__())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._wait(self._kms.__aexit__(kind, error, trace))
        finally:
            self._stop()

    @property
    def deployment(self) -> str:
        """The pinned fingerprint of the deployment's root identity."""
        return self._kms.deployment

    @property
    def principal(self) -> str:
        """Who this client signs as."""
        return self._kms.principal

    def new_key_id(self) -> str:
        """Return a fresh key id."""
        return self._kms.new_key_id()

    def sealing_keys(self) -> list[SealingKeyPeriod]:
        """The deployment's sealing keys that are not erased, oldest first."""
        return self._kms.sealing_keys()

    def capabilities(self) -> list[Capability]:
        """What keys this deployment offers, as its HSM worker found last."""
        return self._kms.capabilities()

    def with_receipts(self) -> AbstractContextManager[list[Receipt]]:
        """Ask for a receipt of each command that this thread's calls send inside the block."""
        return self._kms.with_receipts()

    proof = _blocking(Async.proof)
    encrypt = _blocking(Async.encrypt)
    decrypt = _blocking(Async.decrypt)
    re_encrypt = _blocking(Async.re_encrypt)
    generate_data_key = _blocking(Async.generate_data_key)
    generate_data_key_without_plaintext = _blocking(Async.generate_data_key_without_plaintext)
    generate_data_key_pair = _blocking(Async.generate_data_key_pair)
    generate_data_key_pair_without_plaintext = _blocking(Async.generate_data_key_pair_without_plaintext)
    generate_random = _blocking(Async.generate_random)
    sign = _blocking(Async.sign)
    verify = _blocking(Async.verify)
    generate_mac = _blocking(Async.generate_mac)
    verify_mac = _blocking(Async.verify_mac)
    derive_shared_secret = _blocking(Async.derive_shared_secret)
    encapsulate = _blocking(Async.encapsulate)
    decapsulate = _blocking(Async.decapsulate)
    encrypt_batch = _blocking(Async.encrypt_batch)
    decrypt_batch = _blocking(Async.decrypt_batch)
    re_encrypt_batch = _blocking(Async.re_encrypt_batch)
    generate_data_key_batch = _blocking(Async.generate_data_key_batch)
    generate_data_key_pair_batch = _blocking(Async.generate_data_key_pair_batch)
    sign_batch = _blocking(Async.sign_batch)
    verify_batch = _blocking(Async.verify_batch)
    generate_mac_batch = _blocking(Async.generate_mac_batch)
    verify_mac_batch = _blocking(Async.verify_mac_batch)
    derive_shared_secret_batch = _blocking(Async.derive_shared_secret_batch)
    encapsulate_batch = _blocking(Async.encapsulate_batch)
    decapsulate_batch = _blocking(Async.decapsulate_batch)
    dry_run = _blocking(Async.dry_run)
    context_as_logged = _blocking(Async.context_as_logged)
    resolve = _blocking(Async.resolve)
    public_key = _blocking(Async.public_key)

    create_key = _blocking(Async.create_key)
    rotate_key = _blocking(Async.rotate_key)
    enable_key = _blocking(Async.enable_key)
    disable_key = _blocking(Async.disable_key)
    schedule_key_deletion = _blocking(Async.schedule_key_deletion)
    cancel_key_deletion = _blocking(Async.cancel_key_deletion)
    destroy_key = _blocking(Async.destroy_key)
    destroy_key_now = _blocking(Async.destroy_key_now)
    tag_key = _blocking(Async.tag_key)
    untag_key = _blocking(Async.untag_key)
    update_usage_budget = _blocking(Async.update_usage_budget)
    create_alias = _blocking(Async.create_alias)
    update_alias = _blocking(Async.update_alias)
    delete_alias = _blocking(Async.delete_alias)
    rotate_sealing_key = _blocking(Async.rotate_sealing_key)
    erase_sealing_key = _blocking(Async.erase_sealing_key)

    update_key_validity = _blocking(Async.update_key_validity)
    enable_key_rotation = _blocking(Async.enable_key_rotation)
    disable_key_rotation = _blocking(Async.disable_key_rotation)
    disable_key_version = _blocking(Async.disable_key_version)
    enable_key_version = _blocking(Async.enable_key_version)
    destroy_key_version = _blocking(Async.destroy_key_version)
    mark_key_compromised = _blocking(Async.mark_key_compromised)
    get_public_key = _blocking(Async.get_public_key)
    get_parameters_for_import = _blocking(Async.get_parameters_for_import)
    import_key_material = _blocking(Async.import_key_material)
    import_key = _blocking(Async.import_key)
    delete_imported_key_material = _blocking(Async.delete_imported_key_material)
    begin_storage_epoch = _blocking(Async.begin_storage_epoch)
    end_storage_epoch = _blocking(Async.end_storage_epoch)

    register_principal = _blocking(Async.register_principal)
    update_principal = _blocking(Async.update_principal)
    suspend_principal = _blocking(Async.suspend_principal)
    resume_principal = _blocking(Async.resume_principal)
    revoke_principal = _blocking(Async.revoke_principal)
    add_signing_key = _blocking(Async.add_signing_key)
    rotate_signing_key = _blocking(Async.rotate_signing_key)
    revoke_signing_key = _blocking(Async.revoke_signing_key)
    assume_principal_with_web_identity = _blocking(Async.assume_principal_with_web_identity)
    put_issuer = _blocking(Async.put_issuer)
    put_issuer_keys = _blocking(Async.put_issuer_keys)
    delete_issuer = _blocking(Async.delete_issuer)

    put_policy = _blocking(Async.put_policy)
    delete_policy = _blocking(Async.delete_policy)
    create_grant = _blocking(Async.create_grant)
    retire_grant = _blocking(Async.retire_grant)
    revoke_grant = _blocking(Async.revoke_grant)
    put_limit = _blocking(Async.put_limit)
    delete_limit = _blocking(Async.delete_limit)
    acknowledge_incident = _blocking(Async.acknowledge_incident)
    close_incident = _blocking(Async.close_incident)
    put_suppression = _blocking(Async.put_suppression)
    delete_suppression = _blocking(Async.delete_suppression)

    propose = _blocking(Async.propose)
    approve_proposal = _blocking(Async.approve_proposal)
    deny_proposal = _blocking(Async.deny_proposal)
    cancel_proposal = _blocking(Async.cancel_proposal)
    once = _blocking(Async.once)

    def _wait(self, work: Coroutine[Any, Any, R]) -> R:
        loop = self._loop
        if loop is None or loop.is_closed():
            work.close()
            raise ClientClosed("the client is not connected; use it inside `with`")
        if self._thread is threading.current_thread():
            work.close()
            raise RuntimeError("a blocking call inside the client's own event loop would wait for itself")
        future = asyncio.run_coroutine_threadsafe(work, loop)
        try:
            return future.result()
        except BaseException:
            # Also when the waiting thread is interrupted (Ctrl-C): nobody waits any more.
            future.cancel()
            raise

    def _run(self, started: threading.Event) -> None:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            self._loop = runner.get_loop()
            self._loop.call_soon(started.set)
            self._loop.run_forever()

    def _stop(self) -> None:
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
