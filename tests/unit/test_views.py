"""A view lasts until a quorum has come to it, however short a node's own waits are."""

import numpy as np

from node.exchange.effects import Effect, Send, StartTimer
from node.exchange.round import RoundMachine
from simulator.machines import MachineWorld, Weather


def machines() -> list[RoundMachine]:
    world = MachineWorld(4, 0, np.random.default_rng(1), Weather())
    return [host.machine for host in world.hosts if host.machine is not None]


def timers(effects: list[Effect]) -> dict[str, float]:
    return {e.name: e.delay_s for e in effects if isinstance(e, StartTimer)}


def have_of(effects: list[Effect]) -> Send:
    (have,) = (e for e in effects if isinstance(e, Send))
    return have


def test_a_node_alone_in_a_view_says_so_ever_more_rarely_and_stays() -> None:
    machine = machines()[0]
    waits = [timers(machine.on_timer("view/0"))]
    first = waits[0]["call/1"]
    for _ in range(8):
        effects = machine.on_timer("call/1")
        assert len(have_of(effects).to) == 3
        waits.append(timers(effects))
    assert all(w.keys() == {"call/1"} for w in waits)
    assert [w["call/1"] for w in waits[:3]] == [first, 2 * first, 4 * first]
    assert waits[-1]["call/1"] == machine.core.context.deadlines.view_s_max
    assert machine.view == 1


def test_the_clock_of_a_view_starts_when_a_quorum_is_there_and_only_once() -> None:
    first, *others = machines()
    first.on_timer("view/0")
    haves = [have_of(m.on_timer("view/0")).body for m in others]
    started = [timers(first.on_message(e, have)) for e, have in enumerate(haves, start=1)]
    assert [s.keys() for s in started] == [set(), {"view/1"}, set()]
    assert first.view == 1
    assert first.on_timer("call/1") == []
    first.on_timer("view/1")
    assert first.view == 2
