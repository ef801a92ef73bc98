"""Worlds beyond the usual size, scaled down to seconds; ``bench_sim.py`` runs them whole."""

from collections import Counter

from node.jobs.following import ASKED_AT_ONCE, LOOK_S_MAX, LOOK_S_MIN, Following
from node.types import PeerId
from simulator.hub import Watcher
from simulator.membership_world import TTL_S, Churn, run_churn
from simulator.run import run_scenario
from simulator.scenario import Scenario
from simulator.world import World
from tests.bench.bench_sim import faulty


class Asked(Watcher):
    """Counts who is asked for certificates, by asker."""

    def __init__(self, world: World) -> None:
        self.names = {node.peer: node.index for node in world.nodes}
        self.by: Counter[tuple[int, int]] = Counter()

    def sent(self, at_s: float, source: PeerId, target: PeerId, method: str, data: bytes) -> None:
        """One more."""
        if method == "chain/1":
            self.by[self.names[source], self.names[target]] += 1


def test_a_large_world_survives_faults_and_liars() -> None:
    outcome = run_scenario(faulty(nodes=16, rounds=10), seed=2)
    assert outcome.violations == []
    assert outcome.rounds == 10


def test_many_followers_burden_each_elector_with_a_few_calls() -> None:
    seen: list[Asked] = []

    def watch(world: World) -> Asked:
        seen.append(Asked(world))
        return seen[0]

    scenario = Scenario(nodes=7, followers=40, rounds=6, framed=False)
    outcome = run_scenario(scenario, seed=3, watchers=[watch])
    assert outcome.violations == []
    assert outcome.rounds == 6
    load: Counter[int] = Counter()
    looks: Counter[int] = Counter()
    for (source, target), count in seen[0].by.items():
        if source >= 7:
            load[target] += count
            looks[source] += count
    assert set(load) == set(range(7))  # all share the work
    assert max(load.values()) < 2 * min(load.values())
    assert max(looks.values()) < ASKED_AT_ONCE * (10 + outcome.virtual_s / LOOK_S_MIN)


def test_silent_liars_do_not_stop_a_follower() -> None:
    scenario = Scenario(
        nodes=7,
        followers=6,
        rounds=5,
        framed=False,
        attacks=[{"name": "silent"}],
        faults=[{"kind": "cut", "nodes": [0, 1], "others": [7, 8, 9], "at_s": 0.0, "for_s": 60}],
    )
    outcome = run_scenario(scenario, seed=4)
    assert outcome.violations == []
    assert outcome.rounds == 5


def test_a_follower_asks_every_elector_in_turn_and_seldom_while_nothing_is_new() -> None:
    electors = [PeerId(f"e{i}") for i in range(10)]
    one, two = Following(PeerId("one")), Following(PeerId("two"))
    asked = [one.ask(electors) for _ in range(10)]
    assert all(len(set(look)) == ASKED_AT_ONCE for look in asked)
    assert Counter(p for look in asked for p in look) == dict.fromkeys(electors, ASKED_AT_ONCE)
    assert [two.ask(electors) for _ in range(10)] != asked
    assert one.ask(electors[:2]) in (electors[:2], electors[1::-1])
    pauses = [one.pause_s(False) for _ in range(6)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LOOK_S_MAX
    assert one.pause_s(True) == LOOK_S_MIN


def test_views_stay_true_under_churn() -> None:
    churn = Churn(nodes=20, virtual_s=2.5 * TTL_S, arrive_s=20.0, up_s=120.0, down_s=60.0)
    outcome = run_churn(churn, seed=1)
    assert outcome.leaves > 15
    assert outcome.settled > 5
    assert outcome.known_share_min > 0.9
    assert outcome.overdue == 0
    assert outcome.trace_digest == run_churn(churn, seed=1).trace_digest
