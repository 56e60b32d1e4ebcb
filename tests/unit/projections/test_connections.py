"""Connection strings: no secret in them, and no TLS by halves."""

import pytest

from keyfold.projections.connections import require_sound

SOUND = (
    "host=127.0.0.1 port=5432 user=keyfold dbname=keyfold passfile='/a b/it\\'s.pgpass' connect_timeout=10",
    "host=db.example sslmode=verify-full sslrootcert=/etc/ca.pem sslcert=/etc/c.crt sslkey=/etc/c.key",
    "postgresql://keyfold@db.example/keyfold?sslmode=verify-full&sslrootcert=/etc/ca.pem&passfile=/etc/p",
    "host=/run/postgresql sslmode=disable",
    "service=keyfold",
    "none",
)
UNSOUND = {
    "host=x password=hunter2": "passfile",
    "host=x PASSWORD = 'hunter2'": "passfile",
    "postgresql://keyfold:hunter2@db/keyfold": "passfile",
    "postgres://db/keyfold?password=hunter2": "passfile",
    "host=x sslkey=k sslcert=c sslpassword=hunter2 sslmode=verify-full sslrootcert=a": "passfile",
    "host=x sslmode=require": "verify-full",
    "host=x sslmode=prefer": "verify-full",
    "postgresql://db/keyfold?sslmode=verify-ca&sslrootcert=a": "verify-full",
    "host=x sslmode='allow'": "verify-full",
    "host=x sslmode=verify-ca": "verify-full",
    "host=x sslmode=verify-full": "sslrootcert",
    "host=x sslmode=verify-full sslrootcert=a sslkey=k": "sslcert",
    "host=x sslrootcert=a": "verify-full",
}  # fmt: skip


@pytest.mark.parametrize("dsn", SOUND)
def test_what_is_sound_stays_as_it_is(dsn: str) -> None:
    """Both of libpq's forms."""
    assert require_sound(dsn) == dsn


@pytest.mark.parametrize("dsn", UNSOUND)
def test_what_is_not_is_refused_with_what_to_do(dsn: str) -> None:
    """And never with what was given."""
    with pytest.raises(ValueError, match=UNSOUND[dsn]) as caught:
        require_sound(dsn)
    assert "hunter2" not in str(caught.value)
