"""A secret is found in every spelling, wherever it stands; nothing else is."""

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
from fault_injection import leaks

SECRET = bytes(range(200, 224))


@pytest.mark.parametrize(
    "write",
    [
        bytes,
        lambda secret: secret.hex().encode(),
        lambda secret: secret.hex().upper().encode(),
        lambda secret: base64.b64encode(b"" + secret + b"rest"),
        lambda secret: base64.b64encode(b"1" + secret + b"rest"),
        lambda secret: base64.b64encode(b"12" + secret + b"r"),
        lambda secret: base64.urlsafe_b64encode(b"123" + secret),
        lambda secret: base64.urlsafe_b64encode(b"1234" + secret + b"re"),
    ],
)
def test_a_secret_is_found_in_every_spelling(write: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """In a file below a directory, said by its name and place, not by what it is."""
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "segment.log").write_bytes(b"\0" * 1000 + write(SECRET) + b"\0" * 10)
    (tmp_path / "other.log").write_bytes(write(SECRET[::-1]))
    assert not leaks.search({"a plaintext": SECRET}, [tmp_path / "other.log"])
    found = leaks.search({"a plaintext": SECRET}, [tmp_path])
    assert {(leak.name, leak.path.name) for leak in found} == {("a plaintext", "segment.log")}
    assert 1000 <= found[0].offset < 1010
    assert repr(SECRET) not in str(found[0])


def test_a_secret_across_two_chunks_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read in parts; no place in them is out of sight."""
    monkeypatch.setattr(leaks, "_CHUNK", 64)
    for before in range(50, 70):
        (tmp_path / "file").write_bytes(b"x" * before + SECRET + b"y" * 100)
        (found,) = leaks.search({"s": SECRET}, [tmp_path / "file"])
        assert found.offset == before


def test_a_secret_that_is_too_short_is_refused() -> None:
    """It would be found everywhere by chance."""
    with pytest.raises(ValueError, match="5 bytes"):
        list(leaks.spellings(b"12345"))
