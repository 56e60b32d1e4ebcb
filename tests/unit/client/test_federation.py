"""Acting as who a token says one is: the key it binds, the name it gives, and fresh tokens in time."""

import asyncio
import base64
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keyfold.client import InvalidArgument, Keyfold, TokenSourceFailed, federation, sync, thumbprint
from keyfold.client.federation import federated_identity, read_claims
from keyfold.events.errors import TokenExpired, TokenNotBound
from keyfold.events.identities import principal_name
from keyfold.events.signatures import Signer
from keyfold.identity import Identity, create_identity

ISSUER = "https://ci.example"
NAME = principal_name("ci", ISSUER, "repo:main")


def encoded(value: Any) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def token(bound: str | None = None, *, lives_s: float = 600, **claims: Any) -> str:
    """A token as an issuer would sign it; the signature is nobody's here."""
    about: dict[str, Any] = {"iss": ISSUER, "sub": "repo:main", "exp": time.time() + lives_s}
    about |= {"cnf": {"jkt": bound}} if bound is not None else {}
    return f"{encoded({'alg': 'ES256'})}.{encoded(about | claims)}.{encoded(b'signature')}"


def connect(on: Any, **arguments: Any) -> Keyfold:
    arguments = {"deployment": on.id, "issuer": "ci", "call_timeout_s": 5} | arguments
    return Keyfold.connect(bus=on.bus, **arguments)


def test_the_thumbprint_is_that_of_the_rfc() -> None:
    """RFC 8037, appendix A.3."""
    x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    public_key = base64.urlsafe_b64decode(x + "=")
    assert thumbprint(public_key) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


async def test_a_client_without_a_registration_acts_as_the_tokens_principal(deployment: Any) -> None:
    """It makes a key, asks for a token that binds it, shows that, and signs with the key from then on."""
    asked: list[str] = []

    def source(bound: str) -> str:
        asked.append(bound)
        return token(bound)

    async with connect(deployment, token=source) as kms:
        assert kms.principal == NAME
        key_id = (await kms.create_key()).key_id
        assert await kms.decrypt(key_id, await kms.encrypt(key_id, b"x")) == b"x"
        assert len(await kms.generate_random(8)) == 8
    shown, *used = [got.command for got in deployment.received]
    assert (shown.verb, shown.subject) == ("AssumePrincipalWithWebIdentity", "registry")
    arguments = shown.data.arguments
    assert (arguments.issuer, read_claims(arguments.token).thumbprint) == ("ci", asked[0])
    assert thumbprint(bytes.fromhex(arguments.public_key)) == asked[0]
    assert {command.data.principal for command in (shown, *used)} == {NAME}
    assert {command.data.signing_key for command in used} == {shown.data.signing_key}
    assert used[-1].subject == f"principal/{NAME}"


async def test_every_client_makes_a_key_of_its_own(deployment: Any) -> None:
    """Nothing is kept."""
    for _ in range(2):
        async with connect(deployment, token=token):
            pass
    assert len({got.command.data.signing_key for got in deployment.received}) == 2


async def test_a_token_at_hand_needs_the_key_that_it_binds(deployment: Any, tmp_path: Path) -> None:
    """The identity's key is used, not its name; it may be a file that names nobody."""
    key = create_identity(tmp_path / "key.json", "", deployment.id)
    bound = thumbprint(key.signer.public_key)
    async with connect(deployment, token=token(bound), identity=tmp_path / "key.json", deployment=None) as kms:
        assert kms.principal == NAME
        assert kms._federation is not None
        assert kms._federation._task is None, "there is nowhere to get another token"
    assert deployment.received[0].command.data.signing_key == key.signer.fingerprint


async def test_a_source_may_be_asynchronous(deployment: Any) -> None:
    """A coroutine function, or a function that returns an awaitable."""

    async def source(bound: str) -> str:
        await asyncio.sleep(0)
        return token(bound)

    def indirect(bound: str) -> Any:
        return source(bound)

    for each in (source, indirect):
        async with connect(deployment, token=each) as kms:
            assert kms.principal == NAME


async def test_a_blocking_source_does_not_stop_the_loop(deployment: Any) -> None:
    """It runs in a thread."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.01)

    def source(bound: str) -> str:
        time.sleep(0.2)
        return token(bound)

    counting = asyncio.ensure_future(count())
    async with connect(deployment, token=source):
        assert turns > 5
    counting.cancel()


async def test_a_fresh_token_is_shown_before_the_last_one_ends(
    deployment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source is asked again, with the same key; calls go on meanwhile."""
    monkeypatch.setattr(federation, "_SHORTEST_PAUSE_S", 0.01)
    asked: list[str] = []

    def source(bound: str) -> str:
        asked.append(bound)
        return token(bound, lives_s=0.25, jti=str(len(asked)))

    async with connect(deployment, token=source) as kms:
        key_id = (await kms.create_key()).key_id
        await asyncio.sleep(0.6)
        await kms.encrypt(key_id, b"x")
    shown = [got.command for got in deployment.received if got.command.verb == "AssumePrincipalWithWebIdentity"]
    assert len(shown) >= 3
    assert len({command.data.arguments.token for command in shown}) == len(shown)
    assert len({*asked}) == 1
    count = len(asked)
    await asyncio.sleep(0.3)
    assert len(asked) == count, "a closed client shows nothing any more"


