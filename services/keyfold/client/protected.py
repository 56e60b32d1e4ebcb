"""Context values that the log must not see: replaced, before anything is signed, by a digest under a tenant's key.

An encryption context stands in the log in clear. `protect(value, tenant=…)` marks a value of one; what is signed and
logged in its place is `hmac-sha256:<tenant key id>:<base64url of HMAC-SHA-256(tenant key, u32 length of the name ‖ name
‖ value)>`. The same value gives the same text, so it decrypts again and can be searched for by who may use the tenant's
key. Once that key is destroyed nobody can link values to digests any more; what was encrypted under them still opens
with the digest itself, as it stands in the log.

Here are the value, the port that makes digests, and its implementation by Keyfold's own HMAC keys. Putting digests in
the place of values is in `protecting`.
"""

import asyncio
import base64
import re
from collections import OrderedDict
from collections.abc import Mapping
from contextvars import Context as TaskContext
from typing import Any, Final, Protocol

from keyfold.client.errors import InvalidArgument
from keyfold.client.values import Mac
from keyfold.events.errors import KeyfoldError
from keyfold.events.specs import MacAlgorithm

PREFIX: Final = "hmac-sha256"
_ALIAS: Final = "alias/context/"
_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_NO_TEXT: Final = "\0protected"
_Value = tuple[str, str, str]


class ContextKeyRotated(KeyfoldError):
    """A tenant's key has a second version: its digests would differ from all before."""

    code = "ContextKeyRotated"


class Protected(str):
    """A context value that is to be protected; `protect` makes it. As text it is only a placeholder.

    The placeholder has a character that no command may hold: where a digest is not put in its place, it is refused.
    """

    __slots__ = ("tenant", "value")
    tenant: str
    value: str

    def __new__(cls, value: str, tenant: str) -> "Protected":
        made = super().__new__(cls, _NO_TEXT)
        made.value, made.tenant = value, tenant
        return made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Protected) and (self.tenant, self.value) == (other.tenant, other.value)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((self.tenant, self.value))

    def __repr__(self) -> str:
        return f"Protected(tenant={self.tenant!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Protected, (self.value, self.tenant)

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:  # noqa: ARG002
        """Refuse: what is not sent by a client is not protected by it. Raises `InvalidArgument`."""
        raise InvalidArgument("a protected value has no bytes; use `await kms.context_as_logged(context)` in its place")


def protect(value: str, *, tenant: str) -> str:
    """Mark a context value as one that only its tenant's key may tell. Raises `InvalidArgument`.

    Give it as a value of any context: `context={"patient": protect("4711", tenant="clinic-a"), "kind": "letter"}`.
    """
    if not isinstance(value, str) or isinstance(value, Protected):
        raise InvalidArgument("a protected value is text that is not protected yet")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidArgument("a protected value must be valid Unicode") from None
    if not isinstance(tenant, str) or not _TENANT.fullmatch(tenant):
        raise InvalidArgument("a tenant's name has 1 to 100 of A-Z, a-z, 0-9, '.', '_' and '-'")
    return Protected(value, tenant)


def is_protected(context: Mapping[str, str]) -> bool:
    """Tell whether a context has values that are to be protected. What is no context has none: others refuse it."""
    try:
        return any(type(value) is Protected for value in context.values())
    except (AttributeError, TypeError):
        return False


def message_of(name: str, value: str) -> bytes:
    """Return what the MAC of a digest is over."""
    encoded = name.encode()
    return len(encoded).to_bytes(4, "big") + encoded + value.encode()


class ContextKeys(Protocol):
    """Makes digests: the same of the same tenant, name and value for as long as the tenant's key exists."""

    async def digest(self, tenant: str, name: str, value: str) -> str:
        """Return the text that stands in the log in the place of a value. Raises `KeyfoldError`."""


class MacClient(Protocol):
    """What tenant keys in Keyfold need of a client; `keyfold.client.Keyfold` is one."""

    async def resolve(self, key: str) -> str: ...

    async def generate_mac(self, key: str, message: bytes, *, mac_algorithm: MacAlgorithm) -> Mac: ...


class KeyfoldContextKeys:
    """Tenant keys in the KMS itself: an HMAC_256 key for each, under `alias/context/<tenant>`. No client holds one.

    Digests are asked for once and remembered: at most `remembered` of them, for `max_age_s`, which is also how long a
    destroyed key's digests may still be made from memory. Belongs to one event loop.
    """

    def __init__(self, kms: MacClient, *, remembered: int = 4096, max_age_s: float = 300.0) -> None:
        self._kms, self._remembered, self._max_age_s = kms, remembered, max_age_s
        self._known: OrderedDict[_Value, tuple[float, str]] = OrderedDict()
        self._asking: dict[_Value, asyncio.Task[str]] = {}

    async def digest(self, tenant: str, name: str, value: str) -> str:
        """Return the digest. Raises `NotFound` without a tenant key, `ContextKeyRotated`, and what GenerateMac does."""
        wanted = (tenant, name, value)
        known = self._known.get(wanted)
        if known is not None and asyncio.get_running_loop().time() < known[0]:
            self._known.move_to_end(wanted)
            return known[1]
        task = self._asking.get(wanted)
        if task is None:
            # In a context of its own: the MAC is nobody's call, so it has no receipt in the caller's list.
            task = asyncio.create_task(self._ask(wanted), context=TaskContext())
            self._asking[wanted] = task
            task.add_done_callback(lambda done: self._asked(wanted, done))
        return await asyncio.shield(task)

    async def _ask(self, wanted: _Value) -> str:
        tenant, name, value = wanted
        key_id = await self._kms.resolve(_ALIAS + tenant)
        made = await self._kms.generate_mac(key_id, message_of(name, value), mac_algorithm="HMAC_SHA_256")
        if made.key_version != 1:
            raise ContextKeyRotated(
                f"the context key of tenant {tenant} was rotated, so its digests are not those of before; "
                "move the alias to a new key and encrypt again, or use contexts as they are logged"
            )
        return f"{PREFIX}:{key_id}:{base64.urlsafe_b64encode(made.mac).rstrip(b'=').decode()}"

    def _asked(self, wanted: _Value, done: asyncio.Task[str]) -> None:
        del self._asking[wanted]
        if done.cancelled() or done.exception() is not None:
            return
        self._known[wanted] = (asyncio.get_running_loop().time() + self._max_age_s, done.result())
        self._known.move_to_end(wanted)
        while len(self._known) > self._remembered:
            self._known.popitem(last=False)
