"""Re-encryption of a batch: what is moved, what stays, and what is tried again."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from tests.unit.cli.campaigns import OTHER, Service, made, rewrapper
from tests.unit.cli.conftest import KEY

from keyfold.cli.rewrap.campaign import Plan, Rewrapper
from keyfold.cli.rewrap.items import Item, Result, Tally, reference_of
from keyfold.events.errors import AccessDenied, InvalidCiphertext, KeyDisabled, KeyfoldError, RateLimited, Unavailable


def items(*ciphertexts: bytes, contexts: Sequence[dict[str, str]] | None = None) -> list[Item]:
    return [Item.of(f"line {n}", each, (contexts or [{}] * len(ciphertexts))[n]) for n, each in enumerate(ciphertexts)]


def outcomes(results: Sequence[Result]) -> list[Any]:
    return [result.code or result.outcome for result in results]


async def test_only_what_is_the_keys_and_older_is_moved() -> None:
    """Other keys', the current version's and what is no ciphertext stay as they are; the last is a failure."""
    service = Service()
    given_ = items(made(1), made(9), made(1, key=OTHER), b"none")
    results = await rewrapper(service, current=9).rewrap(given_)
    assert outcomes(results) == ["moved", "kept", "kept", "NotACiphertext"]
    assert [result.ciphertext for result in results[1:]] == [item.ciphertext for item in given_[1:]]
    assert results[0].ciphertext == made(9)
    assert service.asked == [made(1)]


async def test_to_another_key_everything_of_the_key_is_moved() -> None:
    """Also what is under its newest version."""
    results = await rewrapper(Service(), current=9, destination=OTHER).rewrap(
        items(made(1), made(9), made(1, key=OTHER))
    )
    assert [reference_of(result.ciphertext) for result in results] == [(OTHER, 9), (OTHER, 9), (OTHER, 1)]
    assert outcomes(results) == ["moved", "moved", "kept"]


async def test_what_may_pass_is_tried_again() -> None:
    """Whole batches and single items; what was answered is not asked again."""
    service = Service(Unavailable("x"), RateLimited())
    service.bad[made(1, "late")] = Unavailable("x")

    async def later(_: float) -> None:
        if service.calls >= 4:
            service.bad.clear()

    worker = Rewrapper(service, Plan(KEY), lambda _: None, later)
    assert outcomes(await worker.rewrap(items(made(1, "a"), made(1, "late")))) == ["moved", "moved"]
    assert service.asked.count(made(1, "a")) == 1
    assert service.asked.count(made(1, "late")) == 3


async def test_it_is_not_tried_for_ever() -> None:
    """Pauses grow up to a bound; then the trouble is raised, and nothing of the batch counts."""
    pauses: list[float] = []

    async def slept(pause: float) -> None:
        pauses.append(pause)

    service = Service(*[Unavailable("x")] * 100)
    with pytest.raises(Unavailable):
        await Rewrapper(service, Plan(KEY, retry_s=60), lambda _: None, slept).rewrap(items(made()))
    assert pauses == sorted(pauses)
    assert (max(pauses) <= 30, 60 <= sum(pauses) <= 90) == (True, True)


async def test_an_item_that_fails_stays_as_it_is() -> None:
    """With its code; the others are moved."""
    service = Service()
    service.bad[made(1, "bad")] = InvalidCiphertext()
    results = await rewrapper(service).rewrap(items(made(1, "a"), made(1, "bad"), made(1, "b")))
    assert outcomes(results) == ["moved", "InvalidCiphertext", "moved"]
    assert results[1].ciphertext == made(1, "bad")


@pytest.mark.parametrize("error", [KeyDisabled(), AccessDenied()])
async def test_what_strikes_everything_ends_the_campaign(error: KeyfoldError) -> None:
    """A disabled key, or a caller who may not at all."""
    with pytest.raises(type(error)):
        await rewrapper(Service(error, error)).rewrap(items(made(1, "a"), made(1, "b")))


async def test_a_context_that_is_denied_costs_only_its_items() -> None:
    """Policies permit by context. Where all are denied, it is the caller who may not."""
    service = Service()
    service.denied = {"8"}
    contexts = [{"t": "7"}, {"t": "8"}, {"t": "7"}]
    given_ = items(made(1, "a"), made(1, "b"), made(1, "c"), contexts=contexts)
    assert outcomes(await rewrapper(service).rewrap(given_)) == ["moved", "AccessDenied", "moved"]
    service.denied = {"7", "8"}
    with pytest.raises(AccessDenied):
        await rewrapper(service).rewrap(given_)


def test_a_tally_is_a_document_and_back() -> None:
    """So it survives in the journal."""
    tally = Tally()
    tally.count(items(made(1))[0], Result(made(9), "moved"))
    assert Tally.from_data(json.loads(json.dumps(tally.as_data()))) == tally