async def test_a_failed_renewal_is_tried_again(
    deployment: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever went wrong: the source, the service, a token about somebody else. No token stands in the log."""
    monkeypatch.setattr(federation, "_SHORTEST_PAUSE_S", 0.01)
    answers: list[Callable[[str], str]] = [
        lambda bound: token(bound, lives_s=0.02),
        lambda bound: 1 / 0,  # type: ignore[list-item, return-value]
        lambda bound: token(bound, sub="somebody else"),
        lambda bound: token("another key's thumbprint"),
        lambda bound: token(bound, lives_s=0.02),
        lambda bound: token(bound, jti="the last"),
    ]
    asked: list[str] = []

    def source(bound: str) -> str:
        asked.append(bound)
        return answers[min(len(asked), len(answers)) - 1](bound)

    refusals = iter([None, "TokenExpired"])
    deployment.scripts.append(
        lambda got: next(refusals, None) if got.command.verb == "AssumePrincipalWithWebIdentity" else None
    )
    with caplog.at_level(logging.WARNING, "keyfold.client.federation"):
        async with connect(deployment, token=source):
            async with asyncio.timeout(5):
                while len(deployment.received) < 3:
                    await asyncio.sleep(0.01)
    reasons = [record.getMessage().rpartition("reason=")[2] for record in caplog.records]
    assert reasons == ["TokenSourceFailed", "InvalidArgument", "TokenNotBound", "TokenExpired"]
    assert "eyJ" not in caplog.text
    last = read_claims(deployment.received[-1].command.data.arguments.token)
    assert last.subject == "repo:main"


async def test_a_refused_token_ends_the_connection(deployment: Any) -> None:
    """Nothing is left running."""
    deployment.scripts.append(lambda got: "TokenExpired")
    with pytest.raises(TokenExpired):
        async with connect(deployment, token=token):
            pass
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "federation"]


@pytest.mark.parametrize(
    ("source", "kind", "match"),
    [
        (lambda bound: 1 / 0, TokenSourceFailed, "ZeroDivisionError"),
        (lambda bound: b"bytes", InvalidArgument, "returns text"),
        (lambda bound: "nonsense", InvalidArgument, "no JWT"),
        (lambda bound: token("other"), TokenNotBound, "binds jkt"),
    ],
)
async def test_a_source_that_fails_at_first_is_told(
    deployment: Any, source: Any, kind: type[Exception], match: str
) -> None:
    """Before anything is sent."""
    with pytest.raises(kind, match=match):
        async with connect(deployment, token=source):
            pass
    assert deployment.received == []


async def test_a_source_that_does_not_answer_is_not_waited_for_for_ever(deployment: Any) -> None:
    """The connection's deadline holds for it."""

    async def source(bound: str) -> str:
        await asyncio.sleep(60)
        return ""

    with pytest.raises(TokenSourceFailed, match="within"):
        async with connect(deployment, token=source, connect_timeout_s=0.2):
            pass


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.b",
        "a.b.c.d",
        "a.!.c",
        f"a.{encoded([])}.c",
        f"a.{encoded({'iss': ISSUER, 'sub': 'x'})}.c",
        f"a.{encoded({'iss': ISSUER, 'exp': 1})}.c",
        f"a.{encoded({'iss': 1, 'sub': 'x', 'exp': 1})}.c",
        f"a.{encoded({'iss': ISSUER, 'sub': 'x', 'exp': 'soon'})}.c",
        f"a.{encoded({'iss': ISSUER, 'sub': 'x', 'exp': 1e300})}.c",
        f"a.{encoded({'iss': ISSUER, 'sub': chr(0xD800), 'exp': 1})}.c",
        f"a.{encoded({'iss': ISSUER, 'sub': 'x', 'exp': 1, 'cnf': {'jkt': 7}})}.c",
        f"a.{encoded(b'[' * 100_000)}.c",
    ],
)
def test_what_is_no_token_is_refused_without_being_quoted(text: str) -> None:
    """Tokens are credentials; none stands in a message."""
    with pytest.raises(InvalidArgument, match="no JWT with iss, sub and exp") as caught:
        read_claims(text)
    assert len(str(caught.value)) < 100


def test_a_token_that_binds_a_whole_key_is_left_to_the_service() -> None:
    """Only a thumbprint is compared here, to tell sooner which one is needed."""
    signer = Signer(b"s" * 32)
    about = token(cnf={"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "x"}})
    assert federated_identity("ci", about, signer, "d").name == NAME
    assert federated_identity("ci", token(), signer, "d").name == NAME


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({}, "say who acts"),
        ({"token": token}, "needs its issuer"),
        ({"issuer": "ci"}, "needs its issuer"),
        ({"token": "a.b.c", "issuer": "ci"}, "binds a key that exists"),
        ({"token": token, "issuer": "ci"}, "names no deployment"),
        ({"identity": Identity("", "d0" * 32, Signer(b"s" * 32))}, "names nobody"),
        (
            {"identity": Identity("", "d0" * 32, Signer(b"s" * 32, "ML-DSA-65")), "token": token, "issuer": "ci"},
            "Ed25519",
        ),
    ],
)
def test_what_does_not_make_sense_together_is_refused(deployment: Any, arguments: Any, match: str) -> None:
    """Before anything is connected."""
    with pytest.raises(InvalidArgument, match=match):
        Keyfold.connect(bus=deployment.bus, **arguments)


def test_the_blocking_client_takes_tokens_too(new_deployment: Callable[[], Any]) -> None:
    """The arguments of `connect` are the same."""
    made = new_deployment()
    kms = sync.Keyfold.connect(bus=made.bus, deployment=made.id, token=token, issuer="ci")
    assert kms.principal == ""
