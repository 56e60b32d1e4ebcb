"""Streams and partitions: the interop contract."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from keyfold.events import streams

KEY_ID = "0193f3a0-7c00-7000-8000-00000000000a"


def test_golden_partitions(vectors: Callable[[str], Any]) -> None:
    """Every recorded stream is in its recorded partition."""
    cases = vectors("partitions")["cases"]
    assert len(cases) > 40
    for case in cases:
        assert streams.partition_of(case["stream"], case["partitions"]) == case["partition"]


def test_partitions_by_hand() -> None:
    """`registry` is alone in partition 0; others follow the first eight bytes of SHA-256."""
    assert streams.partition_of("registry", 12) == 0
    number = int(sha256(b"principal/alice").hexdigest()[:16], 16)
    assert streams.partition_of("principal/alice", 12) == 1 + number % 11
    assert streams.partition_of("principal/alice", 2) == 1


@pytest.mark.parametrize("partitions", [1, 0, -4])
def test_too_few_partitions(partitions: int) -> None:
    """A deployment has at least two partitions."""
    with pytest.raises(ValueError, match="at least two"):
        streams.partition_of("registry", partitions)


@pytest.mark.parametrize(
    "stream",
    [
        "registry", f"key/{KEY_ID}", "principal/a", "principal/a.b_c-1", "principal/" + "x" * 64,
        "partition/0", "partition/11", "partition/99999",
    ],
)  # fmt: skip
def test_streams(stream: str) -> None:
    """Registry, keys, principals and partitions are streams."""
    assert streams.is_stream(stream)


@pytest.mark.parametrize(
    "text",
    [
        "", "registry ", "registry\n", "Registry", "key/", "key/1", f"key/{KEY_ID.upper()}", f"key/{KEY_ID}\n",
        f"key/{{{KEY_ID}}}", f"xkey/{KEY_ID}", "principal/", "principal/Alice", "principal/-a", "principal/" + "x" * 65,
        "principal/é", "alias/orders", "partition/", "partition/01", "partition/-1", "partition/+1", "partition/1 ",
        "partition/1\n", "partition/100000", "partition/a", "partition/٣", "partition/1/1", "Partition/1",
    ],
)  # fmt: skip
def test_no_streams(text: str) -> None:
    """Anything else, with a line end or in capitals too, is none."""
    assert not streams.is_stream(text)


@pytest.mark.parametrize("number", [0, 1, 11])
def test_what_is_about_a_partition_lies_there(number: int) -> None:
    """The stream of a partition is in that partition, 0 too."""
    assert streams.partition_stream(number) == f"partition/{number}"
    assert streams.partition_of(streams.partition_stream(number), 12) == number
    assert streams.is_stream(streams.partition_stream(number))


def test_names() -> None:
    """Streams are built from, and give back, their keys and principals."""
    assert streams.key_stream(KEY_ID) == f"key/{KEY_ID}"
    assert streams.principal_stream("alice") == "principal/alice"
    assert streams.key_id_of(f"key/{KEY_ID}") == KEY_ID
    assert streams.key_id_of("registry") is None
    assert streams.key_id_of("partition/1") is None
    assert streams.key_id_bytes(KEY_ID).hex() == KEY_ID.replace("-", "")
