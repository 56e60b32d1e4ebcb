"""What is remembered of texts: the short ones that come again and again, never a long one that somebody wrote."""

from collections.abc import Callable
from typing import Any

import pytest

from keyfold.events.streams import is_stream
from keyfold.projections import uses
from keyfold.projections.store import copying

LONG = "x" * (uses.REMEMBERED + 1)
SHORT = LONG[:-1]


@pytest.mark.parametrize(
    ("ask", "cache", "long", "short"),
    [
        (uses._names_stream, uses._is_stream, [LONG], ["registry", SHORT]),
        (uses._texts, uses._few_texts, [f'"{LONG}"', ",".join(['""'] * 200)], ['""', f'"{SHORT[:-2]}"']),
        (copying._word, copying._short_text, [LONG], ["hsm", SHORT, None]),
        (copying._words, copying._few_words, [(LONG,), ("",) * 301, (SHORT, "x")], [("a", "b"), (SHORT[:-1],), ()]),
    ],
)
def test_only_short_texts_are_kept(ask: Callable[[Any], Any], cache: Any, long: list[Any], short: list[Any]) -> None:
    """A long text is answered as any other, and leaves nothing behind."""
    cache.cache_clear()
    for text in long:
        assert ask(text) == ask(text) == cache.__wrapped__(text)
    assert cache.cache_info().currsize == 0
    for text in short:
        assert ask(text) == ask(text) == cache.__wrapped__(text)
    assert cache.cache_info().currsize == len(short)


def test_no_stream_is_too_long_to_be_kept() -> None:
    """The longest names of streams are remembered, so that plain uses stay fast."""
    longest = f"principal/{'a' * 64}"
    assert is_stream(longest)
    assert len(longest) <= uses.REMEMBERED
