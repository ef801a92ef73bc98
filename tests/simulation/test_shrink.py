"""Shrinking keeps the failure and takes the rest away; a swarm outlives its seeds."""

import os
import time
import tomllib

import pytest

from simulator.run import Outcome
from simulator.scenario import AttackSection, FaultSection, HostSection, Scenario
from simulator.shrink import fails_alike, is_fair, shrink, without
from simulator.swarm import replay_command, swarm

BIG = Scenario(
    nodes=10,
    followers=3,
    rounds=20,
    framed=True,
    job={"exchange": {"codec": "fp16", "rule": "median"}},
    hosts=(HostSection(nodes=(1, 11), slowness=3.0), HostSection(fsync_s=0.01)),
    faults=(
        FaultSection(kind="crash", nodes=(2, 5), round=3, phase="have", at_once=True, for_s=2.0),
        FaultSection(kind="clock", nodes=(1,), at_s=1.0),
        FaultSection(kind="partition", nodes=(0, 8, 12), round=5, for_s=2.0),
    ),
    attacks=(AttackSection(name="nan", nodes=(7,)), AttackSection(name="zero", nodes=(9,))),
)


def needs_crash_and_nan(scenario: Scenario, _seed: int) -> bool:
    kinds = {fault.kind for fault in scenario.faults}
    return "crash" in kinds and any(a.name == "nan" for a in scenario.attacks)


def test_what_the_failure_does_not_need_goes() -> None:
    shrunk = shrink(BIG, 3, needs_crash_and_nan)
    small = shrunk.scenario
    (crash,) = small.faults
    assert (crash.kind, crash.phase, len(crash.nodes)) == ("crash", "", 1)
    assert [a.name for a in small.attacks] == ["nan"]
    assert (small.nodes, small.followers, small.rounds, small.hosts) == (4, 0, 1, ())
    assert not small.framed
    assert small.job == {"exchange": {}}
    assert Scenario.model_validate(tomllib.loads(shrunk.toml)) == small
    assert shrunk.command("x.toml") == "artel sim run x.toml --seed 3"


def test_shrinking_repeats_and_keeps_to_its_budget() -> None:
    assert shrink(BIG, 3, needs_crash_and_nan) == shrink(BIG, 3, needs_crash_and_nan)
    calls: list[Scenario] = []

    def fails(scenario: Scenario, seed: int) -> bool:
        calls.append(scenario)
        return needs_crash_and_nan(scenario, seed)

    shrunk = shrink(BIG, 3, fails, runs_max=7)
    assert shrunk.runs == len(calls) == 7
    assert needs_crash_and_nan(shrunk.scenario, 3)


def test_a_fair_scenario_stays_fair() -> None:
    seen: list[Scenario] = []

    def fails(scenario: Scenario, _seed: int) -> bool:
        seen.append(scenario)
        return True

    shrink(BIG, 0, fails)
    assert all(is_fair(scenario) for scenario in seen)


def test_later_nodes_move_up_when_one_is_taken_away() -> None:
    small = Scenario.model_validate(without(BIG, [5]) | {"nodes": 9})
    assert [fault.nodes for fault in small.faults] == [(2,), (1,), (0, 7, 11)]
    assert [attack.nodes for attack in small.attacks] == [(6,), (8,)]
    assert small.hosts[0].nodes == (1, 10)


def test_a_real_failure_shrinks_to_its_cause() -> None:
    scenario = Scenario(
        nodes=5,
        rounds=3,
        faults=(FaultSection(kind="clock", nodes=(1,), round=1, jump_s=5.0),),
        expect={"loss_max": 1e-9},
        limit_s=60.0,
    )
    from simulator.run import run_scenario

    fails = fails_alike(run_scenario(scenario, 1))
    small = shrink(scenario, 1, fails, runs_max=20).scenario
    assert (small.faults, small.rounds, small.nodes) == ((), 1, 1)


def test_nothing_to_shrink_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing failed"):
        fails_alike(Outcome("calm", 0))


# Swarms: real processes ---------------------------------------------------------------------------


def play(scenario: Scenario, seed: int) -> Outcome:
    """A stand-in that a worker imports: some seeds crash, raise or hang."""
    if seed == 1:
        os._exit(3)
    if seed == 2:
        raise RuntimeError("a bug")
    if seed == 3:
        time.sleep(60)
    return Outcome(scenario.name, seed, ok=True)


def test_a_seed_that_crashes_raises_or_hangs_fails_alone() -> None:
    results = {
        r.case[1]: r
        for r in swarm([(None, s) for s in range(6)], jobs=2, seed_s_max=8.0, play=play)
    }
    assert [s for s in sorted(results) if results[s].outcome.ok] == [0, 4, 5]
    texts = [results[s].outcome.violations[0].text for s in (1, 2, 3)]
    assert "exit code 3" in texts[0]
    assert "a bug" in texts[1]
    assert "hangs" in texts[2]
    assert results[1].command == "artel sim replay --seed 1"


def test_a_named_scenario_is_replayed_by_its_name() -> None:
    assert replay_command(("calm", 4)) == "artel sim run calm --seed 4"
