"""Small parts of the bus: records, settings, rebalance callbacks, the compacted tail, and who may meet aiokafka."""

import asyncio
import re
import ssl
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from pydantic import ValidationError

import keyfold.bus
from keyfold.bus import BusSettings, BusUnavailable, Inbound, Outbound, header_bytes
from keyfold.bus import errors as bus_errors
from keyfold.bus.membership import KafkaMembership, _Assignor, _Listener
from keyfold.bus.reader import _Stuck
from keyfold.config import ConfigError, KafkaSecurity
from keyfold.events.errors import KeyfoldError, Unavailable

SETTINGS = BusSettings(bootstrap_servers="127.0.0.1:1")
ROOT = Path(keyfold.bus.__file__).parents[3]


def test_a_repeated_header_is_no_header() -> None:
    """Whoever repeats a header cannot choose which of them is believed."""
    record = Inbound("t", 0, 0, 0, None, None, (("a", b"1"), ("b", b"2"), ("b", b"2"), ("c", b"")))
    assert [record.header(name) for name in "abcd"] == [b"1", None, b"", None]


def test_a_header_without_a_value_is_none_and_repeats_like_any_other() -> None:
    """It has no bytes, and beside another of its name it is not passed over."""
    record = Inbound("t", 0, 0, 0, None, None, (("a", None), ("b", None), ("b", b"22"), ("c", b"333"), ("c", None)))
    assert [record.header(name) for name in "abc"] == [None, None, None]
    assert header_bytes(record.headers) == 5


def test_records_are_frozen() -> None:
    """Values, not boxes."""
    with pytest.raises(AttributeError):
        Outbound("t", 0, None, None).topic = "u"  # type: ignore[misc]


def test_exports() -> None:
    """What other packages may use, sorted and existing."""
    assert keyfold.bus.__all__ == sorted(keyfold.bus.__all__, key=lambda name: (name[0].islower(), name))
    assert all(hasattr(keyfold.bus, name) for name in keyfold.bus.__all__)


