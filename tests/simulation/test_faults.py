"""Each kind of fault really happens, begins when it should, and is over in the end."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from simulator.faults import FaultPlayer, is_done
from simulator.hub import Hub, Watcher
from simulator.scenario import FaultSection, Scenario
from simulator.world import World

LOOK_S = 0.05


class Ears(Watcher):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.faults: list[tuple[float, str]] = []
        self.lives: list[tuple[float, int, str]] = []
        self.phases: list[tuple[float, int, str, int]] = []

    def fault(self, at_s: float, what: str) -> None:
        self.faults.append((at_s, what))

    def life(self, at_s: float, node: int, what: str) -> None:
        self.lives.append((at_s, node, what))

    def phase(self, at_s: float, node: int, phase: str, round_: int) -> None:
        self.phases.append((at_s, node, phase, round_))

    def span(self, index: int = 0) -> tuple[float, float]:
        """When the fault that began as the index-th one was there."""
        begins = [(at_s, what) for at_s, what in self.faults if what.endswith(" begins")]
        begin_s, what = begins[index]
        ends = [at_s for at_s, w in self.faults if w == what.removesuffix("begins") + "ends"]
        return begin_s, ends[0]

    def crashes(self) -> list[tuple[float, int]]:
        """Those before the end of the run, when the world ends all."""
        last_s = max(at_s for at_s, _, _ in self.lives)
        return [(at_s, n) for at_s, n, what in self.lives if what == "crash" and at_s < last_s]


async def play(
    *faults: Mapping[str, Any], look: Callable[[World], object] = lambda _: None, **fields: Any
) -> tuple[Ears, list[tuple[float, Any]], FaultPlayer]:
    """Run to the end; what ``look`` saw twenty times a second."""
    ears, seen = Ears(), []
    tables = {"nodes": 5, "rounds": 12, "framed": False} | fields
    sections = tuple(FaultSection.model_validate(fault) for fault in faults)
    world = World(Scenario.model_validate(tables | {"faults": sections}), 1, Hub([ears]))
    player = FaultPlayer(world)

    async def keep_looking() -> None:
        while True:
            seen.append((world.now(), look(world)))
            await asyncio.sleep(LOOK_S)

    async with world:
        for index in (n.index for n in world.nodes if n.index not in player.late):
            await world.start(index)
        await world.submit()
        async with asyncio.timeout(1000), asyncio.TaskGroup() as group:
            looking = group.create_task(keep_looking())
            await player.run()
            while not all(is_done(node) for node in world.honest):
                await asyncio.sleep(0.1)
            looking.cancel()
    return ears, seen, player


def during(seen: list[tuple[float, Any]], span: tuple[float, float]) -> list[Any]:
    return [what for at_s, what in seen if span[0] + LOOK_S < at_s < span[1] - LOOK_S]


def outside(seen: list[tuple[float, Any]], span: tuple[float, float]) -> list[Any]:
    return [what for at_s, what in seen if not span[0] - LOOK_S / 2 < at_s < span[1] + LOOK_S]


def running(world: World) -> tuple[int, ...]:
    return tuple(n.index for n in world.nodes if n.daemon is not None)


async def test_a_crash_at_a_time_lasts_as_long_as_it_says() -> None:
    ears, seen, player = await play(
        {"kind": "crash", "nodes": [2], "at_s": 1.0, "for_s": 3.0}, look=running
    )
    assert ears.span() == pytest.approx((1.0, 4.0))
    assert set(during(seen, (1.0, 4.0))) == {(0, 1, 3, 4)}
    assert set(outside(seen, (1.0, 4.0))) == {(0, 1, 2, 3, 4)}
    assert ears.faults[-1] == (pytest.approx(4.0), "healed")
    assert player.last_end_s == pytest.approx(4.0)
    assert player.active == 0


async def test_a_crash_inside_a_step_is_in_that_step() -> None:
    ears, _, _ = await play(
        {"kind": "crash", "nodes": [1, 3], "round": 2, "phase": "scatter", "for_s": 1.0}
    )
    died = sorted(n for _, n in ears.crashes())
    assert died == [1, 3]
    for at_s, node in ears.crashes():
        before = [p for p in ears.phases if p[1] == node and p[0] <= at_s]
        assert before[-1][2:] == ("scatter", 2)


async def test_the_leader_that_dies_is_that_of_the_view() -> None:
    fault = {"kind": "crash", "nodes": "leader", "round": 3, "phase": "have", "for_s": 2.0}
    ears, _, _ = await play(fault)
    ((at_s, node),) = ears.crashes()
    lists = [n for s, n, phase, round_ in ears.phases if phase == "list" and round_ == 3]
    assert node not in lists, "the leader listed before it died"
    assert lists, "nobody led round 3 in its place"
    assert [p[2:] for p in ears.phases if p[1] == node and p[0] <= at_s][-1] == ("have", 3)


@pytest.mark.parametrize("who", ["leader", "all"])
async def test_an_ambush_kills_when_another_than_the_leader_comes_to_the_step(who: str) -> None:
    fault = {"kind": "crash", "nodes": who, "round": 3, "phase": "vote", "at_once": True}
    ears, _, _ = await play(fault | {"for_s": 2.0})
    died = {node: at_s for at_s, node in ears.crashes()}
    assert len(set(died.values())) == 1
    (at_s,) = set(died.values())
    votes = [(s, n) for s, n, phase, round_ in ears.phases if (phase, round_) == ("vote", 3)]
    before = [node for s, node in votes if s < at_s]
    assert len(before) == 1, "only the leader had come to its vote before"
    assert [n for s, n in votes if s == at_s][:1] != before
    assert set(died) == (set(before) if who == "leader" else {0, 1, 2, 3, 4})


def test_an_ambush_needs_the_step_that_it_waits_for() -> None:
    with pytest.raises(ValueError, match="at_once needs the phase"):
        FaultSection(kind="crash", round=2, at_once=True)


async def test_f_reducers_die_together() -> None:
    fault = {"kind": "crash", "nodes": "reducers", "round": 2, "for_s": 1.0}
    ears, _, _ = await play(fault, nodes=7)
    assert len({n for _, n in ears.crashes()}) == 2


async def test_a_partition_keeps_its_sides_apart_and_heals() -> None:
    def pairs(world: World) -> tuple[bool, ...]:
        a, b, c = (world.nodes[i].peer for i in (0, 3, 4))
        reachable = world.network.reachable
        return reachable(a, b), reachable(b, a), reachable(b, c)

    fault = {"kind": "partition", "nodes": [3, 4], "at_s": 1.0, "for_s": 2.0}
    ears, seen, _ = await play(fault, look=pairs)
    assert set(during(seen, ears.span())) == {(False, False, True)}
    assert set(outside(seen, ears.span())) == {(True, True, True)}


async def test_cuts_that_overlap_add_up() -> None:
    def cut(world: World) -> tuple[bool, bool]:
        a, b = world.nodes[0].peer, world.nodes[1].peer
        covers = world.network.cuts.covers
        return covers(a, b), covers(b, a)

    one_way = {"kind": "cut", "nodes": [0], "others": [1], "both": False}
    ears, seen, _ = await play(
        one_way | {"at_s": 1.0, "for_s": 2.0}, one_way | {"at_s": 2.0, "for_s": 3.0}, look=cut
    )
    assert set(during(seen, (1.0, 5.0))) == {(True, False)}
    assert set(outside(seen, (1.0, 5.0))) == {(False, False)}
    assert len(ears.faults) == 5


async def test_slowness_links_clocks_and_disks_change_and_come_back() -> None:
    def state(world: World) -> tuple[float, float, float, bool]:
        node, other = world.nodes[1], world.nodes[2].peer
        ahead = node.clock.unix_s() - world.network.unix_s()
        latency = world.network.path(node.peer, other).model.latency_s
        return node.compute.slowness, latency, round(ahead, 6), node.store.disk.is_full

    when = {"nodes": [1], "at_s": 1.0, "for_s": 2.0}
    _, seen, _ = await play(
        when | {"kind": "slow", "factor": 7.0},
        when | {"kind": "link", "link": {"latency_s": 0.3}},
        when | {"kind": "clock", "jump_s": -40.0},
        when | {"kind": "disk_full"},
        hosts=({"nodes": (1,), "slowness": 2.0},),
        look=state,
    )
    assert set(during(seen, (1.0, 3.0))) == {(14.0, 0.3, -40.0, True)}
    assert set(outside(seen, (1.0, 3.0))) == {(2.0, 0.02, 0.0, False)}


@pytest.mark.parametrize("kind", ["lose_slots", "lose_disk"])
async def test_who_lost_its_slots_comes_back_and_signs_nothing(kind: str) -> None:
    ears, seen, _ = await play(
        {"kind": kind, "nodes": [2], "round": 4, "for_s": 1.0},
        look=lambda world: world.nodes[2].store.slots_lost,
    )
    _, end_s = ears.span()
    assert seen[-1][1] is True
    signing = ("commit", "have", "prepare", "vote")
    assert not [p for p in ears.phases if p[1] == 2 and p[0] > end_s and p[2] in signing]


async def test_churn_takes_electors_away_but_never_more_than_it_may() -> None:
    fault = {"kind": "churn", "at_s": 0.5, "for_s": 20.0, "every_s": 2.0, "down_s": 1.0}
    ears, seen, _ = await play(fault, look=running, nodes=7, rounds=20)
    assert len({n for _, n in ears.crashes()}) >= 4
    assert min(len(up) for up in during(seen, ears.span())) == 5


async def test_a_leave_ends_the_daemon_and_it_returns() -> None:
    fault = {"kind": "leave", "nodes": [4], "round": 3, "for_s": 2.0}
    ears, seen, _ = await play(fault, look=running)
    assert set(during(seen, ears.span())) == {(0, 1, 2, 3)}


async def test_a_late_node_starts_when_the_others_reach_its_round() -> None:
    ears, seen, _ = await play(
        {"kind": "late", "nodes": [4, 5], "round": 6}, look=running, followers=1
    )
    begin_s, _ = ears.span()
    assert {n for s, n, what in ears.lives if what == "start" and s == begin_s} == {4, 5}
    assert max(p[3] for p in ears.phases if p[0] <= begin_s) == 6
    assert all(up == (0, 1, 2, 3) for at_s, up in seen if at_s < begin_s)


async def test_a_crash_without_an_end_lasts_until_the_others_are_done() -> None:
    ears, seen, _ = await play({"kind": "crash", "nodes": [3], "round": 2}, look=running)
    begin_s, end_s = ears.span()
    assert set(during(seen, (begin_s, end_s))) == {(0, 1, 2, 4)}
    assert max(p[3] for p in ears.phases if p[0] < end_s) == 12


async def test_a_crash_of_the_quorum_without_an_end_is_healed_in_time() -> None:
    ears, _, _ = await play({"kind": "crash", "round": 2}, heal_s=8.0)
    begin_s, end_s = ears.span()
    assert end_s - begin_s == pytest.approx(8.0)


async def test_a_fault_that_finds_the_job_over_does_not_happen() -> None:
    ears, _, player = await play({"kind": "crash", "nodes": [1], "round": 99})
    assert ears.faults == [(pytest.approx(ears.faults[0][0]), "healed")]
    assert ears.crashes() == []
    assert player.active == 0


async def test_dht_answers_are_wrong_only_while_the_fault_lasts() -> None:
    def lies(world: World) -> bool:
        return "missing" in world.network.dht._faults

    fault = {"kind": "dht", "dht": "missing", "nodes": [1], "at_s": 1.0, "for_s": 1.0}
    ears, seen, _ = await play(fault, look=lies)
    assert set(during(seen, ears.span())) == {True}
    assert set(outside(seen, ears.span())) == {False}


async def test_resets_break_streams_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from simulator.wire.network import SimNetwork

    broken: list[float] = []
    reset = SimNetwork.reset

    def counted(self: SimNetwork, source: Any, target: Any) -> None:
        broken.append(asyncio.get_running_loop().time())
        reset(self, source, target)

    monkeypatch.setattr(SimNetwork, "reset", counted)
    fault = {"kind": "reset", "nodes": [0], "others": [1], "at_s": 1.0}
    await play(fault | {"for_s": 1.1, "every_s": 0.25}, framed=True)
    assert broken == pytest.approx([1.0, 1.25, 1.5, 1.75, 2.0])
