"""Jobs that share a memory: whole daemons in virtual time, all of whom remember the same."""

import asyncio
from typing import Any

from node.errors import Unavailable
from node.exchange.decide import CREDIT_MICRO, ENTRY_MICRO
from node.jobs.runner import JobRunner
from node.observe.status import JobStatus
from simulator.loop import run
from simulator.scenario import LinkSection, Scenario
from simulator.workloads.notes import NotesWorkload
from simulator.world import World

JOB = """
[job]
name = "notes"
workload = "notes"
rounds = {rounds}
[workload]
entries_per_author = {quota}
[round]
steps = 50
train_s_max = 3.0
[exchange]
codec = "fp32"
rule = "median"
[electorate]
founders = [{founders}]
"""


def manifest(world: World, rounds: int, quota: int = 100_000) -> str:
    founders = ", ".join(f'"{node.peer}"' for node in world.nodes)
    return JOB.format(rounds=rounds, quota=quota, founders=founders)


def runner(world: World, index: int) -> JobRunner:
    daemon = world.nodes[index].daemon
    assert daemon is not None
    (found,) = daemon.runners
    return found


def job(world: World, index: int) -> JobStatus | None:
    daemon = world.nodes[index].daemon
    return next(iter(daemon.list_jobs()), None) if daemon else None


def notes(world: World, index: int) -> NotesWorkload:
    workload: Any = world.nodes[index].compute.workers[-1]._workload
    assert isinstance(workload, NotesWorkload)
    return workload


def root(world: World, index: int) -> bytes:
    memory = runner(world, index).remembering
    assert memory is not None
    return memory.root()


async def until_round(world: World, round_: int, *indices: int, limit_s: float = 900.0) -> None:
    async with asyncio.timeout(limit_s):
        while not all(
            (seen := job(world, i)) and (seen.round > round_ or seen.state == "done")
            for i in indices
        ):
            await asyncio.sleep(0.2)


async def until_equal(world: World, *indices: int, limit_s: float = 60.0) -> None:
    """Until the nodes are done and hold one memory."""
    async with asyncio.timeout(limit_s):
        while len({root(world, i) for i in indices}) != 1:
            await asyncio.sleep(0.2)


def start_world(nodes: int = 4, seed: int = 1, **link: Any) -> World:
    return World(Scenario(nodes=nodes, link=LinkSection(**link)), seed=seed)


async def test_all_remember_what_each_wrote_and_are_credited_for_it() -> None:
    world = start_world()
    async with world:
        for index in range(4):
            await world.start(index)
        await world.submit(manifest(world, 8), {})
        await until_round(world, 8, 0, 1, 2, 3)
        await until_equal(world, 0, 1, 2, 3)
        await asyncio.sleep(2)
        heads = [runner(world, i).head for i in range(4)]
        assert len({head.id for head in heads}) == 1
        for index, node in enumerate(world.nodes):
            written = notes(world, index).written
            reach = next(r for r in heads[0].memory if r.author == node.peer)
            # Certified up to the last commitments; what came after is held, and not yet certain.
            assert 8 * 50 - 60 <= reach.entries <= written
            minted = heads[0].credits[node.signer.public_key]
            assert minted == 8 * CREDIT_MICRO + reach.entries * ENTRY_MICRO
        # At the end no worker works, but the last slices are still taken in.
        assert all(len(notes(world, i).heard) == 3 for i in range(4))


async def test_a_killed_node_regains_its_own_notes_and_forks_nothing() -> None:
    world = start_world(seed=3)
    async with world:
        for index in range(4):
            await world.start(index)
        await world.submit(manifest(world, 30), {})
        for life in range(3):
            await until_round(world, 3 + 4 * life, 0, 1, 2)
            before = notes(world, 3).written
            await world.crash(3)
            await asyncio.sleep(1.0)
            await world.start(3)
            await until_round(world, 6 + 4 * life, 0, 1, 2, 3)
            assert notes(world, 3).written >= before - 40, "more than the last slice was lost"
            assert len(notes(world, 3).heard) == 3
        await until_round(world, 30, 0, 1, 2, 3)
        await until_equal(world, 0, 1, 2, 3)
        author = world.nodes[3].peer
        lines = runner(world, 0).remembering.lines()  # type: ignore[union-attr]
        assert not any(line.forked for line in lines)
        values = notes(world, 0).heard[author]
        assert values == sorted(set(values)), "a note was written twice"


