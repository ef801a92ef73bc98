"""Every named scenario keeps its promises, for the first seeds."""

import re
from pathlib import Path

import pytest

from node.errors import ConfigError
from simulator.run import run_scenario
from simulator.scenario import load_scenario, scenario_names, to_toml

LIBRARY = [name for name in scenario_names() if not name.startswith("attack_")]
MAKEFILE = (Path(__file__).parents[2] / "Makefile").read_text().replace("\\\n", " ")
OF_MAKE_SIM = set(re.search(r"^SCENARIOS := (.*)$", MAKEFILE, re.MULTILINE)[1].split())
"""Those that `make sim` runs, which are the long ones: `make test` leaves them to it."""
MARKS = {name: [pytest.mark.sim] for name in OF_MAKE_SIM}


@pytest.mark.parametrize("name", [pytest.param(n, marks=MARKS.get(n, ())) for n in LIBRARY])
def test_it_passes(name: str) -> None:
    outcome = run_scenario(load_scenario(name), seed=0)
    assert outcome.ok, outcome.violations


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
@pytest.mark.parametrize("name", LIBRARY)
def test_it_passes_for_more_seeds(name: str, seed: int) -> None:
    outcome = run_scenario(load_scenario(name), seed=seed)
    assert outcome.ok, outcome.violations


@pytest.mark.parametrize("at_s", [0.32, 0.38, 0.44, 0.47, 0.5, 0.56, 0.62, 0.74, 0.86])
def test_a_swarm_that_dies_at_any_moment_of_a_round_goes_on(at_s: float) -> None:
    scenario = load_scenario(
        "restart_voting",
        {"faults": f'[{{kind = "crash", at_s = {at_s}, for_s = 1}}]', "rounds": "3"},
    )
    outcome = run_scenario(scenario.model_copy(update={"limit_s": 60.0}), seed=0)
    assert outcome.ok, outcome.violations


@pytest.mark.parametrize("name", LIBRARY)
def test_it_says_in_one_sentence_what_happens(name: str) -> None:
    about = load_scenario(name).about
    assert about.endswith(".")
    assert 20 < len(about) <= 100


def test_the_library_has_what_users_look_for() -> None:
    assert set(LIBRARY) > OF_MAKE_SIM
    assert {
        "calm", "churn", "flaky_wan", "partition_heal", "minority_one_way", "leader_dies",
        "reducers_die", "slow_third", "clock_skew", "disk_loss", "disk_full", "flood",
        "quorum_lost_regained", "late_joiner", "nat_mix", "dht_faults", "restart_all",
        "everything", "real_signatures", "no_memo", "inr_small",
    } <= set(LIBRARY)  # fmt: skip


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('kind = "crash"\nat_s = 1\nround = 2', "at_s or round"),
        ('kind = "crash"\nphase = "have"', "phase needs its round"),
        ('kind = "link"', "needs the table link"),
        ('kind = "churn"', "needs every_s"),
        ('kind = "late"\nnodes = "leader"', "give numbers"),
        ('kind = "crash"\nnodes = [9]', "name \\[9\\], but there are only nodes 0 to 4: give more"),
        ('kind = "cut"\nothers = [9]', "only nodes 0 to 4"),
        ('kind = "crash"\nround = 1\nphase = "frob"', "phase = 'frob'"),
        ('kind = "crash"\nnodes = "liars"', "'liars', which is nobody here"),
        ('kind = "crash"\nnodes = "minority"\n[[attacks]]\nname="nan"\nnodes=[7]', "0 to 4: give"),
    ],
)
def test_a_fault_that_means_nothing_is_refused(tmp_path: Path, table: str, says: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(f"[[faults]]\n{table}\n")
    with pytest.raises(ConfigError, match=says):
        load_scenario(str(path))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('nodes = 3\n[[attacks]]\nname = "nan"', "nobody would play the attack nan"),
        (
            'nodes = 3\n[[faults]]\nkind = "crash"\nnodes = "minority"',
            "'minority', which is",
        ),
        ('nodes = 2\n[[hosts]]\nnodes = "third"', "'third', which is nobody"),
        ('[[attacks]]\nname="nan"\n[[attacks]]\nname="inf"\nnodes=[4]', "\\[4\\] have two attacks"),
    ],
)
def test_a_scenario_that_would_hit_nobody_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says):
        load_scenario(str(path))


def test_a_scenario_is_saved_and_read_again(tmp_path: Path) -> None:
    scenario = load_scenario("everything")
    path = tmp_path / "saved.toml"
    path.write_text(to_toml(scenario))
    assert load_scenario(str(path)) == scenario
