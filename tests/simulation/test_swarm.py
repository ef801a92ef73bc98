"""Whole daemons in virtual time: they agree, a liar does not matter, a killed node comes back."""

import asyncio

import pytest

from node.observe.status import JobStatus
from simulator.world import World

JOB = """
[job]
name = "quadratic"
workload = "quadratic"
rounds = {rounds}
[workload]
dimensions = 3000
[round]
steps = 10
[exchange]
codec = "{codec}"
rule = "{rule}"
"""


def jobs(world: World) -> list[JobStatus]:
    return [node.daemon.list_jobs()[0] for node in world.nodes if node.daemon]


async def until_done(world: World, limit_s: float = 600.0) -> list[JobStatus]:
    async with asyncio.timeout(limit_s):
        while not all(job.state == "done" for job in jobs(world)):
            await asyncio.sleep(0.2)
    return jobs(world)


async def run(
    world: World, rounds: int, codec: str = "int8", rule: str = "centered_clip"
) -> list[JobStatus]:
    manifest = JOB.format(rounds=rounds, codec=codec, rule=rule) + world.founders()
    async with asyncio.TaskGroup() as group:
        for index in range(len(world.nodes)):
            await world.start(group, index)
        await world.submit(manifest, {})
        done = await until_done(world)
        for index in range(len(world.nodes)):
            await world.crash(index)
    return done


@pytest.mark.parametrize("codec", ["int8", "fp16", "fp32"])
async def test_five_honest_nodes_reach_one_state(codec: str) -> None:
    done = await run(World(5, seed=1), rounds=6, codec=codec)
    assert len({job.state_root for job in done}) == 1
    assert all(job.used == 5 and not job.refused for job in done)
    assert max(job.metrics["loss"] for job in done) < 0.01
