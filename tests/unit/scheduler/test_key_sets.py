"""Reading issuers' key sets, from a real server on this machine and from files; what may go wrong goes wrong here."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from keyfold.scheduler.key_sets import MAX_BYTES, KeySets, KeySetUnreadable, open_key_sets

JWKS = '{"keys":[{"kty":"OKP","crv":"Ed25519","x":"é"}]}'
DEADLINE_S = 0.5


@pytest.fixture
async def key_sets(tmp_path: Path) -> AsyncIterator[KeySets]:
    directory = tmp_path / "issuers"
    directory.mkdir()
    async with open_key_sets(directory, DEADLINE_S) as opened:
        yield opened


class Issuer:
    """A server that answers `/<what>`; `asked` are the requests that it got."""

    def __init__(self) -> None:
        self.asked: list[web.Request] = []
        application = web.Application()
        application.router.add_get("/{what}", self._answer)
        self.server = TestServer(application)

    def at(self, what: str) -> str:
        return str(self.server.make_url(f"/{what}"))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        answers = {
            "good": lambda: web.Response(text=JWKS, content_type="application/jwk-set+json"),
            "unlabelled": lambda: web.Response(body=JWKS.encode()),
            "full": lambda: web.Response(text=JWKS.ljust(MAX_BYTES - 1)),
            "large": lambda: web.Response(text=JWKS.ljust(MAX_BYTES)),
            "html": lambda: web.Response(text="<html>secret</html>", content_type="text/html"),
            "list": lambda: web.json_response(["secret"]),
            "twice": lambda: web.Response(text='{"keys":[],"keys":[]}'),
            "latin": lambda: web.Response(body='{"keys":"é"}'.encode("latin-1")),
            "broken": lambda: web.Response(status=500, text=JWKS),
            "missing": lambda: web.Response(status=404),
            "unchanged": lambda: web.Response(status=304),
            "cookie": lambda: web.Response(text=JWKS, headers={"Set-Cookie": "a=b"}),
            "moved": lambda: web.Response(status=302, headers={"Location": "/good"}),
            "loop": lambda: web.Response(status=307, headers={"Location": "/loop"}),
            "upwards": lambda: web.Response(status=301, headers={"Location": "https://127.0.0.1/good"}),
            "to-file": lambda: web.Response(status=301, headers={"Location": "file:///etc/passwd"}),
            "nowhere": lambda: web.Response(status=302),
        }
        what = request.match_info["what"]
        if what in answers:
            return answers[what]()
        streams = {"slow": self._slow, "endless": self._endless, "compressed": self._compressed, "cut": self._cut}
        return await streams[what](request)

    async def _slow(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.05)

    async def _endless(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 4096)

    async def _compressed(self, _request: web.Request) -> web.StreamResponse:
        response = web.Response(text=JWKS.ljust(10 * MAX_BYTES))
        response.enable_compression(web.ContentCoding.gzip)
        return response

    async def _cut(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(JWKS) + 100)})
        await response.prepare(request)
        await response.write(JWKS.encode())
        assert request.transport is not None
        request.transport.close()
        return response


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    made = Issuer()
    await made.server.start_server()
    yield made
    await made.server.close()


@pytest.mark.parametrize("what", ["good", "unlabelled", "moved"])
async def test_a_key_set_is_read_as_it_is(key_sets: KeySets, issuer: Issuer, what: str) -> None:
    """Its text, whatever it is labelled as, also after a redirect within the scheme."""
    assert await key_sets.read(issuer.at(what)) == JWKS


async def test_64_kib_are_the_most(key_sets: KeySets, issuer: Issuer) -> None:
    """Counted in bytes."""
    assert len((await key_sets.read(issuer.at("full"))).encode()) == MAX_BYTES
    with pytest.raises(KeySetUnreadable, match="larger than 64 KiB"):
        await key_sets.read(issuer.at("large"))


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("broken", "status 500"),
        ("missing", "status 404"),
        ("unchanged", "status 304"),
        ("html", "not a key set"),
        ("list", "not a key set"),
        ("twice", "not a key set"),
        ("latin", "not a key set"),
        ("compressed", "not a key set"),
        ("endless", "larger than"),
        ("slow", "no answer within 0.5 s"),
        ("loop", "more than 3 times"),
        ("upwards", "another scheme"),
        ("to-file", "another scheme"),
        ("nowhere", "more than 3 times"),
        ("cut", "cannot be read"),
    ],
)
async def test_what_is_no_key_set_is_an_error_that_quotes_nothing(
    key_sets: KeySets, issuer: Issuer, what: str, why: str
) -> None:
    """It says what went wrong, in time, and neither where nor what was there."""
    async with asyncio.timeout(3):
        with pytest.raises(KeySetUnreadable, match=why) as caught:
            await key_sets.read(issuer.at(what))
    assert caught.value.retriable
    assert caught.value.__cause__ is None
    assert not any(word in str(caught.value) for word in ("127.0.0.1", "secret", "keys", what + "/"))


async def test_redirects_are_followed_three_times(key_sets: KeySets, issuer: Issuer) -> None:
    """The deadline would end a loop too, but an issuer need not be asked that often."""
    with pytest.raises(KeySetUnreadable):
        await key_sets.read(issuer.at("loop"))
    assert len(issuer.asked) == 4


async def test_nothing_is_told_that_the_issuer_need_not_know(
    key_sets: KeySets, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No cookie of an earlier answer; a proxy of the environment is not used either."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    for _ in range(2):
        assert await key_sets.read(issuer.at("cookie")) == JWKS
    assert [request.headers.get("Cookie") for request in issuer.asked] == [None, None]


async def test_nobody_listens(key_sets: KeySets, unused_tcp_port: int) -> None:
    """An address where nothing answers, and names that are no addresses."""
    for source in (f"http://127.0.0.1:{unused_tcp_port}/x", "http://", "https://[", "http://a b/"):
        with pytest.raises(KeySetUnreadable, match="cannot be read"):
            await key_sets.read(source)


@pytest.fixture
def unused_tcp_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def put(tmp_path: Path, name: str, content: str = JWKS) -> Path:
    path = tmp_path / "issuers" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


async def test_a_file_is_read_by_its_plain_name(key_sets: KeySets, tmp_path: Path) -> None:
    """From the one directory; a link to another place in it is followed, as mounted settings have them."""
    put(tmp_path, "corp.json")
    put(tmp_path, "..data/lab")
    (tmp_path / "issuers" / "lab").symlink_to("..data/lab")
    assert await key_sets.read("corp.json") == JWKS
    assert await key_sets.read("lab") == JWKS


@pytest.mark.parametrize("name", ["", ".", "..", "../keyfold.json", "/etc/hostname", "a/b", "a\0b", "-x", "ftp://x/y"])
async def test_a_name_that_leads_elsewhere_is_refused(key_sets: KeySets, tmp_path: Path, name: str) -> None:
    """Whatever is there."""
    put(tmp_path, "../keyfold.json")
    put(tmp_path, "a/b")
    with pytest.raises(KeySetUnreadable, match="plain file name"):
        await key_sets.read(name)


async def test_a_link_out_of_the_directory_is_refused(key_sets: KeySets, tmp_path: Path) -> None:
    """To a file beside it, through a directory, or in a circle."""
    put(tmp_path, "../keyfold.json")
    issuers = tmp_path / "issuers"
    (issuers / "link").symlink_to("../keyfold.json")
    (issuers / "folder").symlink_to("..")
    (issuers / "through").symlink_to("folder/keyfold.json")
    for name in ("link", "through"):
        with pytest.raises(KeySetUnreadable, match="outside"):
            await key_sets.read(name)
    (issuers / "circle").symlink_to("circle")
    with pytest.raises(KeySetUnreadable):
        await key_sets.read("circle")


async def test_what_is_no_regular_file_is_refused(key_sets: KeySets, tmp_path: Path) -> None:
    """A pipe without a writer does not hold the scheduler up; what is not there is told too."""
    os.mkfifo(tmp_path / "issuers" / "pipe")
    (tmp_path / "issuers" / "folder").mkdir()
    for name in ("pipe", "folder", "missing"):
        with pytest.raises(KeySetUnreadable):
            await key_sets.read(name)


async def test_files_are_held_to_the_same_bounds(key_sets: KeySets, tmp_path: Path) -> None:
    """Size and form."""
    put(tmp_path, "large", JWKS.ljust(MAX_BYTES))
    with pytest.raises(KeySetUnreadable, match="larger than"):
        await key_sets.read("large")
    put(tmp_path, "text", "no key set")
    with pytest.raises(KeySetUnreadable, match="not a key set"):
        await key_sets.read("text")
