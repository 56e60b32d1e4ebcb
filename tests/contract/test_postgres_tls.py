"""TLS to Postgres: who is not what it says is not talked to, and no secret is in what is told about it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from tests.support.postgres_tls import TlsFront, private
from tests.support.secured_kafka import Authority

from keyfold.projections.connections import require_sound
from keyfold.projections.errors import StoreUnavailable
from keyfold.projections.store.session import Session

if TYPE_CHECKING:
    from tests.conftest import PostgresDatabase

pytestmark = pytest.mark.stack


class Secured:
    """A database behind TLS, with an authority for both sides."""

    def __init__(self, database: "PostgresDatabase", home: Path) -> None:
        self.authority = Authority(home)
        self.told = psycopg.conninfo.conninfo_to_dict(database.dsn)
        self.front = TlsFront((str(self.told["host"]), int(str(self.told["port"]))), self.authority)
        certificate, key = self.authority.issue("keyfold")
        self.files = {"sslcert": str(certificate), "sslkey": private(key)}

    def dsn(self, **more: str | None) -> str:
        """A connection string with TLS; None takes a word out."""
        words = {**self.told, **self.files, "sslrootcert": str(self.authority.file), "sslmode": "verify-full"}
        words |= {"host": "localhost", "hostaddr": "127.0.0.1", "port": self.front.port, **more}
        # The password file names the address that the server has without TLS.
        place = Path(str(self.told["passfile"])).read_text().strip().rsplit(":", 1)[1]
        passfile = self.authority.home / "pgpass"
        passfile.touch(mode=0o600)
        passfile.write_text(f"*:*:*:*:{place}\n")
        words["passfile"] = str(passfile)
        return psycopg.conninfo.make_conninfo(**{name: word for name, word in words.items() if word is not None})


@pytest.fixture
def secured(postgres_database: "PostgresDatabase", tmp_path: Path) -> Iterator[Secured]:
    """A database that only TLS leads to."""
    made = Secured(postgres_database, tmp_path)
    yield made
    made.front.stop()


async def _asked(dsn: str) -> object:
    session = Session(require_sound(dsn), settings={}, deadline_s=5)
    try:
        return (await session.run(lambda tx: tx.fetch("SELECT 1")))[0][0]
    finally:
        await session.close()


async def test_by_certificates_of_both_sides(secured: Secured) -> None:
    """The server's is checked against the authority and the host's name, the client's by the server."""
    assert await _asked(secured.dsn()) == 1


async def test_a_server_of_another_authority_is_not_talked_to(secured: Secured, tmp_path: Path) -> None:
    """Nothing of the password reaches it, and the message says what to look at."""
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(StoreUnavailable, match="look at sslrootcert"):
        await _asked(secured.dsn(sslrootcert=str(Authority(other).file)))


async def test_without_the_authority_there_is_no_connection(secured: Secured, tmp_path: Path) -> None:
    """A file that is not there is not the same as no check."""
    with pytest.raises(StoreUnavailable, match="sslrootcert names cannot be read"):
        await _asked(secured.dsn(sslrootcert=str(tmp_path / "none.pem")))


async def test_a_certificate_for_another_host_is_refused(secured: Secured) -> None:
    """verify-full means the name, too."""
    with pytest.raises(StoreUnavailable, match="for another host"):
        await _asked(secured.dsn(host="db.example"))


async def test_a_client_without_a_certificate_is_refused(secured: Secured) -> None:
    """Where the server asks for one."""
    with pytest.raises(StoreUnavailable, match="wants a certificate"):
        await _asked(secured.dsn(sslcert=None, sslkey=None))


async def test_a_key_that_others_may_read_is_refused(secured: Secured) -> None:
    """By libpq, before it is used."""
    Path(secured.files["sslkey"]).chmod(0o644)  # noqa: ASYNC240 - a test
    with pytest.raises(StoreUnavailable, match="readable by others"):
        await _asked(secured.dsn())


async def test_a_server_without_tls_is_not_talked_to_in_the_clear(
    secured: Secured, postgres_database: "PostgresDatabase"
) -> None:
    """There is no way back to plain text."""
    port = str(psycopg.conninfo.conninfo_to_dict(postgres_database.dsn)["port"])
    with pytest.raises(StoreUnavailable, match="offers no TLS"):
        await _asked(secured.dsn(port=port))


async def test_what_is_behind_tls_takes_nobody_in_the_clear(secured: Secured) -> None:
    """The other way round."""
    plain = secured.dsn(sslmode="disable", sslcert=None, sslkey=None, sslrootcert=None)
    with pytest.raises(StoreUnavailable):
        await _asked(plain)