async def test_sides_of_a_partition_remember_alike_once_it_heals() -> None:
    world = start_world(nodes=5, seed=5, loss_rate=0.02)
    async with world:
        for index in range(5):
            await world.start(index)
        await world.submit(manifest(world, 16), {})
        await until_round(world, 3, 0, 1, 2, 3, 4)
        sides = [n.peer for n in world.nodes[:4]], [world.nodes[4].peer]
        world.network.partition(*sides)
        alone = notes(world, 4).written
        await asyncio.sleep(20)
        assert notes(world, 4).written > alone + 500, "it waited for the others"
        assert len({root(world, 0), root(world, 4)}) == 2
        world.network.unpartition(*sides)
        await until_round(world, 16, 0, 1, 2, 3, 4)
        await until_equal(world, 0, 1, 2, 3, 4)


async def test_a_slow_node_and_a_late_one_hold_nobody_up() -> None:
    world = start_world(seed=7)
    world.nodes[2].compute.slowness = 20.0
    async with world:
        for index in (0, 1, 2):
            await world.start(index)
        await world.submit(manifest(world, 8), {})
        await until_round(world, 2, 0, 1)
        start_s, written = world.now(), notes(world, 0).written
        await asyncio.sleep(5)
        pace = (notes(world, 0).written - written) / (world.now() - start_s)
        assert pace > 80, "100 steps a second are what an undisturbed node takes"
        await world.start(3)
        await until_round(world, 8, 0, 1, 2, 3)
        await until_equal(world, 0, 1, 2, 3)
        assert notes(world, 2).written < notes(world, 0).written / 5
        assert notes(world, 3).written > 0


async def test_a_node_that_may_add_nothing_says_so_and_the_others_go_on() -> None:
    world = start_world(seed=11)
    async with world:
        for index in range(4):
            await world.start(index)
        await world.submit(manifest(world, 8), {})
        await until_round(world, 2, 0, 1, 2, 3)
        memory = runner(world, 3).remembering
        assert memory is not None
        # As if the disk took nothing: every append is refused.

        async def refuse(entries: object) -> range:
            raise Unavailable("the disk is full")

        memory._service.append = refuse  # type: ignore[method-assign, assignment]
        await until_round(world, 8, 0, 1, 2, 3)
        daemon = world.nodes[3].daemon
        assert daemon is not None
        assert "notes: shared memory: the disk is full" in daemon.status().warnings
        assert world.nodes[0].daemon is not None
        assert not any("shared memory" in w for w in world.nodes[0].daemon.status().warnings)


async def test_a_small_quota_keeps_the_newest_of_each() -> None:
    world = start_world(seed=9)
    async with world:
        for index in range(4):
            await world.start(index)
        await world.submit(manifest(world, 12, quota=200), {})
        await until_round(world, 12, 0, 1, 2, 3)
        await until_equal(world, 0, 1, 2, 3)
        memory = runner(world, 1).remembering
        assert memory is not None
        for author in memory.status().authors:
            assert 100 <= author.entries <= 200
            assert author.made > 500


async def test_a_worker_with_nothing_to_do_holds_no_round_up_and_still_takes_in() -> None:
    world = start_world(seed=13)
    async with world:
        for index in range(4):
            await world.start(index)
        text = manifest(world, 8).replace("[workload]", "[workload]\nnotes_max = 120")
        await world.submit(text, {})
        await until_round(world, 3, 0, 1, 2, 3)
        start_s = world.now()
        await until_round(world, 8, 0, 1, 2, 3)
        # A round that waited for 50 steps more would take the 3 s that it may.
        assert world.now() - start_s < 5 * 2
        await until_equal(world, 0, 1, 2, 3)
        for index in range(4):
            assert notes(world, index).written == 120
            assert [len(heard) for heard in notes(world, index).heard.values()] == [120] * 3


async def test_every_founder_works_on_a_shard_of_its_own() -> None:
    world = start_world(seed=15)
    async with world:
        for index in range(4):
            await world.start(index)
        await world.submit(manifest(world, 1), {})
        await until_round(world, 1, 0, 1, 2, 3)
        shards = sorted(notes(world, index).part for index in range(4))
        assert shards == [(0, 4), (1, 4), (2, 4), (3, 4)]


async def _rooted(seed: int) -> bytes:
    world = start_world(seed=seed, loss_rate=0.05)
    async with world:
        for index in range(4):
            await world.start(index)
        await world.submit(manifest(world, 5), {})
        await until_round(world, 5, 0, 1, 2, 3)
        await until_equal(world, 0, 1, 2, 3)
        return root(world, 0)


def test_the_same_seed_gives_the_same_memory() -> None:
    assert run(_rooted(4)) == run(_rooted(4)) != run(_rooted(5))
