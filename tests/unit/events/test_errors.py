"""The tree of errors."""

import pytest

from keyfold.events import errors


def tree(root: type[errors.KeyfoldError]) -> list[type[errors.KeyfoldError]]:
    found = [root, *(leaf for child in root.__subclasses__() for leaf in tree(child))]
    return [kind for kind in found if kind.__module__.startswith("keyfold.events")]


REFUSALS = [kind for kind in tree(errors.Refusal) if kind.__module__ == errors.__name__]


def test_codes_are_unique() -> None:
    """No two errors of the package share a code."""
    codes = [kind.code for kind in tree(errors.KeyfoldError)]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("kind", REFUSALS, ids=lambda kind: kind.__name__)
def test_refusals(kind: type[errors.Refusal]) -> None:
    """A refusal is found by its code, is named as its code, and says what to do."""
    assert errors.refusal_by_code(kind.code) is kind
    assert kind.code == kind.__name__
    assert str(kind()) == kind.hint
    assert str(kind("more exactly")) == "more exactly"
    assert len(kind.code) <= 64


@pytest.mark.parametrize(
    ("kind", "parent"),
    [
        (errors.ApprovalRequired, errors.AccessDenied),
        (errors.GrantExhausted, errors.AccessDenied),
        (errors.SelfApproval, errors.AccessDenied),
        (errors.ProposalExpired, errors.ProposalClosed),
        (errors.TokenNotBound, errors.InvalidToken),
        (errors.TokenExpired, errors.InvalidToken),
        (errors.UnknownIssuer, errors.InvalidToken),
        (errors.IssuerKeysExpired, errors.InvalidToken),
        (errors.KeyDestroyed, errors.InvalidState),
    ],
    ids=lambda kind: kind.__name__,
)
def test_kinds_of_kinds(kind: type[errors.Refusal], parent: type[errors.Refusal]) -> None:
    """Who handles the general refusal handles the particular one, which has a code and a hint of its own."""
    assert issubclass(kind, parent)
    assert kind.code != parent.code
    assert kind.hint != parent.hint


def test_hints_are_one_line() -> None:
    """Every refusal has a hint of its own, on one line and without a full stop."""
    assert len({kind.hint for kind in REFUSALS}) == len(REFUSALS)
    for kind in REFUSALS:
        assert "\n" not in kind.hint
        assert not kind.hint.endswith(".")


def test_unknown_code() -> None:
    """A code of a newer service is still a refusal."""
    assert errors.refusal_by_code("FromTheFuture") is errors.Refusal


def test_what_may_be_sent_again() -> None:
    """Exactly these refusals may go away by themselves."""
    assert {kind.code for kind in REFUSALS if kind.retriable} == {
        "AliasMoved",
        "RateLimited",
        "RegistryBehind",
        "SealingKeyRetired",
        "TokenUnavailable",
    }
    assert errors.Unavailable.retriable
    assert not errors.RecordError.retriable
