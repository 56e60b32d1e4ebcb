"""An office with a notary, whose waits are short."""

import pytest
from tests.support.notary_office import Office

from keyfold.notary import settling


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long a predecessor's transaction may rest is of no interest here."""
    monkeypatch.setattr(settling, "WAIT_SECONDS", 0.05)
    monkeypatch.setattr(settling, "_LOOK_SECONDS", 0.01)


@pytest.fixture
async def office() -> Office:
    """Its log has begun."""
    made = Office()
    await made.begin()
    return made
