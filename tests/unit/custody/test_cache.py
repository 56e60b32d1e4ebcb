"""The cache of open handles: bounded, and never destroying what is in use."""

import threading
from collections.abc import Callable

import pytest

from keyfold.custody import Handle, HandleCache, KeyReference
from keyfold.events.errors import TokenUnavailable


class Fake:
    def __init__(self, reference: KeyReference) -> None:
        self.reference = reference
        self.destroyed = 0

    def destroy(self) -> None:
        self.destroyed += 1


def fakes() -> list[Fake]:
    return []


def ref(number: int, version: int = 1) -> KeyReference:
    return KeyReference(bytes([number]) * 16, version, "SYMMETRIC_DEFAULT", "HSM")


def loader(reference: KeyReference, made: list[Fake]) -> Callable[[], Fake]:
    def load() -> Fake:
        made.append(Fake(reference))
        return made[-1]

    return load


def use(cache: HandleCache, reference: KeyReference, made: list[Fake]) -> Fake:
    with cache.get(reference, loader(reference, made)) as handle:
        assert isinstance(handle, Fake)
        return handle


def test_a_handle_is_loaded_once() -> None:
    """The second use finds the first's handle."""
    cache, made = HandleCache(2), fakes()
    assert use(cache, ref(1), made) is use(cache, ref(1), made)
    assert len(made) == 1


def test_the_least_recently_used_goes_first() -> None:
    """Beyond the bound, the handle that was not used longest is destroyed, and only it."""
    cache, made = HandleCache(2), fakes()
    first, second = use(cache, ref(1), made), use(cache, ref(2), made)
    use(cache, ref(1), made)
    use(cache, ref(3), made)
    assert (first.destroyed, second.destroyed) == (0, 1)
    assert len(cache) == 2


def test_a_handle_in_use_is_destroyed_by_its_last_user() -> None:
    """Eviction while two use it: it lives until both have left, and is destroyed once."""
    cache, made = HandleCache(1), fakes()
    with cache.get(ref(1), loader(ref(1), made)) as handle:
        with cache.get(ref(1), loader(ref(1), made)):
            cache.evict(ref(1).key_id)
            assert made[0].destroyed == 0
        assert made[0].destroyed == 0
        assert handle is made[0]
    assert made[0].destroyed == 1


def test_overflow_spares_a_handle_in_use() -> None:
    """Pushed out by others while in use, it is destroyed after."""
    cache, made = HandleCache(1), fakes()
    with cache.get(ref(1), loader(ref(1), made)):
        use(cache, ref(2), made)
        assert made[0].destroyed == 0
    assert made[0].destroyed == 1


def test_evicting_a_key_takes_all_its_versions() -> None:
    """And no other key's."""
    cache, made = HandleCache(5), fakes()
    for reference in (ref(1, 1), ref(1, 2), ref(2)):
        use(cache, reference, made)
    cache.evict(ref(1).key_id)
    assert [fake.destroyed for fake in made] == [1, 1, 0]
    assert len(cache) == 1


def test_after_eviction_a_key_is_loaded_again() -> None:
    """Nothing of the old handle is handed out, even while the old one is still in use."""
    cache, made = HandleCache(5), fakes()
    with cache.get(ref(1), loader(ref(1), made)):
        cache.evict(ref(1).key_id)
        assert use(cache, ref(1), made) is made[1]
    assert [fake.destroyed for fake in made] == [1, 0]


def test_a_failed_load_leaves_nothing() -> None:
    """The error passes through; the next use loads."""
    cache, made = HandleCache(1), fakes()

    def fail() -> Fake:
        raise TokenUnavailable

    with pytest.raises(TokenUnavailable), cache.get(ref(1), fail):
        pass
    assert len(cache) == 0
    use(cache, ref(1), made)


def test_a_failing_token_costs_the_handle() -> None:
    """A handle that the token may have lost is not handed out again."""
    cache, made = HandleCache(5), fakes()
    with pytest.raises(TokenUnavailable), cache.get(ref(1), loader(ref(1), made)):
        raise TokenUnavailable
    assert len(cache) == 0
    assert made[0].destroyed == 1
    assert use(cache, ref(1), made) is made[1]


def test_other_errors_keep_the_handle() -> None:
    """A wrong ciphertext says nothing about the key."""
    cache, made = HandleCache(5), fakes()
    with pytest.raises(ValueError, match="mine"), cache.get(ref(1), loader(ref(1), made)):
        raise ValueError("mine")
    assert use(cache, ref(1), made) is made[0]


def test_clear_destroys_all() -> None:
    """At the end of a process."""
    cache, made = HandleCache(5), fakes()
    use(cache, ref(1), made)
    use(cache, ref(2), made)
    cache.clear()
    assert [fake.destroyed for fake in made] == [1, 1]


def test_two_threads_that_load_the_same_key_share_one_handle() -> None:
    """The second of two simultaneous loads is destroyed; both users get the first."""
    cache, made = HandleCache(5), fakes()
    got: list[Handle] = []
    both = threading.Barrier(2, timeout=5)

    def load() -> Fake:
        both.wait()
        handle = Fake(ref(1))
        made.append(handle)
        return handle

    def run() -> None:
        with cache.get(ref(1), load) as handle:
            got.append(handle)
            both.wait()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert got[0] is got[1]
    assert sorted(fake.destroyed for fake in made) == [0, 1]


def test_a_cache_holds_one_at_least() -> None:
    """A bound of zero is a mistake."""
    with pytest.raises(ValueError, match="one"):
        HandleCache(0)
