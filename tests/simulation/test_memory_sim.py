"""Shared memory in virtual time: everything that is made reaches everybody, whatever happens."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from node.errors import ConfigError, Unavailable
from node.memory import log
from node.memory.config import MemoryPace, MemorySpec
from node.memory.service import MemoryService
from node.types import PeerId
from simulator.loop import run
from simulator.memory_world import SMALL, MemoryNode, MemoryWorld
from simulator.wire.links import LinkModel

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


async def start_all(world: MemoryWorld, settle_s: float = 2.0) -> None:
    for node in world.nodes:
        await world.start(node.index)
    await asyncio.sleep(settle_s)


def values_taken(node: MemoryNode, author: PeerId) -> list[float]:
    """Values of one author in the order in which the consumer was given them."""
    batches = [change for _, change in node.taken if change.author == author]
    return [float(v) for change in batches if change.batch for v in change.entries.values]


def lags_s(node: MemoryNode, author: PeerId, made_at: dict[int, float]) -> list[float]:
    """Seconds from the append of each batch to the consumer of ``node``, by first entry."""
    return [
        at - made_at[change.first_entry]
        for at, change in node.taken
        if change.author == author and change.first_entry in made_at
    ]


async def test_entries_reach_everybody_in_well_below_a_second(make: Make) -> None:
    world = make(4)
    await start_all(world)
    for index in range(4):
        await world.append(index, 50)
    took_s = await world.until(
        lambda: all(s.status().entries == 200 for s in world.honest), within_s=0.5
    )
    assert took_s < 0.4
    assert world.all_equal()
    assert not world.blamed()
    await asyncio.sleep(0.1)
    for node in world.nodes:
        for other in world.nodes:
            expected = [] if other is node else [float(v) for v in range(50)]
            assert values_taken(node, other.peer) == expected


async def test_two_authors_at_a_thousand_entries_a_second_stay_close(make: Make) -> None:
    spec = MemorySpec(key_dims=242, payload_bytes=1, entries_per_author=50_000)
    world = make(2, spec=spec)
    await start_all(world)
    made_at: list[dict[int, float]] = [{}, {}]
    loop = asyncio.get_running_loop()

    async def play(index: int) -> None:
        for step in range(40):
            await asyncio.sleep(0.25)
            made_at[index][step * 250] = loop.time()
            await world.append(index, 250)

    await asyncio.gather(play(0), play(1))
    await world.until(world.all_equal, within_s=1.0)
    await asyncio.sleep(0.2)
    for index in (0, 1):
        lags = lags_s(world.nodes[1 - index], world.nodes[index].peer, made_at[index])
        assert len(lags) == 40
        assert max(lags) < 0.5, max(lags)


async def test_both_sides_of_a_healed_partition_hold_the_same(make: Make) -> None:
    world = make(6)
    await start_all(world)
    world.partition([0, 1, 2], [3, 4, 5])
    await asyncio.gather(*(world.produce(index, 7, 0.3, 20) for index in range(6)))
    await asyncio.sleep(20)
    assert not world.all_equal()
    world.network.heal()
    await world.until(world.all_equal, within_s=8.0)
    assert world.honest[0].status().entries == 6 * 140
    assert not world.blamed()
    for node in world.nodes:
        for other in world.nodes:
            if other is not node:
                assert values_taken(node, other.peer) == [float(v) for v in range(140)]


async def test_a_partition_that_outlives_a_quota_is_jumped_over(make: Make) -> None:
    world = make(3)
    await start_all(world)
    await world.append(0, 30)
    await world.until(world.all_equal, within_s=1.0)
    world.partition([0, 1], [2])
    await world.produce(0, 40, 0.2, 30)
    await asyncio.sleep(5)
    assert world.honest[0].status().entries <= SMALL.entries_per_author
    world.network.heal()
    await world.until(world.all_equal, within_s=8.0)
    await asyncio.sleep(0.5)
    assert not world.blamed()
    taken = values_taken(world.nodes[2], world.nodes[0].peer)
    assert taken[:30] == [float(v) for v in range(30)]
    assert taken[30:] == [float(v) for v in range(1230 - len(taken[30:]), 1230)]
    assert len(taken[30:]) == world.honest[0].status().entries


async def test_a_late_joiner_gets_everything_from_whoever_is_there(make: Make) -> None:
    world = make(4)
    for index in range(3):
        await world.start(index)
    await asyncio.gather(*(world.produce(index, 20, 0.2, 25) for index in range(3)))
    await world.until(world.all_equal, within_s=2.0)
    await world.crash(0)  # its batches are held by the others
    await world.start(3)
    await world.until(world.all_equal, within_s=3.0)
    assert world.honest[-1].status().entries == 1500
    assert not world.blamed()


def entries_of(service: MemoryService, author: PeerId) -> int:
    """What a node holds of an author, evicted ones included."""
    reach = service.frontier().get(author)
    return reach.entries if reach else 0


async def test_a_crash_loses_nothing_that_was_shown_and_forks_nothing(make: Make) -> None:
    world = make(3, seed=5, fsync_s=0.02)
    await start_all(world)
    rng = np.random.default_rng(3)
    for life in range(12):
        tasks = [asyncio.ensure_future(world.produce(0, 9, 0.03, 40))]
        await asyncio.sleep(rng.uniform(0.05, 0.6))
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await world.crash(0)
        await asyncio.sleep(rng.uniform(0.0, 0.5))
        service = await world.start(0)
        world.nodes[0].made = entries_of(service, world.nodes[0].peer)
        shown = [entries_of(other, world.nodes[0].peer) for other in world.honest[1:]]
        assert max(shown) <= world.nodes[0].made, life
    await world.append(0, 1)
    await world.until(world.all_equal, within_s=3.0)
    assert not world.blamed()
    assert not world.honest[0].evidence()
    taken = values_taken(world.nodes[1], world.nodes[0].peer)
    assert taken == [float(v) for v in range(len(taken))]


async def test_everybody_crashes_and_the_set_is_as_before(make: Make) -> None:
    big = replace(SMALL, key_dims=2000, entries_per_author=3000)  # several segments of 4 MiB
    world = make(2, spec=big)
    await start_all(world)
    await asyncio.gather(*(world.produce(index, 300, 0.1, 14) for index in range(2)))
    await world.until(world.all_equal, within_s=3.0)
    await asyncio.sleep(0.5)
    root, entries = world.roots()[0], world.honest[0].status().entries
    for index in range(2):
        await world.crash(index)
    await world.start(0)
    assert world.roots() == [root]
    await asyncio.sleep(0.5)
    replayed = [c.batch.header.entries for _, c in world.nodes[0].taken if c.batch is not None]
    assert sum(replayed) == entries
    await world.start(1)
    await world.append(0, 10)
    await world.until(world.all_equal, within_s=5.0)
    assert not world.blamed()


async def test_a_lost_slot_log_silences_the_author_and_nobody_else(make: Make) -> None:
    world = make(3)
    await start_all(world)
    for index in range(3):
        await world.append(index, 10)
    await world.until(world.all_equal, within_s=1.0)
    await world.crash(0)
    world.nodes[0].store.lose_slots()
    service = await world.start(0)
    with pytest.raises(ConfigError, match="slot log was lost"):
        await world.append(0, 1)
    await world.until(world.all_equal, within_s=3.0)  # it holds all again, its own entries too
    assert service.status().entries == 30
    assert "slot log was lost" in service.status().trouble
    await world.append(1, 5)
    await world.until(lambda: service.status().entries == 35, within_s=1.0)
    assert not world.blamed()


async def test_own_batches_that_the_disk_lost_come_back_before_anything_is_signed(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "SEGMENT_BYTES", 2000)
    world = make(3)
    await start_all(world)
    await world.produce(0, 40, 0.1, 10)
    await world.until(world.all_equal, within_s=1.0)
    root = world.roots()[0]
    for index in range(3):
        await world.crash(index)
    disk = world.nodes[0].store.disk
    rotten = next(name for name in disk.names() if name.startswith("blobs/"))
    disk.replace(rotten, b"other bytes")
    disk.fsync_folder()
    service = await world.start(0)
    assert service.status().entries == 0
    with pytest.raises(Unavailable, match="not yet back"):
        await world.append(0, 1)
    await world.start(1)
    await world.until(lambda: world.roots() == [root, root], within_s=8.0)
    await world.append(0, 1)
    await world.start(2)
    await world.until(world.all_equal, within_s=8.0)
    assert not world.blamed()
    assert service.status().entries == 401


async def test_a_full_disk_takes_nothing_and_recovers(make: Make) -> None:
    world = make(2)
    await start_all(world)
    world.nodes[0].store.fill()
    with pytest.raises(Unavailable):
        await world.append(0, 5)
    await world.append(1, 5)
    await asyncio.sleep(2)
    assert world.honest[0].status().entries == 0
    assert world.honest[0].status().trouble
    before = sum(world.nodes[1].host.transport.traffic()[world.nodes[0].peer])  # type: ignore[union-attr]
    await asyncio.sleep(60)
    after = sum(world.nodes[1].host.transport.traffic()[world.nodes[0].peer])  # type: ignore[union-attr]
    assert after - before < 60_000  # it is not asked for again and again
    world.nodes[0].store.unfill()
    await world.append(0, 5)
    await world.until(lambda: world.all_equal() and bool(world.honest[0].status().entries), 8.0)
    assert world.honest[1].status().entries == 10
    assert not world.blamed()


async def test_a_slow_consumer_slows_the_pull_and_loses_nothing(make: Make) -> None:
    world = make(2, pace=MemoryPace(queue_batches=4))
    await world.start(0)
    service = await world.start(1, consume=False)
    changes = service.subscribe()
    await world.append(0, 1)
    first = await anext(changes)
    await world.produce(0, 2, 0.2, 60)
    await asyncio.sleep(3)
    assert service.status().waiting <= 8
    assert service.status().lag > 0
    values = list(first.entries.values)
    async for change in changes:
        values += list(change.entries.values)
        await asyncio.sleep(0.05)
        if len(values) == 121:
            break
    assert values == [float(v) for v in range(121)]
    await changes.aclose()  # type: ignore[attr-defined]
    await world.until(world.all_equal, within_s=3.0)


async def test_nodes_come_and_go_as_the_job_says(make: Make) -> None:
    world = make(4)
    await start_all(world)
    for left in (3, 1):
        gone = world.peers.pop(left)
        await asyncio.sleep(1.5)
        for index in range(4):
            await world.append(index, 5)
        await asyncio.sleep(5)
        inside = [s for s, n in zip(world.honest, world.nodes, strict=True) if n.peer != gone]
        assert len({service.root() for service in inside}) == 1
        assert not world.all_equal()  # it is not asked; it may ask
        world.peers.insert(left, gone)
        await world.until(world.all_equal, within_s=5.0)
    assert world.honest[0].status().entries == 40


async def test_lossy_slow_links_only_delay(make: Make) -> None:
    link = LinkModel(latency_s=0.08, jitter_s=0.05, tail=0.5, loss_rate=0.05, duplicate_rate=0.02)
    world = make(5, link=link, seed=9)
    await start_all(world)
    await asyncio.gather(*(world.produce(index, 11, 0.3, 10) for index in range(5)))
    await world.until(world.all_equal, within_s=30.0)
    assert world.honest[0].status().entries == 550
    assert not world.blamed()


def test_a_run_replays_from_its_seed() -> None:
    async def main(seed: int) -> list[Any]:
        world = MemoryWorld(4, seed, link=LinkModel(latency_s=0.03, jitter_s=0.05, loss_rate=0.05))
        await start_all(world, settle_s=0.5)
        await asyncio.gather(*(world.produce(index, 5, 0.1, 20) for index in range(4)))
        await world.crash(2)
        await world.start(2)
        await world.until(world.all_equal, within_s=30.0)
        story = [
            (at, change.author, change.first_kept, change.batch and change.batch.signed.id)
            for node in world.nodes
            for at, change in node.taken
        ]
        await world.close()
        return [story, [node.blamed for node in world.nodes]]

    assert run(main(3)) == run(main(3))
    assert run(main(3))[0] != run(main(4))[0]


async def test_a_long_jump_over_slow_lines_is_handed_from_peer_to_peer(make: Make) -> None:
    """Slower than a peer may be before another one is asked: what came is not lost."""
    spec = MemorySpec(key_dims=242, payload_bytes=1, entries_per_author=4000)
    world = make(4, spec=spec)
    for index in range(3):
        await world.start(index)
    await world.produce(0, 250, 0.1, 24)  # more than is kept
    await world.until(world.all_equal, within_s=2.0)
    for index in range(3):
        source, target = world.nodes[index].peer, world.nodes[3].peer
        world.network.set_link(source, target, LinkModel(bytes_per_s=50_000.0))
    await world.start(3)
    await world.until(world.all_equal, within_s=60.0)  # 1 MB
    assert not world.blamed()
