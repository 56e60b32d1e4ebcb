"""How federated principals are named."""

import re
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfold.events.identities import principal_name
from keyfold.events.streams import NAME_PATTERN

URL = "https://id.example"


def test_parts() -> None:
    """A name is the issuer's, what can be read of the subject, and a digest of address and subject."""
    digest = sha256(b"https://id.example\nrepo:Acme/Pay:ref").hexdigest()[:26]
    assert principal_name("github", URL, "repo:Acme/Pay:ref") == f"github.repo-acme-pay-ref.{digest}"


@pytest.mark.parametrize(
    ("subject", "slug"),
    [
        ("a", "a"),
        ("--a__b--", "a-b"),
        ("a" * 21, "a" * 20),
        ("a" * 19 + ":b", "a" * 19),
        ("日本", "subject"),
        ("::", "subject"),
        ("Åse", "se"),
        ("\u212a", "subject"),
    ],
)
def test_slugs(subject: str, slug: str) -> None:
    """The readable part is ASCII, at most 20 characters, and never empty; only ASCII letters are lowered."""
    assert principal_name("corp", URL, subject).split(".")[1] == slug


def test_what_reads_alike_is_told_apart() -> None:
    """Subjects that give the same readable part, and one subject at two addresses, have different names."""
    names = {principal_name("corp", URL, subject) for subject in ("a:b", "a/b", "A:B", "a-b")}
    assert len(names | {principal_name("corp", "https://other.example", "a:b")}) == 5


@given(st.from_regex(r"[a-z0-9][a-z0-9-]{0,15}", fullmatch=True), st.text(st.characters(codec="utf-8"), min_size=1))
def test_every_name_is_a_name(issuer: str, subject: str) -> None:
    """Whatever the subject is, the name is a well-formed principal name of one issuer."""
    name = principal_name(issuer, URL, subject)
    assert re.fullmatch(NAME_PATTERN, name)
    assert name.split(".")[0] == issuer
    assert len(name.split(".")) == 3
