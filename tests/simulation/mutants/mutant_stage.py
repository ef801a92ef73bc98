"""Small scenarios, ambushes and liars with which single bugs show quickly."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from node.jobs.honest import Honest
from node.wire.convert import decode_commitment, encode_commitment
from simulator.attacks.base import Attack
from simulator.hub import Watcher
from simulator.scenario import (
    AttackSection,
    ExpectSection,
    FaultSection,
    HostSection,
    LinkSection,
    Scenario,
)
from simulator.world import World

WAN = LinkSection(latency_s=0.02, jitter_s=0.01)


def stage(
    nodes: int = 4,
    rounds: int = 6,
    *,
    faults: Sequence[FaultSection] = (),
    attack: str = "",
    scale: float = 1.0,
    link: LinkSection = WAN,
    hosts: Sequence[HostSection] = (),
    expect: ExpectSection | None = None,
    limit_s: float = 300.0,
    job: Mapping[str, Mapping[str, object]] | None = None,
) -> Scenario:
    """A short quadratic job."""
    tables: dict[str, object] = {"workload": {"dimensions": 300}, "round": {"steps": 5}}
    return Scenario(
        nodes=nodes,
        rounds=rounds,
        limit_s=limit_s,
        link=link,
        hosts=tuple(hosts),
        faults=tuple(faults),
        attacks=(AttackSection(name=attack, scale=scale),) if attack else (),
        expect=expect or ExpectSection(recovery_s_max=100.0),
        job=tables | dict(job or {}),
    )


def leader_of(world: World, round_: int, view: int = 0) -> int:
    """The node that leads a view."""
    electors = sorted(world.nodes[: world.scenario.nodes], key=lambda n: n.peer)
    return electors[(round_ + view) % len(electors)].index


class LeaderFallsAfterLock(Watcher):
    """The leader dies as soon as one other node has locked; it comes back later."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._task: asyncio.Task[None] | None = None

    def phase(self, at_s: float, node: int, phase: str, round_: int) -> None:
        """Wait for the first lock of round 3."""
        leader = leader_of(self._world, round_)
        if phase == "vote" and round_ >= 3 and node != leader and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._fall(leader))

    async def _fall(self, leader: int) -> None:
        await self._world.crash(leader)
        await asyncio.sleep(40.0)
        await self._world.start(leader)


class Liar(Watcher):
    """Makes the last elector a liar with a behaviour of its own."""

    def __init__(self, world: World) -> None:
        world.attack({world.scenario.nodes - 1: self.behaviour()})

    def behaviour(self) -> Honest:
        """What it does."""
        raise NotImplementedError


class _HeavyFlip(Attack):
    async def update(self, round_: int, update):  # type: ignore[no-untyped-def]
        return -10 * update

    def signs(self, round_: int, kind: str, body: bytes) -> bytes:
        """Claims a thousand times the steps."""
        if kind != "commit":
            return body
        commitment = decode_commitment(body)
        return encode_commitment(replace(commitment, steps=1000 * commitment.steps))


class HeavyFlip(Liar):
    """Reverses its update and claims many steps for it."""

    def behaviour(self) -> Honest:
        """Reversed and heavy."""
        return _HeavyFlip(scale=1.0, seed=0)
