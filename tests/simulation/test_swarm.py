"""Whole daemons in virtual time: they agree, liars do not matter, killed nodes come back."""

import asyncio

import numpy as np
import pytest

from node.observe.status import JobStatus
from node.types import Digest
from node.wire.chain_messages import Ack
from simulator.attacks import garbage, huge, nan, sign_flip, silent, stale
from simulator.scenario import LinkSection, Scenario
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
replicas = {replicas}
"""


def manifest(
    world: World,
    rounds: int,
    codec: str = "int8",
    rule: str = "caf",
    replicas: int = 0,
) -> str:
    table = JOB.format(rounds=rounds, codec=codec, rule=rule, replicas=replicas)
    founders = ", ".join(f'"{node.peer}"' for node in world.nodes)
    return f"{table}[electorate]\nfounders = [{founders}]\n"


def shown(world: World) -> list[JobStatus | None]:
    """Status of each running honest node's job; None while it still starts."""
    daemons = [n.daemon for i, n in enumerate(world.nodes) if n.daemon and i not in world.liars]
    return [next(iter(daemon.list_jobs()), None) for daemon in daemons]


def jobs(world: World) -> list[JobStatus]:
    return [job for job in shown(world) if job is not None]


async def until(world: World, round_: int, limit_s: float = 900.0) -> None:
    """Until every running honest node has certified ``round_``."""
    async with asyncio.timeout(limit_s):
        while not all(j and (j.round > round_ or j.state == "done") for j in shown(world)):
            await asyncio.sleep(0.2)


async def until_done(world: World, limit_s: float = 900.0) -> list[JobStatus]:
    async with asyncio.timeout(limit_s):
        while not all(job and job.state == "done" for job in shown(world)):
            await asyncio.sleep(0.2)
    return jobs(world)


async def run(world: World, text: str) -> list[JobStatus]:
    async with world:
        for index in range(len(world.nodes)):
            await world.start(index)
        await world.submit(text, {})
        done = await until_done(world)
    return done


@pytest.mark.parametrize("codec", ["int8", "fp16", "fp32"])
async def test_five_honest_nodes_reach_one_state(codec: str) -> None:
    world = World(Scenario(nodes=5), seed=1)
    done = await run(world, manifest(world, 6, codec))
    assert len({job.state_root for job in done}) == 1
    assert all(job.used == 5 and not job.refused for job in done)
    assert max(job.metrics["loss"] for job in done) < 0.01


async def test_founders_that_serve_any_job_hear_of_it_at_once() -> None:
    world = World(Scenario(nodes=5), seed=1)
    world.serve = "any"
    async with world:
        for index in range(5):
            await world.start(index)
        await asyncio.sleep(30)  # calm: looks for jobs are rare by now
        proposer = world.nodes[0].daemon
        assert proposer is not None
        start_s = world.now()
        await proposer.submit(manifest(world, 3), {})
        await until(world, 1)
        assert world.now() - start_s < 3.0
        assert all(job.used == 5 for job in await until_done(world))


DEFAULT = "caf"


@pytest.mark.parametrize(
    ("attack", "rule"),
    [
        *((attack, DEFAULT) for attack in (sign_flip, huge, nan, stale, silent, garbage)),
        *((sign_flip, rule) for rule in ("trimmed_mean", "median", "multi_krum")),
    ],
)
async def test_a_liar_does_not_matter(attack: object, rule: str) -> None:
    assert callable(attack)
    world = World(Scenario(nodes=5), seed=2)
    world.attack({4: attack(scale=10.0, seed=3)})
    done = await run(world, manifest(world, 8, rule=rule))
    assert len({job.state_root for job in done}) == 1
    assert max(job.metrics["loss"] for job in done) < 0.02


async def test_a_liar_ruins_the_mean() -> None:
    world = World(Scenario(nodes=5), seed=2)
    world.attack({4: sign_flip(scale=10.0, seed=3)})
    done = await run(world, manifest(world, 8, rule="mean"))
    assert len({job.state_root for job in done}) == 1
    assert min(job.metrics["loss"] for job in done) > 0.5


async def test_refusals_name_the_reason() -> None:
    world = World(Scenario(nodes=7), seed=4)
    world.attack({5: silent(scale=1.0, seed=1), 6: garbage(scale=1.0, seed=1)})
    done = await run(world, manifest(world, 5))
    mute, noisy = (world.nodes[i].signer.peer_id for i in (5, 6))
    assert all(job.refused[mute] == "absent" for job in done)
    assert all(job.refused[noisy] == "bad_leaf" for job in done)
    assert all(job.used == 5 for job in done)


