"""Drawn scenarios are fair, varied, and come back from their files."""

import tomllib
from collections import Counter

import pytest

from simulator.attacks import ATTACKS
from simulator.drawing.fault_draws import KINDS
from simulator.drawing.generate import ATTACK_CARDS, RULES_DRAWN, SCALES, draw, to_toml
from simulator.scenario import Scenario, load_scenario
from simulator.shrink import is_fair

DRAWN = [draw(seed) for seed in range(600)]


def test_a_seed_draws_the_same_scenario_again() -> None:
    assert [draw(seed) for seed in range(20)] == DRAWN[:20]
    assert len({to_toml(s.model_copy(update={"name": "x", "about": ""})) for s in DRAWN}) == len(
        DRAWN
    )


def test_every_drawn_scenario_comes_back_from_its_file() -> None:
    for scenario in DRAWN:
        assert Scenario.model_validate(tomllib.loads(to_toml(scenario))) == scenario


def test_every_named_scenario_comes_back_from_its_file() -> None:
    for name in ("everything", "dht_faults", "inr_small"):
        scenario = load_scenario(name)
        assert Scenario.model_validate(tomllib.loads(to_toml(scenario))) == scenario


def test_liars_and_lost_electors_are_at_most_f() -> None:
    assert all(is_fair(scenario) for scenario in DRAWN)
    assert any(len(scenario.liars) == scenario.f > 1 for scenario in DRAWN)


def test_a_rule_without_defence_meets_no_liars() -> None:
    assert all(s.job["exchange"]["rule"] != "mean" or not s.attacks for s in DRAWN)


def test_whom_the_others_join_is_there_and_can_be_dialled() -> None:
    for scenario in DRAWN:
        assert all(host.nat == "open" or 0 not in host.nodes for host in scenario.hosts)
        assert all(fault.kind != "late" or 0 not in fault.nodes for fault in scenario.faults)


def test_everything_is_drawn_sooner_or_later() -> None:
    faults = Counter(fault.kind for s in DRAWN for fault in s.faults)
    assert faults.keys() == set(KINDS) - {"ambush", "away", "exact"}
    assert {f.nodes for s in DRAWN for f in s.faults if f.at_once} == {"leader", "all"}
    assert {s.job["exchange"]["rule"] for s in DRAWN} == set(RULES_DRAWN)
    assert {s.job["workload_name"] for s in DRAWN} == {"quadratic", "logistic", "inr"}
    assert {s.framed for s in DRAWN} == {s.memo for s in DRAWN} == {False, True}
    assert {s.signer for s in DRAWN} == {"keyed", "ed25519"}
    assert {host.nat for s in DRAWN for host in s.hosts} == {"open", "cone", "symmetric"}
    assert {a.name for s in DRAWN for a in s.attacks} == set(ATTACKS)


def test_scales_are_of_attacks_that_exist() -> None:
    assert set(SCALES) | set(ATTACK_CARDS) <= set(ATTACKS)


@pytest.mark.parametrize("seed", range(3))
def test_one_more_draw_of_faults_would_not_move_the_links(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simulator.drawing.generate.draw_faults", lambda _draws, _plan: ())
    calmer = draw(seed)
    assert calmer.model_copy(update={"faults": DRAWN[seed].faults}) == DRAWN[seed]
