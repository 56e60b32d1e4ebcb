"""`Keyfold`: the client. Connects, verifies the deployment from its pinned fingerprint, and offers the verbs."""

import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import ValidationError

from keyfold.bus import Bus, BusSettings, KafkaBus, Sender
from keyfold.client.contexts import ContextTexts
from keyfold.client.directory import Directory
from keyfold.client.errors import ClientClosed, DirectoryIncomplete, InvalidArgument
from keyfold.client.exchange import Exchange, wall_clock_ms
from keyfold.client.federation import Federation, TokenSource
from keyfold.client.lanes import Lanes
from keyfold.client.orders import OrderWriter, ReplyPlace
from keyfold.client.protected import ContextKeys
from keyfold.client.protecting import ProtectingVerbs
from keyfold.client.settings import ClientSettings
from keyfold.client.view import SealingKeyPeriod
from keyfold.events import topics
from keyfold.events.signatures import Signer
from keyfold.events.storage import Capability
from keyfold.identity import Identity, load_identity


class Keyfold(ProtectingVerbs):
    """A connected client of one deployment, as one principal; one per process serves any number of tasks.

        async with Keyfold.connect(bootstrap_servers="localhost:9092", identity=Path("alice.json")) as kms:
            ciphertext = await kms.encrypt("alias/orders", b"...", context={"order": "4711"})

    It belongs to the event loop that entered it; `keyfold.client.sync` serves threads.
    """

    def __init__(
        self,
        bus: Bus,
        identity: Identity,
        deployment: str,
        settings: ClientSettings,
        *,
        clock_ms: Callable[[], int] = wall_clock_ms,
        federation: Federation | None = None,
        context_keys: ContextKeys | None = None,
    ) -> None:
        self._bus, self._identity, self._deployment, self._federation = bus, identity, deployment, federation
        self._settings, self._clock_ms = settings, clock_ms
        self._principal = identity.name
        self._contexts, self._context_keys = ContextTexts(), context_keys
        self._lanes_by_name = {}
        self._timeout_s = settings.call_timeout_s
        self._exit: AsyncExitStack | None = None

    @classmethod
    def connect(
        cls,
        *,
        identity: Identity | Path | str | None = None,
        bootstrap_servers: str | None = None,
        deployment: str | None = None,
        token: TokenSource | None = None,
        issuer: str | None = None,
        bus: Bus | None = None,
        bus_settings: BusSettings | None = None,
        context_keys: ContextKeys | None = None,
        **settings: Any,
    ) -> Self:
        """Return a client to be entered with `async with`; nothing is connected before.

        `identity` is an identity file or what was read from one. `deployment` is the fingerprint of the root identity,
        by default the one in the identity file: whoever answers must prove to belong to it. The cluster is named by
        `bootstrap_servers`, or with credentials by `bus_settings`. Further settings are those of `ClientSettings`.

        With `token` and `issuer` the client acts as the principal that the issuer's token names: it proves that when
        it is entered, and again before the token ends where `token` is a function, which is called with the thumbprint
        that the token must bind (`cnf.jkt`). The key is one made for this client, or `identity`'s, whatever its name
        says; a token that is at hand as text binds a key that exists, so it needs `identity`.
        `context_keys` makes the digests of protected context values, by default of this deployment's tenant keys.
        Raises `IdentityUnusable` and `InvalidArgument`.
        """
        who = _who(identity, token, issuer)
        pinned = deployment or who.deployment
        if len(pinned) != 64:
            raise InvalidArgument(f"identity {who.name} names no deployment; pass deployment=<root fingerprint>")
        try:
            checked = ClientSettings(**settings)
        except ValidationError as error:
            wrong = ", ".join(".".join(str(part) for part in item["loc"]) for item in error.errors())
            raise InvalidArgument(f"wrong client settings: {wrong}") from None
        federation = None
        if token is not None and issuer is not None:
            timeout_s = checked.connect_timeout_s
            federation = Federation(issuer, token, who.signer, clock_ms=wall_clock_ms, timeout_s=timeout_s)
        bus = bus or _kafka(bootstrap_servers, bus_settings)
        return cls(bus, who, pinned, checked, federation=federation, context_keys=context_keys)

    @property
    def deployment(self) -> str:
        """The pinned fingerprint of the deployment's root identity."""
        return self._deployment

    @property
    def principal(self) -> str:
        """Who this client signs as; where a token says so, it is known once the client was entered."""
        return self._principal

    def sealing_keys(self) -> list[SealingKeyPeriod]:
        """The deployment's sealing keys that are not erased, oldest first."""
        return self._directory.view.sealing_keys()

    def capabilities(self) -> list[Capability]:
        """What keys this deployment offers, as its HSM worker found last; empty where nothing was said yet."""
        return self._directory.view.capabilities()

    def counters(self) -> dict[str, int]:
        """What went on beside the calls: directory records and replies not believed, orders sent or asked again."""
        exchange = self._exchange
        return {
            "untrusted_directory_records": self._directory.view.untrusted,
            "unauthentic_replies": exchange.unauthentic,
            "resent": exchange.resent,
            "retried": exchange.retried,
        }

    async def __aenter__(self) -> Self:
        if self._exit is not None:
            raise ClientClosed("a client is entered once; connect another")
        async with AsyncExitStack() as stack:
            await self._start(stack)
            self._exit = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._exit is not None:
            await self._exit.aclose()

    async def _start(self, stack: AsyncExitStack) -> None:
        """Connect, in the order that makes each step safe.

        1. sender: learns the cluster's topics;
        2. directory: genesis of the pinned deployment, certificates, sealing keys;
        3. inbox: stands behind the last reply, before
        4. outbox: the first command is sent;
        5. federation: the token is shown, where there is one.
        """
        sender = self._bus.sender()
        stack.push_async_callback(sender.stop)
        await sender.start()
        settings = self._settings
        self._directory = Directory(self._bus, self._deployment, alias_wait_s=settings.alias_wait_s)
        stack.push_async_callback(self._directory.stop)
        await self._directory.start(settings.connect_timeout_s)
        partitions = self._partitions(sender)
        place = self._reply_place(sender)
        if self._federation is not None:
            self._identity = await self._federation.identify(self._deployment)
            self._principal = self._identity.name
        writer = OrderWriter(self._identity, self._deployment, partitions, place, settings.host)
        self._exchange = Exchange(
            self._bus, sender, self._directory, writer=writer, place=place, settings=settings, clock_ms=self._clock_ms
        )
        stack.push_async_callback(self._exchange.stop)
        await self._exchange.start()
        self._lanes = Lanes(self._exchange, settings, self._lanes_by_name)
        stack.callback(self._close_lanes)
        if self._federation is not None:
            stack.push_async_callback(self._federation.stop)
            await self._federation.begin(self)

    def _close_lanes(self) -> None:
        self._lanes.close()
        del self._lanes

    def _partitions(self, sender: Sender) -> int:
        signed, found = self._directory.view.partitions, sender.partitions_of(topics.COMMANDS)
        if signed is None or found != signed:
            raise DirectoryIncomplete(
                f"{topics.COMMANDS} has {found} partitions, the deployment has {signed}; this is another cluster"
            )
        return signed

    def _reply_place(self, sender: Sender) -> ReplyPlace:
        topic = self._settings.reply_topic
        count = sender.partitions_of(topic)
        if not count:
            raise InvalidArgument(f"there is no topic {topic}; create it with `keyfold topics apply`")
        digest = sha256(self._settings.instance_id.encode()).digest()
        return ReplyPlace(topic, int.from_bytes(digest[:8], "big") % count)


def _who(identity: Identity | Path | str | None, token: TokenSource | None, issuer: str | None) -> Identity:
    """Return whose key signs: with a token, under a name that is not known yet."""
    if (token is None) != (issuer is None):
        raise InvalidArgument("a token needs its issuer's name, as it is configured in the deployment, and vice versa")
    if identity is not None:
        who = identity if isinstance(identity, Identity) else load_identity(Path(identity))
        if not who.name and token is None:
            raise InvalidArgument("this file holds a key and names nobody; log in with it and a token first")
        return who
    if token is None:
        raise InvalidArgument("say who acts: identity=<file>, or token and issuer")
    if isinstance(token, str):
        raise InvalidArgument("a token binds a key that exists; pass it as identity, or a function that gets a token")
    return Identity("", "", Signer(secrets.token_bytes(32)))


def _kafka(bootstrap_servers: str | None, settings: BusSettings | None) -> Bus:
    if settings is not None:
        return KafkaBus(settings)
    if bootstrap_servers is None:
        raise InvalidArgument("name the cluster: bootstrap_servers, bus_settings or bus")
    return KafkaBus(BusSettings(bootstrap_servers=bootstrap_servers))