PHASES = (
    "train", "commit", "have", "list", "scatter", "screen", "plan", "reduce", "propose",
    "prepare", "vote", "certified",
)  # fmt: skip


@pytest.mark.parametrize("phase", PHASES)
async def test_a_node_killed_in_any_phase_comes_back_and_contributes(phase: str) -> None:
    world = World(Scenario(nodes=5), seed=5)
    async with world:
        for index in range(5):
            await world.start(index)
        await world.submit(manifest(world, 12), {})
        # Electors lead in the order of their ids, so one of five rounds is led by node 2.
        world.kill_at(2, phase, from_round=3)
        await until(world, 6)
        assert world.nodes[2].daemon is None, "the failpoint was never reached"
        await world.start(2)
        done = await until_done(world)
        assert len({job.state_root for job in done}) == 1
        assert "equivocation" not in {reason for job in done for reason in job.refusals}
        assert all(job.used == 5 for job in done), "it did not contribute again"


async def test_a_workload_that_dies_fails_its_job_and_not_the_node() -> None:
    world = World(Scenario(nodes=5), seed=11)
    async with world:
        for index in range(5):
            await world.start(index)
        await world.submit(manifest(world, 8), {})
        await until(world, 2)
        (worker,) = world.nodes[2].compute.workers
        await worker.close()
        async with asyncio.timeout(300):
            while [job.state for job in jobs(world)].count("done") < 4:
                await asyncio.sleep(0.2)
        assert [job.state for job in jobs(world)].count("failed") == 1
        daemon = world.nodes[2].daemon
        assert daemon is not None
        assert "closed" in daemon.list_jobs()[0].reason


async def test_a_node_that_lost_its_slot_log_follows_and_signs_nothing() -> None:
    world = World(Scenario(nodes=5), seed=9)
    world.nodes[3].store.lose_slots()
    done = await run(world, manifest(world, 5))
    lost = world.nodes[3].signer.peer_id
    assert len({job.state_root for job in done}) == 1
    assert all(job.refused == {lost: "absent"} for job in done)


async def test_claims_to_be_ahead_delay_nobody() -> None:
    world = World(Scenario(nodes=5), seed=10)
    async with world:
        for index in range(5):
            await world.start(index)
        await world.submit(manifest(world, 8), {})
        await until(world, 1)
        liar = world.nodes[4].daemon
        assert liar is not None

        async def hang(_request: object) -> bytes:
            await asyncio.sleep(3600)
            return b""

        # The liar says to everybody that it is far ahead, and never proves it.
        (runner,) = liar.runners
        assert runner.replica is not None
        runner.on_message = lambda *_: Ack(10**9, Digest(bytes(32)))
        runner.replica.shelf.chain = hang
        started = asyncio.get_running_loop().time()
        async with asyncio.timeout(300):
            while min(job.round for job in jobs(world)[:4]) < 8:
                await asyncio.sleep(0.1)
        # Waiting for each proof would cost call_s_max (10 s) a round.
        assert asyncio.get_running_loop().time() - started < 40


async def test_a_swarm_that_is_killed_as_a_whole_goes_on_where_it_was() -> None:
    world = World(Scenario(nodes=4), seed=6)
    async with world:
        for index in range(4):
            await world.start(index)
        await world.submit(manifest(world, 10), {})
        await until(world, 4)
        before = max(job.round for job in jobs(world))
        for index in range(4):
            await world.crash(index)
        for index in range(4):
            await world.start(index)
        done = await until_done(world)
        assert before > 4
        assert len({job.state_root for job in done}) == 1


async def test_a_minority_pauses_and_catches_up_after_healing() -> None:
    world = World(Scenario(nodes=7, link=LinkSection(latency_s=0.02, jitter_s=0.01)), seed=7)
    async with world:
        for index in range(7):
            await world.start(index)
        await world.submit(manifest(world, 16), {})
        await until(world, 2)
        ids = [node.signer.peer_id for node in world.nodes]
        world.network.partition(ids[:5], ids[5:])
        await asyncio.sleep(8)
        cut = jobs(world)[5:]
        assert max(job.round for job in cut) < min(job.round for job in jobs(world)[:5])
        world.network.heal()
        done = await until_done(world)
        assert len({job.state_root for job in done}) == 1


async def test_the_same_seed_gives_the_same_states() -> None:
    roots = []
    for _ in range(2):
        world = World(Scenario(nodes=4, link=LinkSection(latency_s=0.01, jitter_s=0.01)), seed=8)
        roots.append({job.state_root for job in await run(world, manifest(world, 4))})
    assert roots[0] == roots[1]
    assert np.size(list(roots[0])) == 1
