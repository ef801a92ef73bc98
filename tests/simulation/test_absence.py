"""Who is silent holds nobody up for long, loses its seat, and may come back; strangers enter."""

from collections.abc import Mapping
from statistics import median

import pytest

from simulator.hub import Watcher
from simulator.run import run_scenario
from simulator.scenario import AttackSection, FaultSection, Scenario
from simulator.world import World

ROUNDS = 24


class Pace(Watcher):
    """Seconds, contributions and electors after each round, as the first node sees them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.electors: dict[int, int] = {}
        self.strangers: dict[int, int] = {}
        """Round -> electors after it that are no founders."""
        self.seconds: dict[int, float] = {}
        self.used: dict[int, int] = {}
        self.left: list[float] = []

    def event(self, at_s: float, node: int, event: str, fields: Mapping[str, object]) -> None:
        """Note it."""
        if node == 0 and event == "round_certified":
            round_ = int(str(fields["round"]))
            self.seconds[round_] = float(str(fields["seconds"]))
            self.used[round_] = int(str(fields["used"]))
            daemon = self._world.nodes[0].daemon
            assert daemon is not None
            head = daemon.runners[0].head
            self.electors[round_] = head.electorate.n
            names = {n.signer.public_key for n in self._world.nodes[: self._world.scenario.nodes]}
            self.strangers[round_] = sum(key not in names for key, _ in head.electorate.keys)
        if node == 0 and event == "electors_left":
            self.left.append(at_s)


def paced(scenario: Scenario, seed: int) -> Pace:
    seen: list[Pace] = []

    def make(world: World) -> Pace:
        seen.append(Pace(world))
        return seen[0]

    outcome = run_scenario(scenario, seed, watchers=[make])
    assert outcome.violations == []
    assert outcome.bans == {}
    return seen[0]


def eight(rounds: int, *silent: int, faults: tuple[FaultSection, ...] = ()) -> Scenario:
    attacks = (AttackSection(name="silent", nodes=silent),) if silent else ()
    return Scenario(nodes=8, rounds=rounds, attacks=attacks, faults=faults, framed=False)


def check_pace(rounds: int, seed: int) -> None:
    calm = paced(eight(rounds), seed)
    held_up = paced(eight(rounds, 6, 7), seed)
    usual = [calm.seconds[r] for r in range(3, rounds + 1)]
    slow = [held_up.seconds[r] for r in range(3, rounds + 1)]
    assert median(slow) <= median(usual) + 0.01
    assert max(slow) <= 1.2 * max(usual)


def test_two_silent_of_eight_hold_up_no_round_after_the_second() -> None:
    check_pace(6, 1)


@pytest.mark.sim
def test_two_silent_of_eight_hold_up_no_round_under_any_seed() -> None:
    for seed in range(2, 8):
        check_pace(24, seed)


@pytest.mark.sim
def test_a_short_absence_costs_a_few_rounds_and_no_seat() -> None:
    crash = FaultSection(kind="crash", nodes=(6, 7), round=5, for_s=2.0)
    pace = paced(eight(16, faults=(crash,)), 1)
    assert min(pace.used.values()) == 6
    assert pace.used[16] == 8
    assert pace.left == []


def test_a_long_absence_costs_one_of_eight_its_seat_until_it_comes_back() -> None:
    crash = FaultSection(kind="crash", nodes=(6, 7), round=5, for_s=5.0)
    pace = paced(eight(ROUNDS, faults=(crash,)), 1)
    assert len(pace.left) == 1  # were both dropped, one liar less would be borne
    assert min(pace.electors.values()) == 7
    assert pace.electors[ROUNDS] == 8  # a founder may always enter again
    assert pace.used[ROUNDS] == 8


def flood(followers: int, rounds: int) -> Scenario:
    job = {"admission": {"mode": "work", "work_bits": 6}}
    return Scenario(nodes=5, followers=followers, rounds=rounds, job=job, framed=False)


def check_flood(scenario: Scenario, seed: int) -> None:
    pace = paced(scenario, seed)
    rounds = scenario.rounds
    for round_ in range(1, rounds + 1):
        before = pace.strangers.get(round_ - 10, 0)
        assert pace.strangers[round_] - before <= 1
    assert pace.strangers[rounds] in (1 + (rounds - 6) // 10, 2 + (rounds - 6) // 10)
    assert pace.used[rounds] == 5 + pace.strangers[rounds]


@pytest.mark.sim
def test_a_flood_of_identities_gets_one_seat_in_ten_rounds() -> None:
    check_flood(flood(6, 14), 1)


@pytest.mark.sim
def test_fifty_identities_of_one_machine_get_one_seat_in_ten_rounds() -> None:
    check_flood(flood(50, 24), 2)
