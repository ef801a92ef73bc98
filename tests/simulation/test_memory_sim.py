"""Shared memory in virtual time: everything that is made reaches everybody, whatever happens."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest_asyncio

from simulator.memory_world import MemoryWorld

Make = Callable[..., MemoryWorld]


@pytest_asyncio.fixture
async def make() -> AsyncIterator[Make]:
    made: list[MemoryWorld] = []

    def one(nodes: int, **options: Any) -> MemoryWorld:
        made.append(MemoryWorld(nodes, options.pop("seed", 1), **options))
        return made[-1]

    yield one
    for world in made:
        await world.close()


async def test_entries_reach_everybody_in_well_below_a_second(make: Make) -> None:
    world = make(4)
    for index in range(4):
        await world.start(index)
    await asyncio.sleep(3)
    for index in range(4):
        await world.append(index, 50)
    took_s = await world.until(
        lambda: all(s.status().entries == 200 for s in world.honest), within_s=0.5
    )
    assert took_s < 0.4
    assert world.all_equal()
    assert not world.blamed()
