"""Membership of the bus, in memory and with Kafka alike: partitions are shared, and a dead member is replaced."""

import asyncio
from collections.abc import Sequence

from tests.contract.bus.world import World, eventually

from keyfold.bus import Membership


def shared(members: Sequence[Membership], count: int) -> bool:
    """All partitions are wanted, each by one member."""
    sets = [member.wanted for member in members]
    return all(sets) and sum(map(len, sets)) == count and len(frozenset().union(*sets)) == count


async def test_members_share_and_a_dead_one_is_replaced(world: World) -> None:
    """Rule 7: every partition is wanted by exactly one; after a death the others take over, keeping their own."""
    first = world.bus.membership(f"{world.name}-g", world.a, "one")
    second = world.bus.membership(f"{world.name}-g", world.a, "two")
    await first.start()
    try:
        assert await asyncio.wait_for(first.wait_change(), 15) == {0, 1}
        await second.start()
        await eventually(lambda: shared([first, second], 2), 15)
        kept = second.wanted
        await first.stop()
        changed = await asyncio.wait_for(second.wait_change(kept), 20)
        assert changed == {0, 1}
    finally:
        await first.stop()
        await second.stop()


async def test_a_static_member_that_comes_back_moves_nothing(world: World) -> None:
    """Rule 7: a restart gets the same partitions at once, long before the old session ends; nobody else notices."""
    group = f"{world.name}-g"
    first, second = world.bus.membership(group, world.a, "one"), world.bus.membership(group, world.a, "two")
    again = world.bus.membership(group, world.a, "one")
    await first.start()
    await second.start()
    try:
        await eventually(lambda: shared([first, second], 2), 20)
        before, other = first.wanted, second.wanted
        await first.stop()
        await again.start()
        assert await asyncio.wait_for(again.wait_change(), 4) == before
        assert second.wanted == other
    finally:
        for member in (first, second, again):
            await member.stop()
