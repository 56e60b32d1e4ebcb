"""Rule 8: the pause between transactions is a constant of aiokafka that we lower; watch that it is still there."""

from types import SimpleNamespace

import pytest
from aiokafka.errors import ConcurrentTransactions
from aiokafka.producer import sender
from aiokafka.producer.sender import AddPartitionsToTxnHandler

from keyfold.bus import backoff


def pause_after_concurrent_transactions() -> float | None:
    """What aiokafka sleeps when the coordinator still writes the markers of the last transaction."""
    manager = SimpleNamespace(txn_partitions=set())
    handler = AddPartitionsToTxnHandler(SimpleNamespace(_txn_manager=manager, _retry_backoff=0.1), set())
    answer: float | None = handler.handle_response(SimpleNamespace(errors=[("t", [(0, ConcurrentTransactions.errno)])]))
    return answer


def test_shorten_takes_effect_where_aiokafka_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler that waits reads the constant each time, and finds ours."""
    monkeypatch.setattr(sender, "BACKOFF_OVERRIDE", 0.02)
    assert pause_after_concurrent_transactions() == 0.02
    backoff.shorten()
    assert pause_after_concurrent_transactions() == backoff.BETWEEN_TRANSACTIONS_S == 0.002


def test_shorten_fails_loudly_when_the_constant_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade that renames it must not silently cost 20 ms per transaction."""
    monkeypatch.delattr(sender, "BACKOFF_OVERRIDE")
    with pytest.raises(AttributeError):
        backoff.shorten()
