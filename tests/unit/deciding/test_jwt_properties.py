"""Properties of identity tokens: whatever is done to one, it is refused or says the same of the same key."""

import json
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.people import START_MS, signer
from tests.unit.deciding.issuers import ALGORITHMS, claims, issuer, jwk, jwks, token, token_of

from keyfold.deciding.jwks import check
from keyfold.deciding.jwt import Token, verify
from keyfold.events.entities import Issuer
from keyfold.events.errors import InvalidIssuer, Refusal

KEY = signer("api").public_key
ISSUERS = {name: issuer(algorithms=(name,), jwks=jwks(jwk(name))) for name in ALGORITHMS}
TOKENS = {name: token(algorithm=name) for name in ALGORITHMS}
GOOD = verify(TOKENS["ES256"], ISSUERS["ES256"], KEY, START_MS)

MEMBERS = ("keys", "kty", "use", "key_ops", "alg", "kid", "crv", "x", "y", "n", "e", "d", "x5c", "x5u", "ext")
names = st.sampled_from(ALGORITHMS)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def taken(text: str, by: Issuer, now_ms: int = START_MS) -> Token | None:
    try:
        return verify(text, by, KEY, now_ms)
    except Refusal:
        return None


@settings(max_examples=400, deadline=None)
@given(st.data(), names)
def test_one_changed_byte(data: st.DataObject, name: str) -> None:
    """A token with one byte changed to any other is refused, except that a signature may be written in another way."""
    text = TOKENS[name].encode()
    place = data.draw(st.integers(0, len(text) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != text[place]))
    changed = (text[:place] + bytes([byte]) + text[place + 1 :]).decode("latin-1")
    found = taken(changed, ISSUERS[name])
    assert found is None or (found == GOOD and place > text.rindex(b"."))


@settings(max_examples=200, deadline=None)
@given(st.data(), names, st.sampled_from(("insert", "delete", "double", "swap")))
def test_other_mutations(data: st.DataObject, name: str, how: str) -> None:
    """Nothing can be put in, left out, repeated or exchanged."""
    text = TOKENS[name]
    begin, end = sorted(data.draw(st.lists(st.integers(0, len(text)), min_size=2, max_size=2, unique=True)))
    piece = data.draw(st.text("ABab01-_.=", min_size=1, max_size=4))
    changed = {
        "insert": text[:begin] + piece + text[begin:],
        "delete": text[:begin] + text[end:],
        "double": text[:end] + text[begin:],
        "swap": text[end:] + text[begin:end] + text[:begin],
    }[how]
    assert taken(changed, ISSUERS[name]) is None or changed == text


@settings(max_examples=300, deadline=None)
@given(
    st.text(max_size=60)
    | st.from_regex(r"[A-Za-z0-9_-]{0,20}\.[A-Za-z0-9_-]{0,20}\.[A-Za-z0-9_-]{0,90}", fullmatch=True)
)
def test_any_text(text: str) -> None:
    """Any text at all is refused with a code, never with another error."""
    assert taken(text, ISSUERS["ES256"]) is None


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(claims())), json_values, st.dictionaries(st.text(max_size=5), json_values, max_size=2))
def test_any_claims(name: str, value: object, more: dict[str, object]) -> None:
    """Whatever an issuer signs is taken or refused with a code; what is taken is for this key and within its time."""
    payload = claims() | {name: value} | {key: each for key, each in more.items() if key not in claims()}
    found = taken(token_of({"alg": "ES256", "kid": "corp-ES256"}, payload), ISSUERS["ES256"])
    if found is not None:
        assert START_MS < found.expires_ms <= START_MS + 3_660_000
        assert (payload["iss"], payload["cnf"]) == (claims()["iss"], claims()["cnf"])
        assert payload["aud"] in (claims()["aud"], [claims()["aud"]])
        assert 0 < len(found.subject) <= 255


@settings(max_examples=100, deadline=None)
@given(json_values, st.sampled_from(("alg", "kid", "crit", "b64", "cty", "typ", "jwk")))
def test_any_header(value: object, name: str) -> None:
    """Whatever stands in the header, the token is refused with a code, or says what it said."""
    found = taken(token_of({"alg": "ES256", "kid": "corp-ES256", name: value}, claims()), ISSUERS["ES256"])
    assert found in (None, GOOD)


@settings(max_examples=100, deadline=None)
@given(st.integers(-(10**7), 10**7), names)
def test_any_time(offset_ms: int, name: str) -> None:
    """A token is taken from a minute before its making until its end, and at no other time."""
    expected = -60_000 <= offset_ms < 600_000
    assert (taken(TOKENS[name], ISSUERS[name], START_MS + offset_ms) is not None) is expected


@settings(max_examples=100, deadline=None)
@given(names, names)
def test_no_issuer_for_another(name: str, other: str) -> None:
    """A token is taken with its own algorithm's issuer only."""
    assert (taken(TOKENS[name], ISSUERS[other]) is not None) is (name == other)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(ALGORITHMS), st.dictionaries(st.sampled_from(MEMBERS), json_values, max_size=4), st.booleans())
def test_any_key_set(name: str, changes: dict[str, object], whole: bool) -> None:
    """Whatever an issuer publishes is taken or refused with a code, and so is a token under it."""
    text = json.dumps({"keys": [jwk(name) | changes]} if whole else changes)
    with suppress(InvalidIssuer):
        check(text, ALGORITHMS)
    found = taken(TOKENS[name], issuer(algorithms=ALGORITHMS, jwks=text))
    assert found in (None, GOOD)
