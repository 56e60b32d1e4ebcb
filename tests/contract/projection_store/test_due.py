"""What every store of projections tells the scheduler to do: rotations that are due, and material that is over."""

from tests.contract.projection_store.life import HOUR_MS, SYMMETRIC, fold, now, plain
from tests.contract.projection_world import World
from tests.unit.projections.histories import START_MS
from tests.unit.projections.living import DAY_MS, Living

from keyfold.events import facts
from keyfold.events.times import to_milliseconds, to_text
from keyfold.projections.rows import DueExpiry, DueRotation


async def test_rotations_are_due_for_a_cause(world: World, life: Living) -> None:
    """Compromised keys first, by when that was said; then worn ones, the fullest first; then those overdue longest."""
    newer, older = plain(life, rotation_period_seconds=3600), plain(life, rotation_period_seconds=3599)
    full, worn, fresh = (plain(life, rotate_at_percent=50) for _ in range(3))
    for key_id, items in ((full, 80), (worn, 50), (fresh, 49)):
        life.use_old(life.key(key_id), 1, "Encrypt", items)
    lost, leaked = plain(life, rotation_period_seconds=1, rotate_at_percent=1), plain(life)
    life.use_old(life.key(lost), 1, "Encrypt", 90)
    life.now_ms += 1
    life.compromise(life.key(leaked), [1])
    life.now_ms += 1
    life.compromise(life.key(lost), [1])
    await fold(world, life.events)
    compromised = (DueRotation(leaked, 1, "compromise"), DueRotation(lost, 1, "compromise"))
    budgets = (DueRotation(full, 1, "usage-budget"), DueRotation(worn, 1, "usage-budget"))
    assert await world.queries.due_rotations(now(life)) == compromised + budgets
    later = to_text(START_MS + 2 * HOUR_MS)
    old = sorted((older, newer), key=lambda key_id: _period_over(life, key_id))
    periods = tuple(DueRotation(key_id, 1, "period") for key_id in old)
    assert await world.queries.due_rotations(later) == compromised + budgets + periods
    assert await world.queries.due_rotations(later, 3) == (*compromised, budgets[0])


def _period_over(life: Living, key_id: str) -> int:
    key = life.key(key_id)
    return to_milliseconds(key.created_at) + (key.rotation_period_seconds or 0) * 1000


async def test_a_period_counts_from_the_version_and_from_the_wish(world: World, life: Living) -> None:
    """Whichever is later; to the millisecond."""
    key_id = plain(life, rotation_period_seconds=10)
    due_ms = to_milliseconds(life.key(key_id).created_at) + 10_000
    await fold(world, life.events)
    assert await world.queries.due_rotations(to_text(due_ms - 1)) == ()
    assert await world.queries.due_rotations(to_text(due_ms)) == (DueRotation(key_id, 1, "period"),)
    life.now_ms = due_ms
    life.control(facts.KeyRotationEnabled, life.key(key_id), "EnableKeyRotation", rotation_period_seconds=20)
    wish = to_milliseconds(life.key(key_id).rotation_enabled_at or "")
    await fold(world, life.events)
    assert await world.queries.due_rotations(to_text(wish + 19_999)) == ()
    assert await world.queries.due_rotations(to_text(wish + 20_000)) == (DueRotation(key_id, 1, "period"),)
    life.rotate_for(life.key(key_id), "period")
    made = to_milliseconds(life.key(key_id).current.created_at)
    await fold(world, life.events)
    assert await world.queries.due_rotations(to_text(made + 19_999)) == ()
    assert await world.queries.due_rotations(to_text(made + 20_000)) == (DueRotation(key_id, 2, "period"),)
    life.control(facts.KeyRotationDisabled, life.key(key_id), "DisableKeyRotation")
    await fold(world, life.events)
    assert await world.queries.due_rotations(to_text(made + DAY_MS)) == ()


async def test_what_policy_would_not_rotate_is_not_due(world: World, life: Living) -> None:
    """Keys of imported material, keys out of use, before or after their time; but a compromised one after its time."""
    bound = {"rotation_period_seconds": 1, "rotate_at_percent": 1}
    imported = plain(life, "EXTERNAL")
    life.get_parameters(life.key(imported))
    life.import_material(life.key(imported), "2999-01-01T00:00:00.000Z")
    life.compromise(life.key(imported), [1])
    off, leaving = plain(life, **bound), plain(life, **bound)
    life.disable(life.key(off))
    life.compromise(life.key(off), [1])
    life.schedule(life.key(leaving))
    plain(life, **bound, not_before="2999-01-01T00:00:00.000Z")
    plain(life, **bound, not_after=now(life))
    over = plain(life, not_after=now(life))
    life.compromise(life.key(over), [1])
    old = plain(life)
    life.rotate_for(life.key(old), "requested")
    life.compromise(life.key(old), [1])
    await fold(world, life.events)
    assert await world.queries.due_rotations(to_text(life.now_ms + HOUR_MS)) == (DueRotation(over, 1, "compromise"),)


async def test_the_next_version_ends_what_was_due(world: World, life: Living) -> None:
    """For every cause; where its material cannot be made, the old version is current and due again."""
    key_id = plain(life)
    life.compromise(life.key(key_id), [1])
    kind = {"key_spec": SYMMETRIC[0], "protection": "SOFTWARE", "version": 2, "cause": "compromise"}
    life.decided(facts.KeyRotated, f"key/{key_id}", "RotateKey", key_id=key_id, **kind)
    await fold(world, life.events)
    assert await world.queries.due_rotations(now(life)) == ()
    life.outcome(facts.OperationFailed, f"key/{key_id}", "RotateKey", key_id=key_id, code="TokenUnavailable")
    await fold(world, life.events)
    assert await world.queries.due_rotations(now(life)) == (DueRotation(key_id, 1, "compromise"),)


async def test_imported_material_is_due_when_it_is_over(world: World, life: Living) -> None:
    """To the millisecond, the longest due first, disabled keys too; not of keys that wait for deletion."""
    ends = [to_text(START_MS + step * DAY_MS) for step in (3, 1, 2)]
    made = []
    for end in ends:
        made.append(plain(life, "EXTERNAL"))
        life.get_parameters(life.key(made[-1]))
        life.import_material(life.key(made[-1]), end)
    life.disable(life.key(made[0]))
    await fold(world, life.events)
    due = [DueExpiry(made[1], 1, ends[1]), DueExpiry(made[2], 1, ends[2]), DueExpiry(made[0], 1, ends[0])]
    before = to_text(to_milliseconds(ends[1]) - 1)
    assert await world.queries.due_material_expiries(before) == ()
    assert await world.queries.due_material_expiries(ends[1]) == (due[0],)
    assert await world.queries.due_material_expiries(ends[0]) == tuple(due)
    assert await world.queries.due_material_expiries(ends[0], 2) == tuple(due[:2])
    life.schedule(life.key(made[2]))
    life.delete_material(life.key(made[1]))
    await fold(world, life.events)
    assert await world.queries.due_material_expiries(ends[0]) == (due[2],)
