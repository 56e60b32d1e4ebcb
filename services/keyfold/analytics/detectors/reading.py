"""Reading a memory's document: whatever is wrong with it is a `ValueError`. Pure."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reading() -> Iterator[None]:
    """Turn the errors of a document that has another shape into `ValueError`."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError) as error:
        raise ValueError(f"this is no memory of this detector: {error}") from error
