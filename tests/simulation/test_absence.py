"""Who is silent holds nobody up for long, loses its seat, and may come back to follow."""

from collections.abc import Mapping
from statistics import median

import pytest

from simulator.hub import Watcher
from simulator.run import run_scenario
from simulator.scenario import AttackSection, FaultSection, Scenario


class Pace(Watcher):
    """Seconds and contributions of each round, as the first node sees them; who left, and when."""

    def __init__(self) -> None:
        self.seconds: dict[int, float] = {}
        self.used: dict[int, int] = {}
        self.left: list[float] = []

    def event(self, at_s: float, node: int, event: str, fields: Mapping[str, object]) -> None:
        """Note it."""
        if node == 0 and event == "round_certified":
            round_ = int(str(fields["round"]))
            self.seconds[round_] = float(str(fields["seconds"]))
            self.used[round_] = int(str(fields["used"]))
        if node == 0 and event == "electors_left":
            self.left.append(at_s)


def paced(scenario: Scenario, seed: int) -> Pace:
    pace = Pace()
    outcome = run_scenario(scenario, seed, watchers=[lambda world: pace])
    assert outcome.violations == []
    assert outcome.bans == {}
    return pace


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


def test_a_long_absence_costs_one_of_eight_its_seat_and_it_comes_back_to_follow() -> None:
    crash = FaultSection(kind="crash", nodes=(6, 7), round=5, for_s=5.0)
    pace = paced(eight(18, faults=(crash,)), 1)
    assert len(pace.left) == 1  # were both dropped, one liar less would be borne
    assert pace.used[18] == 7
