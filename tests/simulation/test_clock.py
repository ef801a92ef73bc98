"""Wall clocks that are wrong: what the model shows, and what the daemons bear."""

import asyncio
from collections.abc import Sequence

import pytest

from node.membership.config import MembershipConfig
from node.membership.record import CLOCK_SKEW_S_MAX, TTL_S_MAX
from node.types import PeerId
from simulator.host.clock import HostClock
from simulator.scenario import HostSection, Scenario
from simulator.world import World

TTL_S = MembershipConfig("main").ttl_s


def test_a_clock_shows_its_skew_and_gathers_its_drift() -> None:
    true = [1000.0]
    clock = HostClock(lambda: true[0], skew_s=-30.0, drift=0.01)
    assert clock.unix_s() == 970.0
    true[0] += 500
    assert clock.unix_s() == 1475.0


def test_a_clock_that_is_set_jumps_and_runs_on() -> None:
    true = [1000.0]
    clock = HostClock(lambda: true[0])
    clock.jump(60.0)
    assert clock.unix_s() == 1060.0
    clock.jump(-90.0)
    true[0] += 1
    assert clock.unix_s() == 971.0


def host(node: int, skew_s: float) -> HostSection:
    return HostSection(nodes=(node,), clock_skew_s=skew_s)


def skewed(skews: Sequence[float], rounds: int = 4) -> World:
    hosts = tuple(host(i, skew) for i, skew in enumerate(skews))
    return World(Scenario(nodes=len(skews), rounds=rounds, hosts=hosts), seed=1)


async def start(world: World) -> None:
    for node in world.nodes:
        await world.start(node.index)


async def until_done(world: World, limit_s: float = 120.0) -> None:
    async with asyncio.timeout(limit_s):
        while not all(
            n.daemon and n.daemon.list_jobs() and n.daemon.list_jobs()[0].state == "done"
            for n in world.nodes
        ):
            await asyncio.sleep(0.2)


def alive(world: World, index: int) -> set[PeerId]:
    """Peers whose records live, by the clock of one node."""
    daemon = world.nodes[index].daemon
    assert daemon is not None
    return {peer.peer for peer in daemon.status().peers if peer.expires_in_s > 0}


def blamed(world: World) -> list[object]:
    daemons = [node.daemon for node in world.nodes if node.daemon is not None]
    return [dict(peer.errors) for d in daemons for peer in d.status().peers if peer.errors]


async def test_clocks_within_a_third_less_than_the_life_of_a_record_see_one_another() -> None:
    # A record is renewed at a third of its life, so at least two thirds of it are left.
    most = 2 / 3 * TTL_S - 10
    world = skewed([0.0, most / 2, -most / 2, most / 4, -most / 4])
    async with world:
        await start(world)
        await world.submit()
        await until_done(world)
        for _ in range(12):
            await asyncio.sleep(10)
            for node in world.nodes:
                assert len(alive(world, node.index)) == 4
        assert blamed(world) == []


@pytest.mark.parametrize("skew_s", [TTL_S + 120.0, 3600.0, -240.0])
async def test_a_clock_minutes_off_stops_no_job_and_blames_nobody(skew_s: float) -> None:
    world = skewed([0.0, 0.0, 0.0, 0.0, skew_s], rounds=8)
    async with world:
        await start(world)
        await world.submit()
        await until_done(world)
        jobs = [node.daemon.list_jobs()[0] for node in world.nodes if node.daemon is not None]
        assert len({job.state_root for job in jobs}) == 1
        assert all(job.used == 5 for job in jobs), "it does not contribute"
        assert blamed(world) == []


async def test_a_clock_ahead_of_the_longest_life_leaves_its_owner_alone_but_in_the_job() -> None:
    ahead = TTL_S_MAX + CLOCK_SKEW_S_MAX + 60.0
    world = skewed([0.0, 0.0, 0.0, ahead])
    async with world:
        await start(world)
        await world.submit()
        await until_done(world)
        daemons = [node.daemon for node in world.nodes if node.daemon is not None]
        assert len({daemon.list_jobs()[0].state_root for daemon in daemons}) == 1
        assert all(daemon.list_jobs()[0].used == 4 for daemon in daemons)
        assert alive(world, 3) == set()
        assert daemons[3].status().membership.startswith("alone")
        assert all(world.nodes[3].peer not in alive(world, index) for index in range(3))


@pytest.mark.parametrize("seconds", [300.0, -300.0])
async def test_a_clock_that_is_set_by_minutes_is_followed_within_minutes(seconds: float) -> None:
    world = skewed([0.0, 0.0, 0.0, 0.0], rounds=30)
    async with world:
        await start(world)
        await world.submit()
        await asyncio.sleep(5)
        world.nodes[2].clock.jump(seconds)
        await until_done(world)
        world.nodes[2].clock.jump(-seconds)
        await asyncio.sleep(2 * TTL_S)
        for node in world.nodes:
            assert len(alive(world, node.index)) == 3
        assert blamed(world) == []