def test_only_the_bus_meets_aiokafka() -> None:
    """One place for all its peculiarities."""
    found = [
        path
        for root in ("events", "projections", "services")
        for path in (ROOT / root).rglob("*.py")
        if re.search(r"^\s*(import|from)\s+aiokafka\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert {path.parent.name for path in found} == {"bus"}


def test_errors_say_whether_trying_again_may_help() -> None:
    """In doubt and unavailable are retriable (after a restore); fencing, refusals and lost positions are not."""
    retriable = {name for name in vars(bus_errors) if getattr(getattr(bus_errors, name), "retriable", False) is True}
    assert retriable == {"BusUnavailable", "InDoubt", "Unavailable", "UnknownDestination", "WriterUnusable"}
    kinds = [kind for kind in vars(bus_errors).values() if isinstance(kind, type) and issubclass(kind, KeyfoldError)]
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert issubclass(bus_errors.Fenced, bus_errors.InDoubt)
    assert issubclass(bus_errors.InDoubt, Unavailable)


def test_settings_are_frozen_and_checked() -> None:
    """No unknown field, no fetch that outlives a request."""
    with pytest.raises(ValidationError):
        SETTINGS.client_id = "x"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        BusSettings(bootstrap_servers="b", comit_timeout_s=1)  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="fetch_max_wait_ms"):
        BusSettings(bootstrap_servers="b", fetch_max_wait_ms=6000)


def test_secrets_come_from_files(tmp_path: Path) -> None:
    """The password is read when a client is made, and is in no representation of the settings."""
    secret = tmp_path / "password"
    secret.write_text("geheim\n")
    secret.chmod(0o600)
    settings = BusSettings(
        bootstrap_servers="b", security_protocol="SASL_SSL", sasl_username="policy", sasl_password_file=secret
    )
    arguments = settings.connection()
    assert arguments["sasl_plain_password"] == "geheim"
    assert isinstance(arguments["ssl_context"], ssl.SSLContext)
    assert arguments["ssl_context"].verify_mode == ssl.CERT_REQUIRED
    assert "geheim" not in repr(settings)


@pytest.mark.parametrize(
    ("content", "mode", "said"), [("geheim", 0o644, "chmod 600"), ("\n", 0o600, "empty"), (None, 0, "cannot be read")]
)
def test_a_secret_that_is_none_is_refused(tmp_path: Path, content: str | None, mode: int, said: str) -> None:
    """One that others may read, that is empty, or missing: one line that names the file, and not its content."""
    secret = tmp_path / "password"
    if content is not None:
        secret.write_text(content)
        secret.chmod(mode)
    known = {"sasl_username": "policy", "sasl_password_file": secret}
    settings = BusSettings(bootstrap_servers="b", security_protocol="SASL_SSL", **known)
    with pytest.raises(ConfigError, match=said) as caught:
        settings.connection()
    assert str(secret) in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_certificates_that_are_none_are_refused(tmp_path: Path) -> None:
    """A file that holds no certificate, and one that is missing, are named."""
    broken = tmp_path / "ca.pem"
    broken.write_text("no certificate")
    for file in (broken, tmp_path / "missing.pem"):
        settings = BusSettings(bootstrap_servers="b", security_protocol="SSL", ssl_ca_file=file)
        with pytest.raises(ConfigError, match=file.name):
            settings.connection()


@pytest.mark.parametrize(
    "known",
    [
        {"ssl_certificate_file": "a"},
        {"ssl_ca_file": "a"},
        {"sasl_username": "a", "sasl_password_file": "b"},
        {"security_protocol": "SSL", "sasl_password_file": "b"},
        {"security_protocol": "SSL", "ssl_key_file": "b"},
        {"security_protocol": "SASL_SSL", "sasl_username": "a"},
        {
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_username": "a",
            "sasl_password_file": "b",
            "sasl_mechanism": "PLAIN",
        },
    ],
    ids=str,
)
def test_half_of_a_security_is_none(known: dict[str, str]) -> None:
    """Whoever names a certificate or a password means to use it: in the clear it would not be."""
    with pytest.raises(ValidationError):
        KafkaSecurity.model_validate(known)


async def test_revocation_is_ignored_until_the_next_assignment() -> None:
    """Rule 7: between revoke and assign nothing changes; a failing pause does not keep the news back."""
    member = KafkaMembership(SETTINGS, "g", "t", "i")
    paused: list[TopicPartition] = []
    listener = _Listener(member, SimpleNamespace(pause=lambda *places: paused.extend(places)))
    listener.on_partitions_assigned({TopicPartition("t", 1), TopicPartition("t", 2)})
    assert await member.wait_change() == {1, 2}
    assert len(paused) == 2
    listener.on_partitions_revoked({TopicPartition("t", 1), TopicPartition("t", 2)})
    assert member.wanted == {1, 2}
    broken = _Listener(member, SimpleNamespace(pause=lambda *_: 1 / 0))
    broken.on_partitions_assigned({TopicPartition("t", 2)})
    assert await member.wait_change() == {2}


async def test_wait_change_is_level_triggered() -> None:
    """No change is lost between two calls, and the same set twice is no change."""
    member = KafkaMembership(SETTINGS, "g", "t", "i")
    member.note(frozenset({1}))
    member.note(frozenset({1, 2}))
    assert await member.wait_change() == {1, 2}
    waiting = asyncio.create_task(member.wait_change())
    member.note(frozenset({1, 2}))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    member.note(frozenset())
    assert await waiting == frozenset()
    assert await member.wait_change(frozenset({9})) == frozenset()


async def test_the_assignor_goes_by_instance_not_by_member_id() -> None:
    """A restarted member has a new id and the old name: it gets what the name had."""
    cluster = SimpleNamespace(partitions_for_topic=lambda _: {0, 1, 2, 3})
    assignors = {}
    for name, held in (("one", {0, 1}), ("two", {2, 3})):
        member = KafkaMembership(SETTINGS, "g", "t", name)
        member.note(frozenset(held))
        assignors[name] = _Assignor("t", name, member)
    members = {"zz-new-id": assignors["one"].metadata({"t"}), "aa": assignors["two"].metadata({"t"})}
    shares = assignors["two"].assign(cluster, members)
    assert {member: [p.partition for p in share.partitions()] for member, share in shares.items()} == {
        "zz-new-id": [0, 1],
        "aa": [2, 3],
    }


async def test_empty_answers_below_the_end_mean_a_compacted_tail() -> None:
    """Answers that keep coming empty end the reading; no answers at all are an error at the deadline."""
    stuck = _Stuck(5.0)
    assert [stuck.nothing_lies_ahead(ms) for ms in (1, 1, 2, 2, 3, 4)] == [False] * 5 + [True]
    silent = _Stuck(0.0)
    await asyncio.sleep(0.001)
    with pytest.raises(BusUnavailable):
        silent.nothing_lies_ahead(None)
