"""The pause between two transactions of one producer, lowered where aiokafka keeps it.

After a commit the coordinator still writes markers, and the next AddPartitionsToTxn is answered with
CONCURRENT_TRANSACTIONS; aiokafka then sleeps a module constant (20 ms) and asks again. At 2 ms a small transaction
takes a third of the time. It is no public setting, so a test watches that the constant exists and has this effect.
"""

from typing import Final

from aiokafka.producer import sender

BETWEEN_TRANSACTIONS_S: Final = 0.002


def shorten() -> None:
    """Set aiokafka's constant; raises AttributeError should a new version no longer have it."""
    if not isinstance(sender.BACKOFF_OVERRIDE, float):
        raise TypeError("aiokafka.producer.sender.BACKOFF_OVERRIDE is no longer a number of seconds")
    sender.BACKOFF_OVERRIDE = BETWEEN_TRANSACTIONS_S
