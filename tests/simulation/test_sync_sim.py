"""Catching up while some of those who are asked are mute, or know nothing new."""

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from node.jobs.sync import LATE_S, Catcher
from node.types import JobId, PeerId
from node.wire.convert_ledger import encode_chain
from simulator.hub import Watcher
from simulator.run import run_scenario
from simulator.scenario import Scenario
from simulator.world import World

MUTE, IDLE, LIAR = PeerId("mute"), PeerId("idle"), PeerId("liar")


async def _look(peers: list[PeerId], late_s: float) -> tuple[object, float, list[PeerId]]:
    """What one look brings, how long it takes, and who is blamed."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    blamed: list[PeerId] = []

    async def ask(peer: PeerId, *_: object) -> bytes | None:
        await asyncio.sleep({MUTE: 3.0, IDLE: 0.05, LIAR: 0.01}[peer])
        return {MUTE: None, IDLE: encode_chain([]), LIAR: b"\xff"}[peer]

    nothing: Any = None
    courier: Any = SimpleNamespace(ask=ask)
    catcher = Catcher(courier, nothing, nothing, nothing, nothing, lambda p, _: blamed.append(p))
    head: Any = SimpleNamespace(job=JobId(bytes(32)), round=3)
    _, found = await catcher.first_proof(head, peers, late_s)
    return found, loop.time() - began, blamed


async def test_a_mute_peer_holds_a_look_up_only_until_somebody_has_answered() -> None:
    found, took_s, _ = await _look([MUTE, IDLE], LATE_S)
    assert found == []
    assert took_s == pytest.approx(0.05 + LATE_S)
    assert (await _look([MUTE, IDLE], 3.0))[1] == pytest.approx(3.0)


async def test_a_bad_answer_ends_no_wait() -> None:
    _, took_s, blamed = await _look([LIAR, MUTE], LATE_S)
    assert took_s == pytest.approx(3.0)
    assert blamed == [LIAR]


class Lag(Watcher):
    """How long after its first certificate a round reaches the followers."""

    def __init__(self, world: World) -> None:
        self.electors = world.scenario.nodes
        self.certified: dict[int, float] = {}
        self.lags: list[float] = []

    def event(self, at_s: float, node: int, event: str, fields: Mapping[str, object]) -> None:
        """One more."""
        if event == "round_certified":
            self.certified.setdefault(int(str(fields["round"])), at_s)
        elif event == "caught_up" and node >= self.electors:
            self.lags.append(at_s - self.certified[int(str(fields["round"]))])


def test_electors_that_are_mute_delay_no_follower_by_their_silence() -> None:
    seen: list[Lag] = []

    def watch(world: World) -> Lag:
        seen.append(Lag(world))
        return seen[0]

    mute = {"kind": "cut", "nodes": [1, 2], "others": [7, 8, 9], "at_s": 0.0, "for_s": 40}
    job = {"round": {"steps": 40}}
    scenario = Scenario(nodes=7, followers=3, rounds=12, framed=False, job=job, faults=[mute])
    outcome = run_scenario(scenario, seed=1, watchers=[watch])
    assert outcome.violations == []
    assert len(seen[0].lags) > 15
    assert max(seen[0].lags) < 2.5
